"""No candle is closed or cached before the exchange's clock has reached its end."""

from __future__ import annotations

import time

import pytest

from candles.candle_feed import MINUTE, START, CandleVenue, TradeTape, facts, fetching, ranges, running, trade, witness
from tickwire.bus.connection import Bus
from tickwire.exchange.admission import Admission
from tickwire.model.feeds import Candle
from tickwire.model.plausibility import AHEAD_MS

pytestmark = [pytest.mark.actors, pytest.mark.usefixtures("ccxt_imported")]

YEAR = 365 * 86_400_000
WEEK = 7 * 86_400_000
MONDAY = START + 5 * 86_400_000


def venue_at(passed: int) -> CandleVenue:
    """A venue that counts as many ms after START as the test says, and takes no time later than that."""
    venue = CandleVenue(passed=passed)
    venue.admission = Admission(lambda: (venue.clock() or 0) + AHEAD_MS)
    return venue


@pytest.mark.parametrize("wrong", [YEAR, 100 * YEAR, -START])
async def test_what_an_earlier_owner_put_on_the_tape_closes_nothing(bus: Bus, tape: TradeTape, wrong: int) -> None:
    await tape.say(trade(-1))
    venue = venue_at(3 * MINUTE)
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m", venue=venue) as body:
        await tape.say(trade(0, 10.0), until=1)
        await seen.until(lambda: seen.open())
        await tape.say(trade(wrong, 99.0), until=wrong)
        await tape.say(trade(1, 11.0))
        await tape.say(trade(MINUTE, 12.0))
        await tape.say(trade(2 * MINUTE, 13.0))
        await seen.until(lambda: len(seen.closed()) == 2)
        # Of the first something is missing, and it is fetched; the second is whole.
        assert [facts(each) for each in seen.closed()] == [
            (0, 10.0, 11.0, 10.0, 11.0, 2.0, 2, False),
            (1, 12.0, 12.0, 12.0, 12.0, 1.0, 1, True),
        ]
        await seen.until(lambda: seen.pages)
        assert ranges(seen) == [(MINUTE, 2 * MINUTE, 1)]
        await fetcher.requested(1)
        assert fetcher.asked == [("1m", 0, MINUTE, False)]
        assert body.context.status.rejected == 1


async def test_a_trade_just_ahead_of_the_clock_closes_a_candle_when_the_clock_is_there(
    bus: Bus, tape: TradeTape
) -> None:
    await tape.say(trade(-1))
    venue, began = venue_at(0), time.monotonic()
    # 1.5 s before the minute is over.

    def clock() -> int:
        return START + MINUTE - 1_500 + int((time.monotonic() - began) * 1000)

    venue.clock = clock
    venue.admission = Admission(lambda: clock() + AHEAD_MS)
    async with witness(bus) as seen, running(bus, "1m", venue=venue):
        await tape.say(trade(0, 10.0))
        await tape.say(trade(MINUTE + 500, 11.0))
        await seen.until(lambda: seen.closed())
        assert clock() >= START + MINUTE
        assert [facts(each) for each in seen.closed()] == [(0, 10.0, 10.0, 10.0, 10.0, 1.0, 1, True)]


async def test_where_the_time_is_unknown_a_later_trade_closes_a_candle(bus: Bus, tape: TradeTape) -> None:
    await tape.say(trade(-1))
    venue = CandleVenue(tells_time=False)
    async with witness(bus) as seen, running(bus, "1m", venue=venue):
        await tape.say(trade(0, 10.0))
        await tape.say(trade(MINUTE, 11.0))
        await tape.say(trade(2 * MINUTE, 12.0))
        await seen.until(lambda: seen.pages and ranges(seen)[-1][1] == 2 * MINUTE)
        await seen.until(lambda: len(seen.closed()) == 3)
        assert [(facts(each)[0], each.complete) for each in seen.closed()] == [(-1, False), (0, True), (1, True)]
        assert not any(each.timestamp >= START + 2 * MINUTE for each in seen.closed())


