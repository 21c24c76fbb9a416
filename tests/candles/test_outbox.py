"""Candles on their way to the cache: complete ones as pages, incomplete ones by a request to the fetcher."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from candles.candle_feed import (
    FEED,
    MINUTE,
    START,
    TRADES,
    TradeTape,
    candle,
    facts,
    fetching,
    ranges,
    running,
    trade,
    trade_tape,
    witness,
)
from tape.places import place_of
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.errors import Busy, StorageError, TickwireError, UnknownSymbol
from tickwire.model import messages
from tickwire.model.feeds import Candle, Gap, Trades
from tickwire.settings import StreamerSettings

pytestmark = [pytest.mark.actors, pytest.mark.usefixtures("ccxt_imported")]


async def test_a_minute_with_a_gap_is_fetched_instead_of_cached(bus: Bus, tape: TradeTape) -> None:
    """So is what lies wholly within the gap, in one request."""
    await tape.say(until=0)
    settling = StreamerSettings(candle_ms=0, settle_ms=500)
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m", settings=settling) as body:
        await tape.say(trade(10, 5.0))
        gap = Gap(since=START + 10, until=START + 2 * MINUTE + 7)
        await tape.say(trade(2 * MINUTE + 7, 6.0), gap=gap)
        await tape.say(trade(3 * MINUTE, 7.0))
        await tape.say(trade(4 * MINUTE, 8.0))
        await fetcher.requested(1)
        await seen.until(lambda: len(seen.closed()) == 3 and seen.pages)
        assert [(facts(each)[0], each.complete) for each in seen.closed()] == [(0, False), (2, False), (3, True)]
        assert ranges(seen) == [(3 * MINUTE, 4 * MINUTE, 1)]
        assert fetcher.asked == [("1m", 0, 3 * MINUTE, False)]
    assert body.context.status.gaps == 3


async def test_a_job_that_leaves_something_missing_is_asked_for_again(bus: Bus, tape: TradeTape) -> None:
    """Until it is complete."""
    async with witness(bus) as seen, fetching(bus, fails=1) as fetcher, running(bus, "1m") as body:
        await seen.until(lambda: seen.said("starting"))
        await tape.say(trade(10))
        await tape.say(trade(MINUTE))
        await fetcher.requested(2)
        assert fetcher.asked == [("1m", 0, MINUTE, False)] * 2
        assert fetcher.requests[0].id != fetcher.requests[1].id
        await tape.say(trade(2 * MINUTE))
        await seen.until(lambda: seen.pages)
    assert body.context.status.repaired == 1


async def test_a_job_that_says_nothing_is_asked_for_again(
    bus: Bus, tape: TradeTape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it leaves missing would not be known."""
    monkeypatch.setattr("tickwire.streamer.candles.refetch.JOB_S", 0.2)
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m"):
        fetcher.silent = True
        await seen.until(lambda: seen.said("starting"))
        await tape.say(trade(10))
        await tape.say(trade(MINUTE))
        await fetcher.requested(2)
        assert fetcher.asked == [("1m", 0, MINUTE, False)] * 2


async def test_what_is_missed_later_settles_later(bus: Bus, tape: TradeTape) -> None:
    """Though something else is being asked for by then."""
    await tape.say(until=0)
    settle_s = 0.4
    settling = StreamerSettings(candle_ms=0, settle_ms=int(settle_s * 1000))
    loop = asyncio.get_running_loop()
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m", settings=settling):
        await tape.say(trade(30_000), gap=Gap(since=START - 1, until=START + 30_000))
        await tape.say(trade(MINUTE), trade(2 * MINUTE))
        await seen.until(lambda: len(seen.closed()) == 2)
        missed = loop.time()
        await tape.say(trade(2 * MINUTE + 9), gap=Gap(since=START + 2 * MINUTE, until=START + 2 * MINUTE + 9))
        await tape.say(trade(3 * MINUTE))
        await fetcher.requested(2)
        assert loop.time() - missed >= settle_s
        assert fetcher.asked == [("1m", 0, MINUTE, False), ("1m", 2 * MINUTE, 3 * MINUTE, False)]


async def test_what_no_fetcher_takes_waits_for_one(bus: Bus, tape: TradeTape) -> None:
    """It is told once, and candles go on meanwhile."""
    async with witness(bus) as seen, running(bus, "1m"):
        await seen.until(lambda: seen.said("starting"))
        await tape.say(trade(10))
        await tape.say(trade(MINUTE))
        await seen.until(lambda: seen.said("gap"))
        await tape.say(trade(2 * MINUTE))
        await seen.until(lambda: len(seen.closed()) == 2)
        async with fetching(bus) as fetcher:
            await fetcher.requested(1)
        assert fetcher.asked == [("1m", 0, MINUTE, False)]
        assert len(seen.said("gap")) == 1


@pytest.mark.parametrize("refusal", [Busy("too many jobs wait", "ask again later"), StorageError("the disk is full")])
async def test_candles_that_a_fetcher_refuses_for_now_are_requested_again(
    bus: Bus, tape: TradeTape, refusal: TickwireError
) -> None:
    """They are not given up: the fetcher had too much to do, or the broker no room for the pages."""
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m"):
        fetcher.refusals.append(refusal)
        await seen.until(lambda: seen.said("starting"))
        await tape.say(trade(10))
        await tape.say(trade(MINUTE))
        await fetcher.requested(2)
        assert fetcher.asked == [("1m", 0, MINUTE, False)] * 2


