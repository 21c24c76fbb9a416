"""A body of a candle feed on a real broker; the test writes the tape of trades and plays exchange and fetcher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from nats.aio.msg import Msg

from support.trading import ANY_TIME
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.errors import Fenced
from tickwire.model import messages
from tickwire.model.feeds import Candle, Feed, Gap, Status, Trade, Trades
from tickwire.model.messages import CandlePage, FetchAccepted, FetchRequest, Job
from tickwire.model.ranges import Range
from tickwire.settings import StreamerSettings
from tickwire.streamer.candles import feed as candles
from tickwire.streamer.control.feed_context import Desk, Sink, Wishes, open_board
from tickwire.streamer.subscriptions.admission import Admission
from tickwire.tape.writer import TapeWriter, open_writer
from tickwire.venues.units import SPOT, Units

FEED = Feed("candle", "binance", "BTC/USDT")
TRADES = Feed("trade", "binance", "BTC/USDT")
START = 1_700_006_400_000
"""The start of a day (UTC)."""
MINUTE = 60_000
QUICK = StreamerSettings(candle_ms=0, settle_ms=0)


def trade(timestamp: int, price: float = 1.0, amount: float = 1.0) -> Trade:
    """A trade at a time after START, ms."""
    return Trade(id=None, timestamp=START + timestamp, side="buy", price=price, amount=amount)


def facts(candle: Candle) -> tuple[int, float, float, float, float, float, int, bool]:
    """Open time after START in minutes, and what it is made of."""
    opened = (candle.timestamp - START) // MINUTE
    return opened, candle.open, candle.high, candle.low, candle.close, candle.volume, candle.trades, candle.complete


class TradeTape:
    """The one writer of the tape of trades."""

    def __init__(self, tape: TapeWriter, feed: Feed) -> None:
        self._tape = tape
        self._feed = feed

    async def say(self, *trades: Trade, gap: Gap | None = None, until: int | None = None) -> int:
        """Append a message; `until` is after START, ms. Its sequence."""
        message = Trades(
            exchange=self._feed.exchange,
            symbol=self._feed.symbol,
            trades=list(trades),
            received=0,
            gap=gap,
            until=None if until is None else START + until,
        )
        return await self._tape.append(messages.encode(message))


async def trade_tape(bus: Bus, feed: Feed = TRADES) -> TradeTape:
    """The tape of the market's trades."""
    tape, _ = await open_writer(bus, streams.TRADES, feed.tape)
    return TradeTape(tape, feed)


@dataclass
class ScriptedVenue:
    """An exchange that tells the time, and pushes its own candles into `sinks` as the test says."""

    exchange: str = "binance"
    counted: bool = True
    has_diffs: bool = True
    snapshots: asyncio.Lock = field(default_factory=asyncio.Lock)
    rest: Any = field(default_factory=lambda: SimpleNamespace(has={"watchTrades": True}))
    at: int = 0
    """The time there, after START, ms."""
    sinks: dict[str | None, Sink] = field(default_factory=dict)
    watched: asyncio.Event = field(default_factory=asyncio.Event)

    tells_time: bool = True
    passed: int = 10**12
    """How much later it is there, ms, by the time that anything has happened."""
    admission: Admission = ANY_TIME
    past: Any = None

    async def now(self) -> int | None:
        """The exchange's clock, as the feed begins."""
        return START + self.at if self.tells_time else None

    def clock(self) -> int | None:
        """Later: what the test says has happened by then."""
        return START + self.at + self.passed if self.tells_time else None

    async def answers(self, feed: Feed, since: int) -> bool:
        """Its sockets always do."""
        return True

    @asynccontextmanager
    async def watching(self, feed: Feed, sink: Sink) -> AsyncIterator[None]:
        """Lend the sink to the test."""
        self.sinks[feed.timeframe] = sink
        self.watched.set()
        yield
        del self.sinks[feed.timeframe]

    async def resubscribe(self, feed: Feed, reason: str) -> None:
        """Nobody asks for that."""


class Witness:
    """What everybody can see of the feed."""

    def __init__(self) -> None:
        self.candles: list[Candle] = []
        self.statuses: list[Status] = []
        self.pages: list[CandlePage] = []
        self._news = asyncio.Event()

    async def candle(self, message: Msg) -> None:
        """A public candle."""
        self.candles.append(messages.decode(message.data, Candle))
        self._news.set()

    async def status(self, message: Msg) -> None:
        """A public status."""
        self.statuses.append(messages.decode(message.data, Status))
        self._news.set()

    async def page(self, message: Msg) -> None:
        """A page on its way to the cache."""
        self.pages.append(messages.decode(message.data, CandlePage))
        self._news.set()

    def closed(self, timeframe: str = "1m") -> list[Candle]:
        """Closed candles in the order they came."""
        return [each for each in self.candles if each.closed and each.timeframe == timeframe]

    def open(self, timeframe: str = "1m") -> list[Candle]:
        """States of open candles in the order they came."""
        return [each for each in self.candles if not each.closed and each.timeframe == timeframe]

    def ranges(self, timeframe: str = "1m") -> list[tuple[int, int, int]]:
        """Of the pages: since and until, after START, and the number of rows."""
        return [
            (page.since - START, page.until - START, len(page.rows))
            for page in self.pages
            if page.timeframe == timeframe
        ]

    def said(self, event: str) -> list[Status]:
        """Statuses of this event."""
        return [each for each in self.statuses if each.event == event]

    async def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Wait for news that make it true."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(
                f"did not come: {self.candles[-5:]}, pages {self.pages[-3:]}, "
                f"said {[(each.event, each.message) for each in self.statuses]}"
            ) from None


