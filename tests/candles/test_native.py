"""Candles that the exchange itself publishes: for timeframes that do not divide a day, and where it has no trades."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace

import msgspec
import pytest

from candles.candle_feed import (
    FEED,
    MINUTE,
    START,
    CandleVenue,
    TradeTape,
    candle,
    fetching,
    ranges,
    running,
    trade,
    witness,
)
from support.feeds import Witness
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.errors import ExchangeFailed
from tickwire.model.feeds import Candle, Feed
from tickwire.streamer.control.feed_venue import FeedSink
from tickwire.tape.writer import last_message
from tickwire.venues import profile

pytestmark = [pytest.mark.actors, pytest.mark.usefixtures("ccxt_imported")]

WEEK = 7 * 86_400_000
MONDAY = START + 5 * 86_400_000


def week(number: int, close: float, *, closed: bool = False) -> Candle:
    """A weekly candle of the exchange's."""
    return candle(MONDAY + number * WEEK, "1w", high=9.0, close=close, volume=3.0, trades=0, closed=closed)


async def test_timeframes_that_do_not_divide_a_day_are_the_exchanges_own(bus: Bus) -> None:
    """Each closed once, whether the exchange says so or goes on to the next; complete ones go to the cache."""
    venue = CandleVenue()
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1w", venue=venue):
        await venue.watched.wait()
        sink = venue.sinks["1w"]
        sink.connected()
        sink.take([week(0, 2.0)], 0)
        await seen.until(lambda: seen.open("1w"))
        sink.take([week(0, 3.0, closed=True), week(0, 3.0, closed=True), week(1, 4.0)], 0)
        sink.take([week(2, 5.0)], 0)
        await seen.until(lambda: len(seen.closed("1w")) == 2)
        sink.disconnected("the line is cut")
        sink.connected()
        sink.take([week(3, 6.0), week(1, 4.0)], 0)
        await seen.until(lambda: len(seen.closed("1w")) == 3)
        assert [(each.close, each.complete) for each in seen.closed("1w")] == [(3.0, True), (4.0, True), (5.0, False)]
        assert {each.sequence for each in seen.candles} == {0}
        await fetcher.requested(1)
        await seen.until(lambda: sum(len(page.rows) for page in seen.pages) == 2)
    assert venue.sinks == {}
    assert [row[0] for page in seen.pages for row in page.rows] == [MONDAY, MONDAY + WEEK]
    assert [each[1:3] for each in fetcher.asked] == [(MONDAY + 2 * WEEK - START, MONDAY + 3 * WEEK - START)]


