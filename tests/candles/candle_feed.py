"""A body of a candle feed on a real broker; the test writes the tape of trades and plays exchange and fetcher."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

from support import feeds
from support.feeds import Running, ScriptedVenue, Witness
from support.hearing import Changing
from tape.slots import writing
from tickwire.bus.connection import Bus
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.errors import TickwireError
from tickwire.model import messages
from tickwire.model.feeds import Candle, Feed, Gap, Trade, Trades
from tickwire.model.messages import FetchAccepted, FetchRequest, Job
from tickwire.model.ranges import Range
from tickwire.settings import StreamerSettings
from tickwire.streamer.candles import feed as candles
from tickwire.streamer.control.demand import Demand
from tickwire.tape.subject_writer import SubjectWriter

FEED = Feed("candle", "binance", "BTC/USDT")
TRADES = Feed("trade", "binance", "BTC/USDT")
START = 1_700_006_400_000
"""The start of a day (UTC)."""
MINUTE = 60_000
QUICK = StreamerSettings(candle_ms=0, settle_ms=0)


def trade(timestamp: int, price: float = 1.0, amount: float = 1.0) -> Trade:
    """A trade at a time after START, ms."""
    return Trade(id=None, timestamp=START + timestamp, side="buy", price=price, amount=amount)


def candle(timestamp: int, timeframe: str = "1m", **changes: Any) -> Candle:
    """An open candle of BTC/USDT, its prices and its volume 1 unless `changes` says otherwise."""
    usual: dict[str, Any] = {
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "closed": False,
        "complete": True,
        "trades": 1,
    }
    usual |= dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    return Candle(timestamp=timestamp, timeframe=timeframe, **usual | changes)


def facts(candle: Candle) -> tuple[int, float, float, float, float, float, int, bool]:
    """Open time after START in minutes, and what it is made of."""
    opened = (candle.timestamp - START) // MINUTE
    return opened, candle.open, candle.high, candle.low, candle.close, candle.volume, candle.trades, candle.complete


class TradeTape:
    """The one writer of the tape of trades."""

    def __init__(self, tape: SubjectWriter, feed: Feed) -> None:
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


@asynccontextmanager
async def trade_tape(bus: Bus, feed: Feed = TRADES) -> AsyncIterator[TradeTape]:
    """The tape of the market's trades, whose owner the test is within the block."""
    async with writing(bus, feed) as tape:
        yield TradeTape(tape, feed)


class CandleVenue(ScriptedVenue):
    """An exchange that tells the time, and pushes its own candles into `sinks` as the test says."""

    def __init__(
        self,
        rest: Any = None,
        *,
        exchange: str = "binance",
        at: int = 0,
        passed: int = 10**12,
        tells_time: bool = True,
    ) -> None:
        rest = rest or SimpleNamespace(has={"watchTrades": True})
        super().__init__(rest, exchange=exchange, clock=self._clock)
        self.at = at
        """The time there as the feed begins, after START, ms."""
        self.passed = passed
        """How much later it is there, ms, by the time that anything has happened."""
        self.tells_time = tells_time

    async def now(self) -> int | None:
        return START + self.at if self.tells_time else None

    def _clock(self) -> int | None:
        return START + self.at + self.passed if self.tells_time else None


def ranges(seen: Witness, timeframe: str = "1m") -> list[tuple[int, int, int]]:
    """Of the pages: since and until, after START, and the number of rows."""
    return [
        (page.since - START, page.until - START, len(page.rows)) for page in seen.pages if page.timeframe == timeframe
    ]


def witness(bus: Bus) -> AbstractAsyncContextManager[Witness]:
    """What is seen of the feed."""
    return feeds.witness(bus, FEED)


def running(
    bus: Bus,
    *timeframes: str,
    venue: ScriptedVenue | None = None,
    feed: Feed = FEED,
    settings: StreamerSettings = QUICK,
    **options: Any,
) -> AbstractAsyncContextManager[Running]:
    """The feed within the block, of these timeframes; `options` as of `feeds.running`."""
    demand = Demand(depth=20, cadence_ms=100, timeframes=frozenset(timeframes))
    venue = venue or CandleVenue(exchange=feed.exchange)
    return feeds.running(bus, candles.run, feed, venue=venue, settings=settings, demand=demand, **options)


class ScriptedFetcher(Changing):
    """Takes requests, and ends each job at once: complete, unless told to leave the first so many."""

    def __init__(self, bus: Bus, fails: int = 0) -> None:
        super().__init__()
        self.requests: list[FetchRequest] = []
        self.silent = False
        """Jobs are accepted, and end when the test says so."""
        self.refusals: list[TickwireError] = []
        """Errors that the next requests are answered with, one each."""
        self._bus = bus
        self._fails = fails

    async def fetch(self, request: FetchRequest, _call: Call) -> FetchAccepted:
        """The endpoint."""
        self.requests.append(request)
        self.changed()
        assert request.id is not None
        if self.refusals:
            raise self.refusals.pop(0)
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
        count = len(self.requests)
        with suppress(AssertionError):
            await self.until(lambda: len(self.requests) > count, seconds)

    async def requested(self, count: int) -> None:
        """Wait for so many requests."""
        await self.until(lambda: len(self.requests) >= count)


@asynccontextmanager
async def fetching(bus: Bus, fails: int = 0) -> AsyncIterator[ScriptedFetcher]:
    """A fetcher within the block."""
    fetcher = ScriptedFetcher(bus, fails)
    async with serve(bus, "fetcher", [Endpoint("fetcher.fetch", FetchRequest, fetcher.fetch)], instance="scripted"):
        yield fetcher
