"""A trade feed at work, on an exchange that the test plays or on an opened one."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from support import feeds
from support.feeds import Running, ScriptedVenue, Witness
from support.trading import START, Rest
from tape.slots import writing
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Feed, Trade, Trades
from tickwire.settings import StreamerSettings
from tickwire.streamer.control.feed_venue import FeedSink, FeedVenue
from tickwire.streamer.trades import feed as trades

FEED = Feed("trade", "binance", "BTC/USDT")
QUICK = StreamerSettings(repair_s=1.0, settle_ms=0)


def witness(bus: Bus) -> AbstractAsyncContextManager[Witness]:
    """What is seen of the feed."""
    return feeds.witness(bus, FEED)


@asynccontextmanager
async def running(
    bus: Bus, venue: ScriptedVenue, settings: StreamerSettings = QUICK, owner: str = "one"
) -> AsyncIterator[Running]:
    """The feed within the block, connected."""
    async with feeds.running(bus, trades.run, FEED, venue=venue, settings=settings, owner=owner) as body:
        (await venue.sink()).connected()
        yield body


@asynccontextmanager
async def following(
    bus: Bus, venue: FeedVenue, symbol: str, settings: StreamerSettings = QUICK
) -> AsyncIterator[tuple[Running, Witness]]:
    """A feed of an opened exchange within the block, and what is seen of it."""
    feed = Feed("trade", venue.exchange, symbol)
    async with (
        feeds.witness(bus, feed) as seen,
        feeds.running(bus, trades.run, feed, venue=venue, settings=settings) as body,
    ):
        yield body, seen


def push(sink: FeedSink, some: list[Trade], frame: int = 10) -> None:
    """Live trades, so many a frame."""
    for start in range(0, len(some), frame):
        sink.take(some[start : start + frame], int(time.time() * 1000))


async def on_tape(bus: Bus, some: list[Trade]) -> None:
    """Trades put on the tape by an earlier owner."""
    async with writing(bus, FEED) as tape:
        for start in range(0, len(some), 500):
            part = some[start : start + 500]
            await tape.append(
                messages.encode(Trades(exchange="binance", symbol="BTC/USDT", trades=part, received=part[-1].timestamp))
            )


def consecutive(seen: Witness, first: int, end: int) -> bool:
    """Whether exactly these ids are on the tape, in order."""
    return seen.ids == list(range(first, end))


def complete_until(seen: Witness, end: int) -> bool:
    """Whether the newest message declares the tape complete up to `end` (ms)."""
    return seen.messages[-1:] != [] and seen.messages[-1].until == end


def halted(*, sequential_ids: bool = True, before_ms: int) -> tuple[ScriptedVenue, int]:
    """A venue without trades whose clock stands, so long before a minute ends, and that end.

    A test lets the clock run (`clock_from`) when it is ready: that may take longer than until the end of the minute.
    """
    end = START // 60_000 * 60_000 + 60_000
    return ScriptedVenue(Rest(), sequential_ids=sequential_ids, clock=lambda: end - before_ms), end


def clock_from(at: int) -> Callable[[], int]:
    """A clock that runs from `at` (ms) on."""
    began = time.monotonic()
    return lambda: at + int((time.monotonic() - began) * 1000)