async def test_a_candle_open_to_revision_is_cached_unsettled_and_refetched_when_settled(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kucoin's weeks open on Thursday, and nobody says that a closed one is final."""
    thursday = MONDAY + 3 * 86_400_000
    monkeypatch.setattr(profile, "SETTLE_MS", 50)
    feed = FEED._replace(exchange="kucoin")
    venue = CandleVenue(exchange="kucoin")
    told = msgspec.structs.replace(week(0, 3.0, closed=True), exchange="kucoin", timestamp=thursday)
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1w", venue=venue, feed=feed):
        await venue.watched.wait()
        sink = venue.sinks["1w"]
        sink.connected()
        sink.take([told], 0)
        await seen.until(lambda: seen.pages)
        await fetcher.requested(1)
    page = seen.pages[0]
    assert [row[0] for row in page.rows] == [thursday]
    assert (page.since, page.settled, page.until) == (thursday, thursday, thursday + WEEK)
    assert page.opens_at == 0
    assert [each[1:3] for each in fetcher.asked] == [(thursday - START, thursday + WEEK - START)]


async def test_a_new_owner_does_not_close_again_what_the_exchange_tells_again(bus: Bus) -> None:
    """The last closed candle is on the tape."""
    async with witness(bus) as seen:
        for owner in ("one", "two"):
            venue = CandleVenue()
            async with running(bus, "1w", venue=venue, owner=owner):
                await venue.watched.wait()
                sink = venue.sinks["1w"]
                sink.connected()
                sink.take([week(0, 3.0, closed=True)], 0)
                if owner == "one":
                    await seen.until(lambda: seen.closed("1w"))
        last = await last_message(bus, streams.CANDLES, f"{FEED.tape}.1w")
        assert last is not None
        # Once by its first owner, and repeated by the second as its mark.
        assert [(each.timestamp, each.repeated) for each in seen.closed("1w")] == [(MONDAY, False), (MONDAY, True)]


def minute(number: int, close: float = 2.0) -> Candle:
    """A candle of one minute, as an exchange makes it that tells no trades."""
    return candle(START + number * MINUTE, high=9.0, close=close, volume=3.0, trades=0)


def without_trades() -> CandleVenue:
    """An exchange that has no trades to watch."""
    return CandleVenue(rest=SimpleNamespace(has={"watchTrades": False, "watchOHLCV": True}))


async def test_what_happened_while_the_exchange_was_away_is_a_gap_and_is_fetched(bus: Bus) -> None:
    """The minute within which it went, and those that nobody saw; the others are cached."""
    venue = without_trades()
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m", venue=venue) as body:
        await venue.watched.wait()
        sink = venue.sinks["1m"]
        sink.connected()
        sink.take([minute(0), minute(1)], 0)
        sink.disconnected("the line is cut")
        states = [body.context.status.state]
        sink.connected()
        states.append(body.context.status.state)
        assert states == ["disconnected", "live"]
        sink.take([minute(5), minute(6)], 0)
        await seen.until(lambda: len(seen.closed()) == 3 and seen.said("gap"))
        assert [((each.timestamp - START) // MINUTE, each.complete) for each in seen.closed()] == [
            (0, True),
            (1, False),
            (5, True),
        ]
        (said,) = seen.said("gap")
        assert said.gap is not None
        assert (said.gap.since, said.gap.until) == (START + 2 * MINUTE - 1, START + 5 * MINUTE)
        await fetcher.requested(1)
        assert fetcher.asked == [("1m", MINUTE, 5 * MINUTE, False)]
        await seen.until(lambda: len(seen.pages) == 2)
        assert [row[0] - START for page in seen.pages for row in page.rows] == [0, 5 * MINUTE]
        await body.counted(lambda status: status.gaps == 2)


async def test_minutes_that_a_connected_exchange_passes_over_are_asked_for_and_are_no_gap(bus: Bus) -> None:
    """Many exchanges tell nothing of a minute without trades."""
    venue = without_trades()
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m", venue=venue) as body:
        await venue.watched.wait()
        sink = venue.sinks["1m"]
        sink.connected()
        sink.take([minute(0), minute(3)], 0)
        await fetcher.requested(1)
        assert fetcher.asked == [("1m", MINUTE, 3 * MINUTE, False)]
        await seen.until(lambda: ranges(seen) == [(0, MINUTE, 1)])
        assert body.context.status.gaps == 0


def said(seen: Witness, close: float) -> bool:
    """Whether an open candle has this price."""
    return any(each.close == close for each in seen.open())


async def test_a_new_owner_has_fetched_what_nobody_watched(bus: Bus) -> None:
    """From the candle that was open when its predecessor ended."""
    async with witness(bus) as seen, fetching(bus) as fetcher:
        for opened in (0, 4):
            venue = without_trades()
            async with running(bus, "1m", venue=venue):
                await venue.watched.wait()
                sink = venue.sinks["1m"]
                sink.connected()
                sink.take([minute(opened, 7.0 + opened)], 0)
                await seen.until(partial(said, seen, 7.0 + opened))
        await fetcher.requested(1)
        assert fetcher.asked == [("1m", 0, 4 * MINUTE, False)]
        assert [each.complete for each in seen.closed()] == [False]


class Refusing(CandleVenue):
    """It refuses its weekly candles for as long as the test says."""

    refuses = True

    @asynccontextmanager
    async def watching(self, feed: Feed, sink: FeedSink) -> AsyncIterator[None]:
        """As the venue does."""
        if self.refuses and feed.timeframe == "1w":
            raise ExchangeFailed("binance: no 1w candles today", "try again")
        async with super().watching(feed, sink):
            yield


async def test_a_timeframe_that_the_exchange_refuses_ends_no_other_and_is_tried_again(
    bus: Bus, tape: TradeTape
) -> None:
    await tape.say(trade(-1))
    venue = Refusing()
    async with witness(bus) as seen, running(bus, "1m", "1w", venue=venue) as body:
        await seen.until(lambda: seen.said("failed"))
        await tape.say(trade(0), trade(MINUTE))
        await seen.until(lambda: len(seen.closed("1m")) == 1)
        reports = {each.timeframe: each for each in body.context.status.feed_reports(["1m", "1w"])}
        assert (reports["1m"].state, reports["1m"].reason) == ("live", "")
        assert (reports["1w"].state, reports["1w"].reason) == ("failed", "binance: no 1w candles today; try again")
        venue.refuses = False
        await venue.watched.wait()
        venue.sinks["1w"].connected()
        venue.sinks["1w"].take([week(0, 2.0)], 0)
        await seen.until(lambda: seen.open("1w"))
        (healed,) = body.context.status.feed_reports(["1w"])
        assert (healed.state, healed.reason) == ("live", "")
