"""The tape declares how far it is complete each minute, unless trades may be missing or the socket is silent."""

from __future__ import annotations

import asyncio
import time

import pytest
from ccxt.base import errors

from support.trading import trade
from tickwire.bus.connection import Bus
from tickwire.settings import StreamerSettings
from trades.trade_feed import clock_from, complete_until, halted, push, running, witness

pytestmark = pytest.mark.actors


async def test_in_a_quiet_market_the_tape_says_each_minute_that_it_is_complete(bus: Bus) -> None:
    venue, end = halted(before_ms=300)
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=100)) as body:
        push(body.sink, [trade(0, timestamp=end - 1_000)])
        venue.clock = clock_from(end - 300)
        await seen.until(lambda: complete_until(seen, end))
        assert seen.messages[-1].trades == []
        assert seen.ids == [0]


async def test_while_trades_may_be_missing_the_tape_does_not_say_that_it_is_complete(bus: Bus) -> None:
    venue, end = halted(before_ms=100)
    venue.rest.always = errors.NetworkError("down")
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=0, repair_s=1.0)) as body:
        push(body.sink, [trade(0, timestamp=end - 1_000), trade(2, timestamp=end - 900)])
        venue.clock = clock_from(end - 100)
        await seen.until(lambda: complete_until(seen, end))
        assert [message.trades[0].id for message in seen.messages if message.trades] == ["0", "2"]
        assert len(seen.gaps) == 1


async def test_while_the_socket_is_silent_the_tape_does_not_say_that_it_is_complete(bus: Bus) -> None:
    venue, end = halted(before_ms=100)
    venue.silent = True
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=300)) as body:
        began, venue.clock = time.monotonic(), clock_from(end - 100)
        while len(venue.asked) < 2:
            await asyncio.sleep(0.05)
        # 100 ms to the boundary, 300 ms to settle.
        assert all(abs(since - (began * 1000 + 400)) < 95 for since in venue.asked)
        push(body.sink, [trade(0, timestamp=end - 50)])
        await seen.until(lambda: seen.ids == [0])
        venue.silent = False
        await seen.until(lambda: complete_until(seen, end))
        assert [message.trades == [] for message in seen.messages] == [True, False, True]