@asynccontextmanager
async def witness(bus: Bus) -> AsyncIterator[Witness]:
    """One for the feed."""
    seen = Witness()
    subscriptions = [
        await bus.subscribe("md.candle.>", seen.candle),
        await bus.subscribe("md.status.candle.>", seen.status),
        await bus.subscribe_ordered("ohlcv.>", streams.OHLCV, seen.page),
    ]
    await bus.client.flush()
    yield seen
    for subscription in subscriptions:
        await subscription.unsubscribe()


@dataclass
class Running:
    """A body that runs."""

    desk: Desk
    task: asyncio.Task[None]

    def want(self, *timeframes: str) -> None:
        """As the service tells it of changed interests."""
        wishes = self.desk.wishes
        wishes.timeframes = frozenset(timeframes)
        changed, wishes.changed = wishes.changed, asyncio.Event()
        changed.set()

    async def stop(self) -> None:
        """As its service would."""
        self.desk.stop.set()
        async with asyncio.timeout(100):
            await self.task


@asynccontextmanager
async def running(
    bus: Bus,
    *timeframes: str,
    venue: ScriptedVenue | None = None,
    settings: StreamerSettings = QUICK,
    owner: str = "one",
    feed: Feed = FEED,
    units: Units = SPOT,
) -> AsyncIterator[Running]:
    """A body within the block; stopped at its end unless it ended before."""
    board = await open_board(bus, feed, owner)
    wishes = Wishes(depth=20, cadence_ms=100, timeframes=frozenset(timeframes))
    venue = venue or ScriptedVenue(exchange=feed.exchange)
    desk = Desk(feed, bus, venue, settings, wishes, board, asyncio.Event(), units=units)
    speaking = asyncio.create_task(board.run())
    task = asyncio.create_task(candles.run(desk))
    body = Running(desk, task)
    try:
        yield body
        if not task.done():
            await body.stop()
        elif not task.cancelled() and not isinstance(task.exception(), Fenced):
            # A bug of the body shows, though the test may have seen enough.
            task.result()
        board.end()
        await asyncio.gather(speaking, return_exceptions=True)
    finally:
        for each in (task, speaking):
            each.cancel()
        await asyncio.gather(task, speaking, return_exceptions=True)


class ScriptedFetcher:
    """Takes requests, and ends each job at once: complete, unless told to leave the first so many."""

    def __init__(self, bus: Bus, fails: int = 0) -> None:
        self.requests: list[FetchRequest] = []
        self.silent = False
        """Jobs are accepted, and end when the test says so."""
        self._bus = bus
        self._fails = fails
        self._news = asyncio.Event()

    async def fetch(self, request: FetchRequest, _call: Call) -> FetchAccepted:
        """The endpoint."""
        self.requests.append(request)
        self._news.set()
        assert request.id is not None
        if not self.silent:
            await self.finish(request, failed=len(self.requests) <= self._fails)
        return FetchAccepted(id=request.id)

    async def finish(self, request: FetchRequest, *, failed: bool) -> None:
        """Say how a job ended."""
        assert request.id is not None
        assert request.until is not None
        job = Job(
            id=request.id,
            exchange=request.exchange,
            symbol=request.symbol,
            timeframe=request.timeframe,
            state="failed" if failed else "done",
            since=request.since,
            until=request.until,
            complete=not failed,
            missing=[Range(request.since, request.until)] if failed else [],
        )
        await self._bus.publish(f"md.job.{request.id}", job)

    @property
    def asked(self) -> list[tuple[str, int, int, bool]]:
        """Timeframe, since and until after START, refresh."""
        return [(each.timeframe, each.since - START, (each.until or 0) - START, each.refresh) for each in self.requests]

    async def came(self, seconds: float) -> None:
        """Wait for a request, so long at most."""
        self._news.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    async def until(self, count: int) -> None:
        """Wait for so many requests."""
        async with asyncio.timeout(100):
            while len(self.requests) < count:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def fetching(bus: Bus, fails: int = 0) -> AsyncIterator[ScriptedFetcher]:
    """A fetcher within the block."""
    fetcher = ScriptedFetcher(bus, fails)
    async with serve(bus, "fetcher", [Endpoint("fetcher.fetch", FetchRequest, fetcher.fetch)], instance="scripted"):
        yield fetcher
