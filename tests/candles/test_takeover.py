"""After an owner's death its successor completes the candles that the owner had not cached."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

import msgspec
import pytest

from candles.candle_feed import (
    MINUTE,
    START,
    CandleVenue,
    ScriptedFetcher,
    TradeTape,
    facts,
    fetching,
    ranges,
    running,
    trade,
    witness,
)
from support.feeds import Running, Witness
from tape.places import TRADES_STREAM
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.errors import Fenced
from tickwire.model.feeds import Gap
from tickwire.model.ranges import Range, subtract
from tickwire.settings import StreamerSettings

pytestmark = [pytest.mark.actors, pytest.mark.usefixtures("ccxt_imported")]

PATIENT = StreamerSettings(candle_ms=0, settle_ms=60_000)
"""What is missed is not asked for before the owner dies."""


async def die(body: Running) -> None:
    """As kill -9 would end it."""
    body.task.cancel()
    await asyncio.gather(body.task, return_exceptions=True)


async def until_nothing_is_owed(tape: TradeTape, seen: Witness, at: int) -> None:
    """The next update of the open candle after that says so: trade on until it comes."""
    async with asyncio.timeout(100):
        while True:
            sequence = await tape.say(trade(at))
            await seen.until(lambda sequence=sequence: seen.open() and seen.open()[-1].sequence == sequence)  # type: ignore[misc]
            if seen.open()[-1].owed is None:
                return


async def test_a_minute_with_a_gap_is_fetched_by_the_successor_of_whoever_saw_it(bus: Bus, tape: TradeTape) -> None:
    """Though the candles have gone on to the next minute."""
    await tape.say(until=0)
    async with witness(bus) as seen:
        async with running(bus, "1m", settings=PATIENT) as first:
            await tape.say(trade(1))
            await tape.say(trade(30_000), gap=Gap(since=START + 1, until=START + 30_000))
            await tape.say(trade(MINUTE))
            await seen.until(lambda: seen.open() and seen.open()[-1].timestamp == START + MINUTE)
            assert seen.open()[-1].owed == START
            await die(first)
        async with fetching(bus) as fetcher, running(bus, "1m", owner="two"):
            await fetcher.requested(1)
            assert fetcher.asked == [("1m", 0, MINUTE, False)]
            await tape.say(trade(2 * MINUTE))
            await seen.until(lambda: seen.open()[-1].timestamp == START + 2 * MINUTE and seen.pages)
            await until_nothing_is_owed(tape, seen, 2 * MINUTE + 1)


async def test_pages_that_the_stream_refused_are_fetched_by_the_successor(bus: Bus, tape: TradeTape) -> None:
    """Three minutes had closed."""
    await tape.say(until=0)
    async with witness(bus) as seen:
        async with running(bus, "1m") as first:
            await bus.jetstream.delete_stream(streams.OHLCV)
            for number in range(4):
                await tape.say(trade(number * MINUTE + 1))
            await seen.until(lambda: len(seen.closed()) == 3)
            await seen.until(lambda: seen.open() and seen.open()[-1].timestamp == START + 3 * MINUTE)
            await die(first)
        await streams.declare(bus.jetstream, 8, 2.0)
        async with witness(bus) as cache, fetching(bus) as fetcher, running(bus, "1m", owner="two"):
            await tape.say(trade(4 * MINUTE + 1))
            await fetcher.requested(1)
            assert fetcher.asked == [("1m", 0, 3 * MINUTE, False)]
            await cache.until(lambda: ranges(cache) == [(3 * MINUTE, 4 * MINUTE, 1)])


@pytest.mark.parametrize("open_one", [True, False])
async def test_a_debt_that_comes_up_in_a_quiet_market_is_on_the_tape_soon(
    bus: Bus, tape: TradeTape, *, open_one: bool
) -> None:
    """A job failed after the last trade: what was said last is said again, with the debt."""
    await tape.say(until=0)
    async with witness(bus) as seen:
        async with fetching(bus) as fetcher, running(bus, "1m") as first:
            fetcher.silent = True
            await tape.say(trade(30_000), gap=Gap(since=START + 1, until=START + 30_000))
            await tape.say(trade(MINUTE))
            await fetcher.requested(1)
            await until_nothing_is_owed(tape, seen, MINUTE + 1)
            if not open_one:
                await tape.say(until=2 * MINUTE)
                await seen.until(lambda: len(seen.closed()) == 2)
            told = seen.candles[-1]
            await fetcher.finish(fetcher.requests[0], failed=True)
            await seen.until(lambda: seen.candles[-1].owed == START, 5)
            assert msgspec.structs.replace(seen.candles[-1], owed=told.owed) == msgspec.structs.replace(
                told, repeated=not open_one
            )
            await die(first)
        async with fetching(bus) as fetcher, running(bus, "1m", owner="two"):
            await fetcher.requested(1)
            assert fetcher.asked == [("1m", 0, MINUTE, False)]


async def test_a_minute_that_late_trades_changed_is_fetched_anew_by_the_successor(bus: Bus, tape: TradeTape) -> None:
    """Although the cache has the candle."""
    await tape.say(until=0)
    async with witness(bus) as seen:
        async with running(bus, "1m", settings=PATIENT) as first:
            await tape.say(trade(1, 5.0), trade(MINUTE, 6.0))
            await seen.until(lambda: seen.pages)
            await tape.say(trade(2, 100.0), trade(MINUTE + 1, 7.0))
            await seen.until(lambda: seen.open() and seen.open()[-1].trades == 2)
            assert seen.open()[-1].outdated == START
            await die(first)
        async with fetching(bus) as fetcher, running(bus, "1m", owner="two"):
            async with asyncio.timeout(100):
                while ("1m", 0, MINUTE, True) not in fetcher.asked:
                    await fetcher.came(0.2)


async def test_what_was_owed_of_trades_that_are_gone_is_fetched_too(bus: Bus, tape: TradeTape) -> None:
    """The successor begins with the present minute, and its mark does not look like a candle of the new stream."""
    await tape.say(until=0)
    async with witness(bus) as seen:
        async with running(bus, "1m", settings=PATIENT) as first:
            await tape.say(trade(30_000), gap=Gap(since=START + 1, until=START + 30_000))
            await tape.say(trade(MINUTE))
            await seen.until(lambda: seen.open() and seen.open()[-1].timestamp == START + MINUTE)
            await die(first)
        await bus.jetstream.delete_stream(TRADES_STREAM)
        await streams.declare(bus.jetstream, 8, 2.0)
        async with fetching(bus) as fetcher, running(bus, "1m", owner="two"):
            await fetcher.requested(1)
            assert fetcher.asked == [("1m", 0, MINUTE, False)]
            assert (seen.candles[-1].repeated, seen.candles[-1].sequence) == (True, 0)


@pytest.mark.parametrize(
    ("closed", "minutes", "since"),
    [(False, 10, 1), (True, 10, 2), (False, 600, 540)],
    ids=["open", "closed", "long ago"],
)
async def test_what_followed_the_last_candle_is_fetched_where_its_trades_are_gone(
    bus: Bus, tape: TradeTape, closed: bool, minutes: int, since: int
) -> None:
    """The successor begins with the present minute: those before it were neither cached nor asked for."""
    await tape.say(until=0)
    async with witness(bus) as seen:
        async with running(bus, "1m", settings=PATIENT) as first:
            await tape.say(trade(1))
            await tape.say(trade(MINUTE))
            await seen.until(lambda: seen.open() and seen.open()[-1].timestamp == START + MINUTE)
            # Until the tape says that the minute before is not owed any more: it would be asked for as well.
            async with asyncio.timeout(100):
                while (newest := seen.open()[-1]).owed is not None:
                    await tape.say(trade(MINUTE + newest.trades))
                    await seen.until(lambda said=newest.trades: seen.open()[-1].trades > said)  # type: ignore[misc]
            if closed:
                await tape.say(until=2 * MINUTE)
                await seen.until(lambda: len(seen.closed()) == 2)
            await die(first)
        await bus.jetstream.delete_stream(TRADES_STREAM)
        await streams.declare(bus.jetstream, 8, 2.0)
        venue = CandleVenue(at=minutes * MINUTE + 1_000)
        async with fetching(bus) as fetcher, running(bus, "1m", owner="two", venue=venue):
            await fetcher.requested(1)
            # As far back as trades are repaired, which is an hour.
            assert fetcher.asked == [("1m", since * MINUTE, minutes * MINUTE, False)]


async def live(chance: random.Random, tape: TradeTape, seen: Witness, minute: int) -> int:
    """Some minutes of trades, gaps, late trades and silence; then a moment more or less. The minute reached."""
    for _ in range(chance.randrange(1, 5)):
        at = minute * MINUTE
        match chance.randrange(5):
            case 0:
                await tape.say(trade(at + 40_000), gap=Gap(since=START + at + 10, until=START + at + 40_000))
            case 1:
                await tape.say(until=at)
            case 2:
                await tape.say(trade(at + 5), trade(at - MINUTE * chance.randrange(1, 3)))
            case _:
                await tape.say(trade(at), trade(at + 59_999))
        minute += 1
    if chance.random() < 0.5:
        closed = len(seen.closed())
        await tape.say(trade(minute * MINUTE))
        await seen.until(lambda: len(seen.closed()) > closed)
    await asyncio.sleep(chance.choice([0, 0.01, 0.05, 0.2]))
    return minute


def asked(fetcher: ScriptedFetcher) -> list[Range]:
    """What a fetcher accepted."""
    return [Range(each.since, each.until or 0) for each in fetcher.requests]


@pytest.mark.parametrize("seed", range(4))
async def test_everything_closed_is_cached_or_asked_for_however_owners_die(
    bus: Bus, tape: TradeTape, seed: int
) -> None:
    """At any moment, with gaps, late trades, and a fetcher that comes and goes."""
    chance = random.Random(seed)
    await tape.say(until=0)
    settling = StreamerSettings(candle_ms=0, settle_ms=chance.choice([0, 20, 200]))
    known: list[Range] = []
    minute = 0
    async with witness(bus) as seen:
        for owner in range(12):
            async with AsyncExitStack() as stack:
                fails = chance.choice([None, 0, 1])
                fetcher = None if fails is None else await stack.enter_async_context(fetching(bus, fails))
                async with running(bus, "1m", settings=settling, owner=f"owner {owner}") as body:
                    minute = await live(chance, tape, seen, minute)
                    await die(body)
                known += asked(fetcher) if fetcher else []
        everything = Range(START, START + minute * MINUTE)
        async with fetching(bus) as fetcher, running(bus, "1m", owner="last", settings=settling):
            await tape.say(trade(minute * MINUTE))

            def left() -> list[Range]:
                cached = [Range(page.since, page.until) for page in seen.pages]
                return subtract(everything, [*known, *cached, *asked(fetcher)])

            try:
                async with asyncio.timeout(100):
                    while left():
                        await fetcher.came(0.2)
            except TimeoutError:
                pytest.fail(f"neither cached nor asked for: {[(a - START, b - START) for a, b in left()]}")


@pytest.mark.parametrize("end", ["stop", "cancel"])
async def test_whoever_takes_over_within_a_minute_closes_the_right_candle(bus: Bus, tape: TradeTape, end: str) -> None:
    """The open candle is repeated first, and trades count once, whoever saw them."""
    await tape.say(until=0)
    async with witness(bus) as seen:
        async with running(bus, "1m") as first:
            await tape.say(trade(0, 5.0, 0.1), trade(1, 6.0, 0.2))
            await tape.say(trade(MINUTE, 4.0, 0.1))
            await seen.until(lambda: seen.open() and seen.open()[-1].timestamp == START + MINUTE)
            if end == "stop":
                await first.stop()
            else:
                first.task.cancel()
                await asyncio.gather(first.task, return_exceptions=True)
        before = len(seen.candles)
        await tape.say(trade(MINUTE + 1, 9.0, 0.2))
        async with running(bus, "1m", owner="two"):
            await tape.say(trade(2 * MINUTE - 1, 3.0, 0.4))
            await tape.say(until=2 * MINUTE)
            await seen.until(lambda: len(seen.closed()) == 2)
        assert seen.candles[before] == msgspec.structs.replace(seen.candles[before - 1], repeated=True)
        assert [each.repeated for each in seen.candles].count(True) == 1
        assert [facts(each) for each in seen.closed()] == [
            (0, 5.0, 6.0, 5.0, 6.0, 0.3, 2, True),
            (1, 4.0, 9.0, 3.0, 3.0, 0.7, 3, True),
        ]
        await seen.until(lambda: sum(len(page.rows) for page in seen.pages) == 2)


async def test_a_zombie_adds_nothing(bus: Bus, tape: TradeTape) -> None:
    """The marker of its successor makes the stream refuse it."""
    await tape.say(until=0)
    async with witness(bus) as seen, running(bus, "1m") as first:
        await tape.say(trade(0, 5.0))
        await seen.until(lambda: seen.open())
        async with running(bus, "1m", owner="two"):
            await seen.until(lambda: len(seen.open()) == 2)
            await tape.say(trade(1, 6.0))
            await tape.say(trade(MINUTE, 7.0))
            with pytest.raises(Fenced):
                await first.task
            await seen.until(lambda: seen.closed())
            await tape.say(trade(2 * MINUTE, 7.0))
            await seen.until(lambda: len(seen.closed()) == 2)
        assert [facts(each)[0] for each in seen.closed()] == [0, 1]
