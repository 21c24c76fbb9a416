"""Trades with implausible times are left out, reported and listed as missing; nothing is complete beyond the clock."""

from __future__ import annotations

import pytest

from support.feeds import ScriptedVenue
from support.trading import START, Rest, trade, trades
from tickwire.bus.connection import Bus
from tickwire.exchange.admission import Admission
from tickwire.model.feeds import Trade
from tickwire.model.plausibility import AHEAD_MS
from tickwire.settings import StreamerSettings
from trades.trade_feed import clock_from, complete_until, halted, running, witness

pytestmark = pytest.mark.actors

NOW = START + 3_600_000
YEAR = 365 * 86_400_000
WRONG = [NOW + YEAR, NOW // 1000, NOW * 1000, 10**18, 0, -1]


def venue_of(happened: list[Trade], *, sequential_ids: bool) -> ScriptedVenue:
    """A venue where it is NOW, and no later time is taken."""
    return ScriptedVenue(
        Rest(happened), sequential_ids=sequential_ids, clock=lambda: NOW, admission=Admission(lambda: NOW + AHEAD_MS)
    )


@pytest.mark.parametrize("wrong", WRONG)
async def test_where_ids_count_rest_gives_the_trade_that_the_feed_stamped_wrong(bus: Bus, wrong: int) -> None:
    venue = venue_of(trades(0, 100), sequential_ids=True)
    async with witness(bus) as seen, running(bus, venue) as body:
        body.sink.take(trades(0, 40), 1)
        body.sink.left_out(f"its time is {wrong}")
        body.sink.take(trades(41, 60), 1)
        await seen.until(lambda: 59 in seen.ids)
        assert seen.ids[:60] == list(range(60))
        assert seen.gaps == []
        assert body.context.status.rejected == 1


@pytest.mark.parametrize("wrong", WRONG)
async def test_where_rest_stamps_it_wrong_too_it_is_a_gap_and_the_feed_goes_on(bus: Bus, wrong: int) -> None:
    happened = [*trades(0, 40), trade(40, timestamp=wrong), *trades(41, 100)]
    venue = venue_of(happened, sequential_ids=True)
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(repair_s=60)) as body:
        body.sink.take(trades(0, 40), 1)
        body.sink.left_out("its time cannot be")
        body.sink.take(trades(41, 60), 1)
        await seen.until(lambda: 59 in seen.ids)
        body.sink.take(trades(60, 70), 1)
        await seen.until(lambda: 69 in seen.ids)
        assert seen.ids[:69] == [*range(40), *range(41, 70)]
        assert [(gap.after_id, gap.before_id) for gap in seen.gaps] == [("39", "41")]
        assert "its time" in seen.gaps[0].reason
        # Asked until REST had said it often enough, and never again.
        assert len(venue.rest.calls) < 10
        assert all(each.timestamp <= NOW for each in seen.trades)


async def test_elsewhere_the_next_trades_follow_a_gap(bus: Bus) -> None:
    venue = venue_of(trades(0, 100), sequential_ids=False)
    async with witness(bus) as seen, running(bus, venue) as body:
        body.sink.take(trades(0, 40), 1)
        await seen.until(lambda: 39 in seen.ids)
        body.sink.left_out("its time cannot be")
        body.sink.left_out("its time cannot be")
        body.sink.take(trades(41, 60), 1)
        body.sink.take(trades(60, 70), 1)
        await seen.until(lambda: 69 in seen.ids)
        assert [(gap.since, gap.until, gap.after_id, gap.before_id) for gap in seen.gaps] == [
            (trade(39).timestamp, trade(41).timestamp, "39", "41")
        ]
        assert body.context.status.rejected == 2
        assert "rejected" in seen.events()


async def test_elsewhere_what_rest_stamps_wrong_is_a_gap_as_well(bus: Bus) -> None:
    venue = venue_of([*trades(0, 50), trade(50, timestamp=NOW + YEAR), *trades(51, 100)], sequential_ids=False)
    async with witness(bus) as seen, running(bus, venue) as body:
        body.sink.take(trades(0, 40), 1)
        await seen.until(lambda: 39 in seen.ids)
        body.sink.disconnected("cut")
        body.sink.connected()
        body.sink.take(trades(60, 70), 1)
        await seen.until(lambda: 69 in seen.ids)
        body.sink.take(trades(70, 80), 1)
        await seen.until(lambda: 79 in seen.ids)
        assert seen.ids == [*range(50), *range(51, 80)]
        (gap,) = seen.gaps
        assert gap.since is not None
        assert gap.until is not None
        assert gap.since <= trade(50).timestamp <= gap.until


@pytest.mark.parametrize("sequential_ids", [True, False], ids=["counted", "uncounted"])
async def test_in_a_quiet_market_the_tape_is_not_complete_without_what_was_left_out(
    bus: Bus, sequential_ids: bool
) -> None:
    venue, end = halted(sequential_ids=sequential_ids, before_ms=300)
    async with witness(bus) as seen, running(bus, venue, StreamerSettings(settle_ms=100)) as body:
        body.sink.take([trade(0, timestamp=end - 1_000)], 1)
        body.sink.left_out("its time cannot be")
        venue.clock = clock_from(end - 300)
        await seen.until(lambda: complete_until(seen, end))
        assert [(gap.since, gap.until) for gap in seen.gaps] == [(end - 1_000, end)]


async def test_the_tape_is_not_said_to_be_complete_beyond_the_exchange_s_clock(bus: Bus) -> None:
    """A trade may be stamped a little later than the clock shows; without a clock nothing is said."""
    now: list[int | None] = [trade(5).timestamp]
    venue = ScriptedVenue(Rest(trades(0, 100)), clock=lambda: now[0])
    async with witness(bus) as seen, running(bus, venue) as body:
        body.sink.take(trades(0, 10), 1)
        await seen.until(lambda: 9 in seen.ids)
        now[0] = None
        body.sink.take(trades(10, 20), 1)
        await seen.until(lambda: 19 in seen.ids)
        said = [message.until for message in seen.messages if message.trades]
        assert said == [trade(5).timestamp, None]