async def test_candles_that_a_fetcher_refuses_for_good_are_reported_as_a_gap(bus: Bus, tape: TradeTape) -> None:
    """Asking again would change nothing."""
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m"):
        fetcher.refusals.append(UnknownSymbol("binance does not list BTC/USDT"))
        await seen.until(lambda: seen.said("starting"))
        await tape.say(trade(10))
        await tape.say(trade(MINUTE))
        await seen.until(lambda: seen.said("gap"))
        assert [each.gap for each in seen.said("gap")] == [
            Gap(since=START - 1, until=START + MINUTE, reason="binance does not list BTC/USDT")
        ]
        assert len(fetcher.requests) == 1


async def test_what_still_waits_is_handed_over_when_the_feed_stops(bus: Bus, tape: TradeTape) -> None:
    """Without waiting for what becomes of it."""
    patient = StreamerSettings(candle_ms=0, settle_ms=60_000)
    async with witness(bus) as seen, fetching(bus) as fetcher:
        async with running(bus, "1m", settings=patient):
            await seen.until(lambda: seen.said("starting"))
            await tape.say(trade(10))
            await tape.say(trade(MINUTE))
            await seen.until(lambda: seen.closed())
            assert fetcher.asked == []
        assert fetcher.asked == [("1m", 0, MINUTE, False)]


async def test_a_trade_after_its_candle_was_closed_has_the_minute_fetched_again(bus: Bus, tape: TradeTape) -> None:
    """It is told, and counted nowhere else."""
    await tape.say(until=0)
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "1m", "1h"):
        await tape.say(trade(1, 5.0), trade(MINUTE, 6.0))
        await tape.say(trade(2, 100.0), trade(MINUTE + 1, 7.0))
        await tape.say(until=2 * MINUTE)
        await fetcher.requested(1)
        assert fetcher.asked == [("1m", 0, MINUTE, True)]
        await seen.until(lambda: len(seen.closed()) == 2 and seen.said("late"))
        assert [facts(each)[1:6] for each in seen.closed()] == [(5.0, 5.0, 5.0, 5.0, 1.0), (6.0, 7.0, 6.0, 7.0, 2.0)]
        assert seen.said("late")[0].trades == 1
        # Within the hour it is not late.
        await seen.until(lambda: seen.open("1h") and seen.open("1h")[-1].trades == 4)


async def test_candles_go_on_while_the_stream_of_the_cache_refuses_pages(bus: Bus, tape: TradeTape) -> None:
    """When it takes them again, it gets them all."""
    await tape.say(until=0)
    async with witness(bus) as seen, running(bus, "1m"):
        await bus.jetstream.delete_stream(streams.OHLCV)
        for number in range(6):
            await tape.say(trade(number * MINUTE, float(number + 1)))
        await seen.until(lambda: len(seen.closed()) == 5)
        await streams.declare(bus.jetstream, 8, 2.0)
        async with witness(bus) as cache:
            await cache.until(lambda: cache.pages and cache.pages[-1].until == START + 5 * MINUTE)
            assert [row[1] for page in cache.pages for row in page.rows] == [1.0, 2.0, 3.0, 4.0, 5.0]
            # What waited came together, but for the page that was refused.
            assert len(cache.pages) <= 2


async def test_timeframes_that_the_exchange_does_not_have_are_published_and_not_cached(
    bus: Bus, tape: TradeTape
) -> None:
    """Nobody could fetch them."""
    async with witness(bus) as seen, fetching(bus) as fetcher, running(bus, "2m", "1m"):
        await seen.until(lambda: seen.said("starting"))
        await tape.say(trade(10))
        await tape.say(until=2 * MINUTE)
        await tape.say(trade(2 * MINUTE))
        await tape.say(until=4 * MINUTE)
        await seen.until(lambda: len(seen.closed("2m")) == 2 and len(seen.closed()) == 2)
        await seen.until(lambda: ranges(seen, "1m"))
        await fetcher.requested(1)
    assert {each[0] for each in fetcher.asked} == {"1m"}
    assert ranges(seen, "2m") == []


async def test_hours_of_tape_are_caught_up_with(bus: Bus) -> None:
    """In all timeframes at once, and every candle goes to the cache."""
    for number in range(3_000):
        message = Trades(exchange="binance", symbol="BTC/USDT", trades=[trade(number * 5_000, amount=0.1)], received=0)
        await bus.client.publish(place_of(TRADES).subject, messages.encode(message))
    # Confirmed, so that those before it are on the tape too.
    end = Trades(exchange="binance", symbol="BTC/USDT", trades=[], received=0)
    await bus.jetstream.publish(place_of(TRADES).subject, messages.encode(end))
    async with trade_tape(bus) as tape:
        async with witness(bus) as seen:
            # As if an owner had died hours ago.
            first = message_of_the_past()
            for timeframe in ("1m", "5m", "1h"):
                past = msgspec.structs.replace(first, timeframe=timeframe)
                await bus.jetstream.publish(f"{FEED.tape}.{timeframe}", messages.encode(past))
            async with running(bus, "1m", "5m", "1h") as body:
                await tape.say(until=5 * 60 * MINUTE)
                counts = {"1m": 300, "5m": 60, "1h": 5}
                await seen.until(lambda: all(len(seen.closed(each)) == count for each, count in counts.items()))
                await seen.until(
                    lambda: all(sum(n for *_, n in ranges(seen, e)) == count for e, count in counts.items())
                )
                assert [each.trades for each in seen.closed("1m")] == [12] * 250 + [0] * 50
                assert [each.volume for each in seen.closed("1h")] == [72.0, 72.0, 72.0, 72.0, 12.0]
                assert body.context.status.gaps == 0


def message_of_the_past() -> Candle:
    """An open candle of which the tape's first message is all that there is."""
    return candle(START, volume=0.1, sequence=1)
