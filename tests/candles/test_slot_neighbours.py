"""Candle feeds of one slot follow one partition of the tape: each has its own trades, whatever its neighbours do."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from candles.candle_feed import FEED, MINUTE, START, TRADES, CandleVenue, TradeTape, running, trade, witness
from support.feeds import Witness
from tape.places import TRADES_STREAM
from tape.slots import opened_by_test, writing
from tickwire.bus.connection import Bus
from tickwire.exchange.admission import Admission
from tickwire.model import messages, timeframes
from tickwire.model.feeds import Candle, Feed, Trades
from tickwire.model.subjects import tape_partition_of
from tickwire.process.lifecycle import leaf
from tickwire.settings import StreamerSettings
from tickwire.tape.subject_writer import SubjectWriter

pytestmark = [pytest.mark.actors, pytest.mark.usefixtures("ccxt_imported")]

SLOT = int(TRADES_STREAM.rpartition("-")[2])
CLOSED = StreamerSettings(candle_ms=1000, settle_ms=0)
"""For tests of many closed candles: open ones are published once a second, not with each of thousands of trades."""
OTHERS = [symbol for n in range(60) if tape_partition_of("binance", symbol := f"S{n}/USDT", 8) == SLOT]


def closed(seen: Witness, feed: Feed, timeframe: str) -> list[Candle]:
    return [each for each in seen.closed(timeframe) if each.symbol == feed.symbol and not each.repeated]


class Failing(Admission):
    """What looks at the times of trades has a bug."""

    def timed(self, *_: object) -> object:  # type: ignore[override]
        raise ZeroDivisionError


async def test_a_feed_that_fails_at_a_message_leaves_its_neighbours(bus: Bus, tape: TradeTape) -> None:
    """One of another market, and one that was to be its successor."""
    neighbour = FEED._replace(symbol=OTHERS[0])
    broken = CandleVenue()
    broken.admission = Failing(lambda: 0)
    slot = opened_by_test(bus, TRADES)
    writer, _ = await slot.open(neighbour._replace(kind="trade").public)
    other = TradeTape(writer, neighbour._replace(kind="trade"))
    await tape.say(until=0)
    await other.say(until=0)
    async with witness(bus) as seen, running(bus, "1m", feed=neighbour):
        async with running(bus, "1m", venue=broken) as failing:
            await tape.say(trade(1))
            error = await failing.ended()
            assert error is not None
            assert isinstance(leaf(error), ZeroDivisionError)
            await other.say(trade(1))
        async with running(bus, "1m", owner="two"):
            for number in range(1, 4):
                await tape.say(trade(number * MINUTE))
                await other.say(trade(number * MINUTE))
            await seen.until(lambda: len(closed(seen, FEED, "1m")) == len(closed(seen, neighbour, "1m")) == 3)
    assert [each.trades for each in closed(seen, FEED, "1m")] == [1, 1, 1]
    assert [each.trades for each in closed(seen, neighbour, "1m")] == [1, 1, 1]


async def test_candle_feeds_make_no_consumer_of_the_tape(bus: Bus, tape: TradeTape) -> None:
    """A consumer costs a heartbeat each second, however idle its market is."""
    await tape.say(until=0)
    async with witness(bus) as seen, running(bus, "1s", "1m") as body:
        await tape.say(trade(0))
        await tape.say(trade(MINUTE))
        await seen.until(lambda: closed(seen, FEED, "1m") and closed(seen, FEED, "1s"))
        body.want("1m", "1h")
        await seen.until(lambda: seen.open("1h"))
        assert (await bus.jetstream.stream_info(TRADES_STREAM)).state.consumer_count == 0


class Market:
    """A market whose trades are sent without waiting until they are stored."""

    def __init__(self, feed: Feed, writer: SubjectWriter) -> None:
        self.feed = feed
        self.times: list[int] = []
        self._writer = writer

    async def trades(self, chance: random.Random, count: int) -> None:
        for _ in range(count):
            self.times.append((self.times[-1] if self.times else 0) + chance.randrange(1, 900))
            await self.say(Trades(**self._named, trades=[trade(self.times[-1])]))
            if chance.random() < 0.1:
                await asyncio.sleep(chance.choice([0, 0.001, 0.01]))

    async def end(self, until: int) -> None:
        await self.say(Trades(**self._named, trades=[], until=START + until))

    async def say(self, message: Trades) -> None:
        while not self._writer.append_now(messages.encode(message), lambda _: None):
            await asyncio.sleep(0.001)

    @property
    def _named(self) -> dict[str, Any]:
        return {"exchange": self.feed.exchange, "symbol": self.feed.symbol, "received": 0}


def truth_of(market: Market, timeframe: str) -> Counter[int]:
    """How many trades of a market each of its candles has."""
    length = timeframes.duration_ms(timeframe)
    return Counter(START + at // length * length for at in market.times)


def closed_since(seen: Witness, awaited: set[tuple[str, str, int]]) -> Callable[[], bool]:
    """Whether all of these were seen to close: symbol, timeframe, open time. Looks at each of many candles once."""
    read = 0

    def come() -> bool:
        nonlocal read
        new, read = seen.candles[read:], len(seen.candles)
        awaited.difference_update(
            (each.symbol, each.timeframe, each.timestamp) for each in new if each.closed and not each.repeated
        )
        return not awaited

    return come


@pytest.mark.parametrize("seed", range(3))
async def test_candles_of_feeds_that_begin_while_trades_flow_are_those_of_their_trades(bus: Bus, seed: int) -> None:
    """Whichever candles they begin with; later ones are complete, and the count of their trades is the truth."""
    chance = random.Random(seed)
    feeds = [FEED._replace(symbol=symbol) for symbol in OTHERS[:3]]
    names = ["1s", "5s", "1m"]
    async with AsyncExitStack() as stack, witness(bus) as seen:
        await stack.enter_async_context(writing(bus, feeds[0]._replace(kind="trade")))
        slot = opened_by_test(bus, feeds[0])
        markets = [Market(each, (await slot.open(each._replace(kind="trade").public))[0]) for each in feeds]
        async with asyncio.TaskGroup() as group:
            flowing = [group.create_task(each.trades(random.Random(seed), 3000)) for each in markets]
            for each in markets:
                await asyncio.sleep(chance.choice([0, 0.02, 0.1]))
                venue = CandleVenue(at=each.times[-1] if each.times else 0)
                await stack.enter_async_context(running(bus, *names, feed=each.feed, venue=venue, settings=CLOSED))
            await asyncio.wait(flowing)
        for market in markets:
            end = (market.times[-1] // MINUTE + 1) * MINUTE
            await market.end(end)
        truths = {(market.feed, name): truth_of(market, name) for market in markets for name in names}
        await seen.until(
            closed_since(seen, {(feed.symbol, name, max(truth)) for (feed, name), truth in truths.items()}), 200
        )
        for (feed, name), truth in truths.items():
            told = {each.timestamp: each.trades for each in closed(seen, feed, name) if each.complete}
            assert len(told) > 2
            first = min(told)
            assert {at: count for at, count in told.items() if count} == {
                at: count for at, count in truth.items() if at >= first
            }
