"""Outages and takeovers in a market where nothing was traded yet."""

from __future__ import annotations

import pytest
from ccxt.base import errors

from support.feeds import ScriptedVenue
from support.trading import trade
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Gap, Trade
from tickwire.settings import StreamerSettings
from trades.trade_feed import clock_from, complete_until, consecutive, halted, running, witness

pytestmark = pytest.mark.actors


def traded(venue: ScriptedVenue, *numbers: int) -> list[Trade]:
    """These trades happen now."""
    happened = [trade(number, timestamp=venue.clock() or 0) for number in numbers]
    venue.rest.happened += happened
    return happened


@pytest.mark.parametrize("marked", [True, False], ids=["after a minute", "at once"])
@pytest.mark.parametrize("sequential_ids", [True, False], ids=["counted", "uncounted"])
async def test_trades_of_an_outage_before_there_was_any_are_fetched(
    bus: Bus, sequential_ids: bool, marked: bool
) -> None:
    venue, minute = halted(sequential_ids=sequential_ids, before_ms=200)
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=50)) as body:
        venue.clock = clock_from(minute - 200)
        if marked:
            await seen.until(lambda: complete_until(seen, minute))
        body.sink.disconnected("cut")
        missed = traded(venue, 1, 2, 3)
        body.sink.connected()
        (late,) = traded(venue, 4)
        body.sink.take([late], 0)
        await seen.until(lambda: consecutive(seen, 1, 5))
        assert seen.trades == [*missed, late]
        assert seen.gaps == []
        assert next(message.source for message in seen.messages if message.trades) == "rest"
        assert min(call["since"] for call in venue.rest.calls) <= missed[0].timestamp
        await seen.until(lambda: "repaired" in seen.events())
        assert body.state == "live"


@pytest.mark.parametrize("sequential_ids", [True, False], ids=["counted", "uncounted"])
async def test_trades_before_a_takeover_are_fetched_though_there_was_none_before(
    bus: Bus, sequential_ids: bool
) -> None:
    venue, minute = halted(sequential_ids=sequential_ids, before_ms=200)
    async with witness(bus) as seen:
        async with running(bus, venue, StreamerSettings(settle_ms=50)):
            venue.clock = clock_from(minute - 200)
            await seen.until(lambda: complete_until(seen, minute))
        missed = traded(venue, 1, 2, 3)
        venue.watched.clear()
        async with running(bus, venue, StreamerSettings(settle_ms=50), owner="two"):
            # Nothing comes live.
            await seen.until(lambda: consecutive(seen, 1, 4))
            assert seen.trades == missed
            assert seen.gaps == []


@pytest.mark.parametrize("sequential_ids", [True, False], ids=["counted", "uncounted"])
async def test_what_rest_cannot_give_back_before_any_trade_is_a_gap_with_bounds(bus: Bus, sequential_ids: bool) -> None:
    venue, minute = halted(sequential_ids=sequential_ids, before_ms=200)
    venue.rest.always = errors.ExchangeError("no")
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=50)) as body:
        venue.clock = clock_from(minute - 200)
        await seen.until(lambda: complete_until(seen, minute))
        body.sink.disconnected("cut")
        traded(venue, 1, 2, 3)
        body.sink.connected()
        (late,) = traded(venue, 4)
        body.sink.take([late], 0)
        await seen.until(lambda: seen.ids == [4])
        assert seen.gaps == [Gap(since=minute - 1, until=late.timestamp, before_id="4", reason="ExchangeError: no")]


@pytest.mark.parametrize("sequential_ids", [True, False], ids=["counted", "uncounted"])
async def test_before_any_trade_what_is_further_back_than_the_span_is_a_gap(bus: Bus, sequential_ids: bool) -> None:
    venue, minute = halted(sequential_ids=sequential_ids, before_ms=200)
    async with witness(bus) as seen:
        async with running(bus, venue, StreamerSettings(settle_ms=50)):
            venue.clock = clock_from(minute - 200)
            await seen.until(lambda: complete_until(seen, minute))
        traded(venue, 1)
        clock = venue.clock
        venue.clock = lambda: (clock() or 0) + 40_000
        (second,) = traded(venue, 2)
        venue.watched.clear()
        async with running(bus, venue, StreamerSettings(settle_ms=50, repair_span_s=30), owner="two") as body:
            await seen.until(lambda: seen.trades == [second])
            (gap,) = seen.gaps
            assert (gap.since, gap.after_id, gap.before_id) == (minute - 1, None, None)
            assert abs((gap.until or 0) - (second.timestamp - 30_000)) < 5_000
            await body.counted(lambda status: status.gaps == 1)
