"""The body of a candle feed: built from the tape, closed once, cached when complete, fetched when not."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from candles.candle_feed import (
    FEED,
    MINUTE,
    START,
    TRADES,
    CandleVenue,
    TradeTape,
    facts,
    ranges,
    running,
    trade,
    trade_tape,
    witness,
)
from tape.places import TRADES_STREAM, place_of
from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.model import messages, timeframes
from tickwire.model.feeds import Candle, Trades
from tickwire.settings import NatsSettings, StreamerSettings
from tickwire.tape.reader import read_tape
from tickwire.tape.sequence import TapeMessage

pytestmark = [pytest.mark.actors, pytest.mark.usefixtures("ccxt_imported")]


async def test_each_minute_is_closed_once_and_goes_to_the_cache(bus: Bus, tape: TradeTape) -> None:
    """A later trade closes it, or `until` of the tape in a quiet market; minutes without trades are flat."""
    await tape.say(trade(-1))
    async with witness(bus) as seen, running(bus, "1m"):
        await tape.say(trade(0, 10.0, 0.1), trade(1, 12.0, 0.2), trade(59_999, 9.0, 0.3))
        await seen.until(lambda: seen.open())
        assert not seen.closed()
        await tape.say(trade(MINUTE, 11.0))
        await tape.say(until=2 * MINUTE)
        await tape.say(until=4 * MINUTE)
        await tape.say(trade(4 * MINUTE + 5, 8.0))
        await tape.say(trade(5 * MINUTE, 7.0))
        await seen.until(lambda: len(seen.closed()) == 5)
        await seen.until(lambda: seen.pages and seen.pages[-1].until == START + 5 * MINUTE)
        assert [facts(each) for each in seen.closed()] == [
            (0, 10.0, 12.0, 9.0, 9.0, 0.6, 3, True),
            (1, 11.0, 11.0, 11.0, 11.0, 1.0, 1, True),
            (2, 11.0, 11.0, 11.0, 11.0, 0.0, 0, True),
            (3, 11.0, 11.0, 11.0, 11.0, 0.0, 0, True),
            (4, 8.0, 8.0, 8.0, 8.0, 1.0, 1, True),
        ]
        assert [row for page in seen.pages for row in page.rows] == [
            (START, 10.0, 12.0, 9.0, 9.0, 0.6),
            (START + MINUTE, 11.0, 11.0, 11.0, 11.0, 1.0),
            (START + 2 * MINUTE, 11.0, 11.0, 11.0, 11.0, 0.0),
            (START + 3 * MINUTE, 11.0, 11.0, 11.0, 11.0, 0.0),
            (START + 4 * MINUTE, 8.0, 8.0, 8.0, 8.0, 1.0),
        ]
        # The pages follow each other without a hole or an overlap.
        assert [page.since for page in seen.pages] == [START, *(page.until for page in seen.pages[:-1])]
        assert {page.source for page in seen.pages} == {"live"}
        assert seen.said("connected")
    assert seen.statuses[-1].event == "stopped"


async def test_open_candles_come_at_a_bounded_rate_and_the_newest_always_comes(bus: Bus, tape: TradeTape) -> None:
    """What they lack is counted."""
    await tape.say(until=0)
    slow = StreamerSettings(candle_ms=200)
    async with witness(bus) as seen, running(bus, "1m", settings=slow) as body:
        began = time.monotonic()
        for number in range(300):
            await tape.say(trade(number, float(number)))
        await seen.until(lambda: seen.open() and seen.open()[-1].trades == 300)
        took = time.monotonic() - began
        assert len(seen.open()) <= took / 0.2 + 2
        assert seen.open()[-1].close == 299.0
        await body.counted(lambda status: len(seen.open()) + status.conflated == 300)


async def test_after_a_closed_candle_the_rest_of_its_message_counts_for_the_next(bus: Bus, tape: TradeTape) -> None:
    """A message may close a minute and hold trades of the next, and its reader may have ended in between."""
    await tape.say(until=0)
    async with witness(bus) as seen:
        async with running(bus, "1m"):
            await tape.say(trade(0, 5.0))
            await tape.say(trade(1, 6.0), trade(MINUTE, 7.0), trade(2 * MINUTE, 8.0))
            await seen.until(lambda: len(seen.closed()) == 2)
        # As if its owner had died before it published anything more than the first closed candle.
        closed = seen.closed()[0]
        await bus.jetstream.publish(f"{FEED.tape}.1m", messages.encode(closed))
        await seen.until(lambda: len(seen.closed()) == 3)
        seen.candles.clear()
        seen.pages.clear()
        async with running(bus, "1m", owner="two"):
            await tape.say(until=3 * MINUTE)
            await seen.until(lambda: len(seen.closed()) == 3)
        assert [facts(each) for each in seen.closed()] == [
            (0, 5.0, 6.0, 5.0, 6.0, 2.0, 2, True),
            (1, 7.0, 7.0, 7.0, 7.0, 1.0, 1, True),
            (2, 8.0, 8.0, 8.0, 8.0, 1.0, 1, True),
        ]


async def test_a_timeframe_added_later_is_read_back_from_the_tape(bus: Bus, tape: TradeTape) -> None:
    """And one that nobody wants any more is built no longer; wanted again, it goes on without a hole."""
    await tape.say(trade(-5_000, 99.0))
    venue = CandleVenue()
    async with witness(bus) as seen, running(bus, "1m", venue=venue) as body:
        await tape.say(trade(0, 5.0), trade(MINUTE, 6.0))
        await tape.say(trade(2 * MINUTE + 500, 7.0))
        await seen.until(lambda: len(seen.closed()) == 2)
        venue.at = 2 * MINUTE + 500
        body.want("1m", "5m", "1s")
        await seen.until(lambda: seen.open("5m") and seen.open("1s"))
        assert facts(seen.open("5m")[-1])[1:] == (5.0, 7.0, 5.0, 7.0, 3.0, 3, True)
        # The second was begun by the trade itself, within the second that the exchange's clock tells.
        assert seen.open("1s")[-1].complete
        await tape.say(trade(3 * MINUTE, 8.0))
        await seen.until(lambda: len(seen.closed()) == 3 and seen.closed("1s"))
        body.want("5m", "1h")
        # What goes, goes before something comes.
        await seen.until(lambda: seen.open("1h"))
        await tape.say(trade(4 * MINUTE, 9.0))
        await seen.until(lambda: seen.open("5m")[-1].trades == 5)
        assert len(seen.closed()) == 3
        body.want("1m", "5m")
        await tape.say(until=5 * MINUTE)
        await seen.until(lambda: len(seen.closed()) == 5 and seen.closed("5m"))
        assert [facts(each)[0] for each in seen.closed()] == [0, 1, 2, 3, 4]
        assert facts(seen.closed("5m")[0]) == (0, 5.0, 9.0, 5.0, 9.0, 5.0, 5, True)
        assert all(each.complete for each in seen.closed())
        assert body.context.status.gaps == 0


async def test_whoever_joins_late_has_the_present_open_candle_at_once(bus: Bus, tape: TradeTape) -> None:
    """Before anything more is traded."""
    await tape.say(until=0)
    found: list[Candle] = []

    async def take(taped: TapeMessage) -> None:
        found.append(messages.decode(taped.data, Candle))

    async with witness(bus) as seen, running(bus, "1m"):
        await tape.say(trade(0, 5.0), trade(MINUTE, 6.0), trade(MINUTE + 1, 7.0))
        await seen.until(lambda: seen.open() and seen.open()[-1].trades == 2)
        async with read_tape(bus, FEED._replace(timeframe="1m").public, take):
            assert [(facts(each), each.closed) for each in found] == [((1, 6.0, 7.0, 6.0, 7.0, 2.0, 2, True), False)]


async def test_a_long_timeframe_that_reads_back_holds_up_no_other(bus: Bus) -> None:
    """20,000 messages of a day; it joins the others when it has come as far."""
    count = 20_000
    for number in range(count):
        message = Trades(exchange="binance", symbol="BTC/USDT", trades=[trade(number * 100)], received=0)
        await bus.client.publish(place_of(TRADES).subject, messages.encode(message))
    end = Trades(exchange="binance", symbol="BTC/USDT", trades=[], received=0)
    await bus.jetstream.publish(place_of(TRADES).subject, messages.encode(end), timeout=30)
    at = count * 100
    settings = StreamerSettings(candle_ms=20)
    async with trade_tape(bus) as tape:
        async with witness(bus) as seen, running(bus, "1s", venue=CandleVenue(at=at), settings=settings) as body:
            await tape.say(trade(at))
            await seen.until(lambda: any(each.timestamp == START + at for each in seen.open("1s")))
            body.want("1s", "1d")
            await tape.say(trade(at + 1000))
            await seen.until(lambda: any(each.timestamp == START + at for each in seen.closed("1s")))
            assert all(each.trades < count // 2 for each in seen.open("1d"))
            await seen.until(lambda: seen.open("1d") and seen.open("1d")[-1].trades == count + 2)
            await tape.say(trade(at + 1001, 77.0))
            await seen.until(lambda: seen.open("1d")[-1].high == seen.open("1s")[-1].high == 77.0)
            assert (seen.open("1d")[-1].trades, seen.open("1s")[-1].trades) == (count + 3, 2)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_wanted_meanwhile_candles_are_those_of_their_trades(
    bus: Bus, tape: TradeTape, seed: int
) -> None:
    """Timeframes come and go as they please; none closes a candle twice, or one that lacks a trade."""
    chance = random.Random(seed)
    await tape.say(until=0)
    times: list[int] = []
    names = ["1s", "5s", "1m", "1h"]
    async with witness(bus) as seen, running(bus, *chance.sample(names, 2)) as body:
        for _ in range(60):
            for _ in range(chance.randrange(1, 30)):
                times.append((times[-1] if times else 0) + chance.randrange(1, 2000))
                await tape.say(trade(times[-1]))
            body.want(*chance.sample(names, chance.randrange(1, 4)))
            await asyncio.sleep(chance.choice([0, 0, 0.002, 0.02]))
        body.want(*names)
        end = (times[-1] // MINUTE + 1) * MINUTE
        await tape.say(until=end)
        for name in names[:3]:
            length = timeframes.duration_ms(name)
            counts = Counter(START + at // length * length for at in times)
            await seen.until(lambda: any(each.timestamp == max(counts) for each in seen.closed(name)))  # noqa: B023
            told = [each for each in seen.closed(name) if not each.repeated]
            # From the one on that was the present one when it was wanted first.
            traded = [each.timestamp for each in told if each.timestamp in counts]
            assert traded == sorted(counts)[len(counts) - len(traded) :]
            assert [each.timestamp for each in told] == sorted({each.timestamp for each in told})
            assert [each.trades for each in told if each.complete] == [
                counts[each.timestamp] for each in told if each.complete
            ]


async def test_a_minute_that_the_tape_does_not_reach_back_to_is_incomplete(bus: Bus, tape: TradeTape) -> None:
    """The next one is complete."""
    await tape.say(trade(30_000))
    async with witness(bus) as seen, running(bus, "1m", venue=CandleVenue(at=31_000)):
        await tape.say(trade(59_000), trade(MINUTE), trade(2 * MINUTE))
        await seen.until(lambda: len(seen.closed()) == 2)
        assert [facts(each) for each in seen.closed()] == [
            (0, 1.0, 1.0, 1.0, 1.0, 2.0, 2, False),
            (1, 1.0, 1.0, 1.0, 1.0, 1.0, 1, True),
        ]


@pytest.mark.parametrize("lost", ["purged", "recreated"])
async def test_a_candle_whose_trades_are_gone_is_not_gone_on_with(bus: Bus, tape: TradeTape, lost: str) -> None:
    """Sequences of another stream say nothing, even where they exist there."""
    await tape.say(until=0)
    async with witness(bus) as seen:
        async with running(bus, "1m"):
            await tape.say(trade(1, 5.0))
            await seen.until(lambda: seen.open())
        await tape.say(trade(2, 6.0))
        if lost == "purged":
            await bus.jetstream.purge_stream(TRADES_STREAM)
        else:
            await bus.jetstream.delete_stream(TRADES_STREAM)
            await streams.declare(bus.jetstream, 8, 2.0)
        async with trade_tape(bus) as again:
            if lost == "recreated":
                for number in range(4):
                    await again.say(trade(3 + number, 7.0))
            async with running(bus, "1m", owner="two", venue=CandleVenue(at=1_000)) as body:
                await seen.until(lambda: len(seen.said("starting")) == 2)
                await again.say(trade(30_000, 8.0))
                await again.say(trade(MINUTE, 8.0))
                await seen.until(lambda: seen.closed())
                assert not seen.closed()[0].complete
                assert seen.closed()[0].open == (8.0 if lost == "purged" else 7.0)
                await body.counted(lambda status: status.gaps == 1)


async def test_a_broker_that_restarts_costs_no_trade(tmp_path: Path) -> None:
    """What comes after it counts once."""
    async with AsyncExitStack() as second, AsyncExitStack() as first:
        url = await first.enter_async_context(embedded.embedded(tmp_path / "nats"))
        async with connect(NatsSettings(url=url), name="test") as bus:
            await streams.declare(bus.jetstream, 8, 2.0)
            async with trade_tape(bus) as tape:
                await tape.say(until=0)
                async with witness(bus) as seen, running(bus, "1m"):
                    await tape.say(trade(0, 5.0))
                    await seen.until(lambda: seen.open())
                    await first.aclose()
                    again = embedded.embedded(tmp_path / "nats", port=int(url.rpartition(":")[2]))
                    await second.enter_async_context(again)
                    await tape.say(trade(1, 6.0))
                    await tape.say(trade(MINUTE, 7.0))
                    await tape.say(trade(2 * MINUTE, 7.0))
                    await seen.until(lambda: len(seen.closed()) == 2)
                    assert [facts(each) for each in seen.closed()] == [
                        (0, 5.0, 6.0, 5.0, 6.0, 2.0, 2, True),
                        (1, 7.0, 7.0, 7.0, 7.0, 1.0, 1, True),
                    ]
                    await seen.until(lambda: ranges(seen)[-1:] and ranges(seen)[-1][1] == 2 * MINUTE)


async def test_a_burst_of_20000_trades_is_counted_to_the_last(bus: Bus, tape: TradeTape) -> None:
    """In three timeframes, over twenty seconds of the exchange's time."""
    await tape.say(until=0)
    async with witness(bus) as seen, running(bus, "1s", "5s", "1m", settings=StreamerSettings()) as body:
        for start in range(0, 20_000, 500):
            await tape.say(*(trade(number, 1.0 + number % 97, 0.1) for number in range(start, start + 500)))
        await tape.say(until=MINUTE)
        await seen.until(lambda: seen.closed("1m"))
        assert seen.closed("1m")[0].trades == 20_000
        assert seen.closed("1m")[0].volume == 2000.0
        # The rest of the minute is quiet.
        await seen.until(lambda: len(seen.closed("1s")) == 60 and len(seen.closed("5s")) == 12)
        assert [(each.trades, each.volume) for each in seen.closed("1s")] == [(1000, 100.0)] * 20 + [(0, 0.0)] * 40
        assert [(each.trades, each.volume) for each in seen.closed("5s")] == [(5000, 500.0)] * 4 + [(0, 0.0)] * 8
        await seen.until(lambda: ranges(seen, "1s") and ranges(seen, "1s")[-1][1] == MINUTE)
        assert body.context.status.gaps == 0