def week(number: int, close: float, *, closed: bool = False) -> Candle:
    """A weekly candle of the exchange's."""
    return Candle(
        exchange="binance", symbol="BTC/USDT", timeframe="1w", timestamp=MONDAY + number * WEEK, open=1.0, high=9.0,
        low=1.0, close=close, volume=3.0, trades=0, closed=closed, complete=True,
    )  # fmt: skip


async def test_a_candle_that_the_exchange_tells_as_closed_before_its_end_stays_open(bus: Bus) -> None:
    venue = venue_at(MONDAY - START + WEEK // 2)
    async with witness(bus) as seen, running(bus, "1w", venue=venue) as body:
        await venue.watched.wait()
        sink = venue.sinks["1w"]
        sink.connected()
        sink.take([week(0, 2.0)], 0)
        sink.take([week(0, 3.0, closed=True)], 0)
        await seen.until(lambda: [each.close for each in seen.open("1w")][-1:] == [3.0])
        assert seen.closed("1w") == []
        assert body.context.status.rejected == 1
        venue.passed = MONDAY - START + WEEK
        sink.take([week(0, 4.0, closed=True), week(1, 5.0)], 0)
        await seen.until(lambda: seen.closed("1w"))
        assert [each.close for each in seen.closed("1w")] == [4.0]


async def test_a_candle_closed_a_little_before_its_end_by_our_clock_waits_for_it(bus: Bus) -> None:
    venue, began = venue_at(0), time.monotonic()
    end = MONDAY + WEEK

    def clock() -> int:
        return end - 1_500 + int((time.monotonic() - began) * 1000)

    venue.clock = clock
    venue.admission = Admission(lambda: clock() + AHEAD_MS)
    async with witness(bus) as seen, running(bus, "1w", venue=venue):
        await venue.watched.wait()
        sink = venue.sinks["1w"]
        sink.connected()
        sink.take([week(0, 2.0)], 0)
        sink.take([week(0, 3.0, closed=True)], 0)
        sink.take([week(1, 4.0)], 0)
        await seen.until(lambda: seen.closed("1w"))
        assert clock() >= end
        await seen.until(lambda: [each.close for each in seen.open("1w")][-1:] == [4.0])
        assert [(each.close, each.complete) for each in seen.closed("1w")] == [(3.0, True)]


async def test_where_the_time_is_unknown_the_next_candle_closes_one_of_the_exchange(bus: Bus) -> None:
    venue = CandleVenue(tells_time=False)
    async with witness(bus) as seen, running(bus, "1w", venue=venue):
        await venue.watched.wait()
        sink = venue.sinks["1w"]
        sink.connected()
        sink.take([week(0, 3.0, closed=True)], 0)
        await seen.until(lambda: seen.open("1w"))
        assert seen.closed("1w") == []
        sink.take([week(1, 4.0)], 0)
        await seen.until(lambda: seen.closed("1w"))
        assert [each.close for each in seen.closed("1w")] == [3.0]


async def test_a_candle_of_the_future_on_the_tape_is_not_gone_on_with(bus: Bus, tape: TradeTape) -> None:
    await tape.say(trade(-1))
    async with witness(bus) as seen:
        async with running(bus, "1m"):
            await tape.say(trade(YEAR, 99.0), trade(YEAR + MINUTE, 99.0))
            await seen.until(lambda: seen.closed())
        venue = venue_at(3 * MINUTE)
        async with fetching(bus), running(bus, "1m", venue=venue, owner="two"):
            await tape.say(trade(0, 10.0))
            await tape.say(trade(MINUTE, 11.0))
            await tape.say(trade(2 * MINUTE, 12.0))
            await seen.until(lambda: [each.timestamp for each in seen.closed()][-1:] == [START + MINUTE])
