"""A trade feed of an exchange without sequential ids: repaired by pages that overlap the tape, else a gap."""

from __future__ import annotations

from typing import Any

import pytest

from support.feeds import ScriptedVenue
from support.trading import START, Rest, row, trade, trades
from tickwire.bus.connection import Bus
from tickwire.exchange.past_trades import PastTrades
from tickwire.settings import StreamerSettings
from tickwire.venues.profile import TradeFacts
from trades.trade_feed import consecutive, on_tape, push, running, witness

pytestmark = pytest.mark.actors


async def test_without_counting_ids_a_reconnect_is_repaired_by_pages_that_overlap(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(trades(0, 1000), page=100), sequential_ids=False)
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(0, 100))
        body.sink.disconnected("cut")
        body.sink.connected()
        push(body.sink, trades(600, 650))
        await seen.until(lambda: consecutive(seen, 0, 650))
        push(body.sink, trades(640, 700))
        await seen.until(lambda: consecutive(seen, 0, 700))
        assert seen.gaps == []
        assert venue.rest.calls[0]["since"] == trade(99).timestamp - 1
        assert [message.until for message in seen.messages] == [None] * len(seen.messages)


async def test_without_counting_ids_nothing_missing_is_believed_after_a_while(bus: Bus) -> None:
    await on_tape(bus, trades(0, 2000))
    venue = ScriptedVenue(Rest(trades(0, 2000)), sequential_ids=False)
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=100)) as body:
        await seen.until(lambda: "repaired" in seen.events())
        assert body.state == "live"
        push(body.sink, trades(1990, 2010))
        await seen.until(lambda: consecutive(seen, 0, 2010))
        assert body.context.status.duplicates == 10


async def test_without_counting_ids_a_page_that_starts_too_late_is_a_gap(bus: Bus) -> None:
    async def newest(symbol: str, since: int, limit: int, params: Any) -> Any:
        return [row(each) for each in trades(550, 610)]

    venue = ScriptedVenue(Rest(), sequential_ids=False)
    venue.rest.script = [newest] * 10
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(0, 100))
        body.sink.disconnected("cut")
        body.sink.connected()
        push(body.sink, trades(600, 620))
        await seen.until(lambda: seen.ids == [*range(100), *range(550, 620)])
        assert [(gap.after_id, gap.before_id) for gap in seen.gaps] == [("99", "550")]


async def test_without_counting_ids_more_trades_than_may_wait_are_fetched_later(bus: Bus) -> None:
    venue = ScriptedVenue(Rest(page=2000), sequential_ids=False)
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(held=1000, settle_ms=0)) as body:
        push(body.sink, trades(0, 10))
        await seen.until(lambda: consecutive(seen, 0, 10))
        # All at once: behind an interruption they wait, with nobody there to take them.
        body.sink.disconnected("cut")
        body.sink.connected()
        push(body.sink, trades(10, 5000), frame=100)
        venue.rest.happened += trades(0, 5000)
        await seen.until(lambda: consecutive(seen, 0, 5000))
        assert body.context.status.conflated >= 3990


async def test_a_page_without_the_last_trade_proves_nothing(bus: Bus) -> None:
    """REST has forgotten everything: the trades in between are a gap, because nothing proves that there were none."""
    now = START
    venue = ScriptedVenue(Rest(), sequential_ids=False, clock=lambda: now)
    async with witness(bus) as seen, running(bus, venue) as body:
        push(body.sink, trades(0, 10))
        await seen.until(lambda: len(seen.trades) == 10)
        now = START + 3_000
        body.sink.disconnected("cut")
        body.sink.connected()
        await seen.until(lambda: "repaired" in seen.events())
        (gap,) = seen.gaps
        assert (gap.since, gap.until, gap.after_id) == (trade(9).timestamp, now, "9")
        assert body.state == "live"
        push(body.sink, trades(40, 50))
        await seen.until(lambda: seen.ids == [*range(10), *range(40, 50)])
        assert seen.gaps == [gap]


async def test_what_lies_beyond_the_reach_of_rest_is_a_gap(bus: Bus) -> None:
    """bitstamp gives the last hour: an empty hour says nothing of the one before."""
    now = START
    venue = ScriptedVenue(Rest(), sequential_ids=False, clock=lambda: now)
    venue.past = PastTrades(venue.rest, TradeFacts(method="by_time", reach_ms=3_600_000, resolution_ms=1))
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(repair_span_s=86_400, settle_ms=0)) as body:
        push(body.sink, trades(0, 10))
        await seen.until(lambda: len(seen.trades) == 10)
        now = START + 7_200_000
        body.sink.disconnected("cut")
        body.sink.connected()
        await seen.until(lambda: "repaired" in seen.events())
        (gap,) = seen.gaps
        assert (gap.since, gap.until) == (trade(9).timestamp, START + 3_600_000)
        assert "far enough" in gap.reason
        assert body.state == "live"
