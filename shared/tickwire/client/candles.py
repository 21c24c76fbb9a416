"""Candles: awaited they are a DataFrame, iterated they are history and then live candles, without a gap between."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tickwire.client import history, live
from tickwire.client.columns import candle_of, rows_of
from tickwire.client.history import Progress, Span
from tickwire.client.live import Start, Subscription
from tickwire.client.mailbox import Mailbox
from tickwire.client.stream import Stream, Streams
from tickwire.errors import TickwireError
from tickwire.model.feeds import Candle, Feed
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.venues.registry import grid_of

if TYPE_CHECKING:
    from pandas import DataFrame

log = logs.get(__name__)

WAITING = 16
"""Chunks of history, or live candles, that are queued for a slow consumer; further live ones wait in `Subscription`."""
CATCH_UP_S = 10.0
"""How long a candle that has just closed is requested: the fetcher counts it as closed a second after its end
(`fetcher.settle_ms`)."""
AGAIN_S = 0.25


@dataclass(frozen=True)
class CandleBatch:
    """Consecutive candles, and the ranges that are missing before or among them."""

    candles: Sequence[Candle] = ()
    missing: list[Range] = field(default_factory=list)


class Candles(Stream[CandleBatch, Candle]):
    """Candles of one key: `await` it for a DataFrame, or iterate it (`async for`) for each candle as it comes.

    Iterated, it first yields the closed candles from `since` on, fetched where they are missing, then the open candle
    as it changes, and each closed one once; without `since` only live ones. With `until` it ends with the last candle
    that opens before that. A live candle that was not observed completely is fetched instead. `missing` lists the
    ranges (ms) that are not available so far, and each is an IncompleteCandles warning; call `missing.clear()` when you
    iterate for weeks.
    """

    def __init__(
        self,
        streams: Streams,
        key: Key,
        since: int | None,
        until: int | None,
        *,
        fetch: bool,
        progress: Progress,
    ) -> None:
        super().__init__(streams, f"candle {key}", Mailbox(WAITING))
        self.key = key
        self._grid = grid_of(key.exchange, key.timeframe)
        self.missing: list[tuple[int, int]] = []
        self._bus = streams.bus
        self._since = since
        self._until = until
        self._fetch = fetch
        self._progress = progress
        self._live = Subscription(streams, Feed("candle", *key), live.candle, start=Start())

    def __repr__(self) -> str:
        return f"<candles {self.key}: `await` it for a DataFrame, `async for` continues live>"

    def __await__(self) -> Generator[Any, None, DataFrame]:
        return self._warned().__await__()

    async def _warned(self) -> DataFrame:
        return history.warned(await self.frame())

    async def frame(self) -> DataFrame:
        """The DataFrame, without a warning."""
        return await history.frame(self._bus, self.key, await self._span(self._since, self._until, self._progress))

    async def _span(self, since: int | None, until: int | None, progress: Progress) -> Span:
        """What is known of a range, after fetching unless `fetch` is False. Raises the error of the fetch."""
        if not self._fetch or since is None:
            return await history.known(self._bus, self.key, since, until, now_ms())
        found = (await history.fetched(self._bus, [self.key], since, until, progress))[self.key]
        if isinstance(found, TickwireError):
            raise found
        return found

    def _items_of(self, message: CandleBatch) -> Sequence[Candle]:
        if message.missing:
            self.missing += message.missing
            history.warn(self.key, message.missing, "see .missing")
        return message.candles

    async def _follow(self) -> None:
        since, until = self._since, self._until
        if since is not None and until is not None and until <= now_ms():
            self._started.set()
            await self._put(await self._span(since, until, self._progress))
            return
        # Subscribed first, so that no candle is lost between history and the live ones.
        async with self._live:
            self._started.set()
            reached = None
            if since is not None:
                span = await self._span(since, None, self._progress)
                await self._put(span)
                # When `since` is within the open candle, none has closed since, and the open one comes first.
                empty = span.since >= span.until
                reached = self._grid.open_of(since) if empty else span.until
            await self._present(reached)

    async def _present(self, reached: int | None) -> None:
        """Queue live candles from `reached` (ms) to `until`, and fetch those that closed unobserved in between."""
        end = self._until
        async for candle in self._live:
            if reached is not None and candle.timestamp < reached:
                continue
            over = end is not None and candle.timestamp >= end
            since = candle.timestamp if reached is None else reached
            # Fetch what closed in between, and a closed candle that was not observed completely.
            until = candle.timestamp
            if candle.closed and not candle.complete:
                until = self._grid.next_open(candle.timestamp)
            if end is not None:
                until = min(until, end)
            last = await self._caught_up(since, until) if until > since else None
            if over:
                return
            if last != candle.timestamp:
                await self._mailbox.put(CandleBatch([candle]))
            reached = candle.timestamp
            if candle.closed:
                reached = self._grid.next_open(candle.timestamp)
            if end is not None and reached >= end:
                return

    async def _caught_up(self, since: int, until: int) -> int | None:
        """Queue the candles of a range that has just ended, and what of it is missing; the last one's time (ms)."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CATCH_UP_S
        while True:
            error: TickwireError | None = None
            try:
                span = await self._span(since, until, progress=False)
            except TickwireError as problem:
                error = problem
            if (error is None and not span.missing) or not self._fetch or loop.time() > deadline:
                break
            await asyncio.sleep(AGAIN_S)
        if error is not None:
            log.warning(f"{self.key}: {error}")
            await self._mailbox.put(CandleBatch(missing=[Range(since, until)]))
            return None
        return await self._put(span)

    async def _put(self, span: Span) -> int | None:
        """Queue the candles of a span, and what of it is missing; the last one's time (ms)."""
        last = None
        if span.missing:
            await self._mailbox.put(CandleBatch(missing=span.missing))
        async for chunk in history.cached(self._bus, self.key, span):
            found = [candle_of(self.key, row) for row in rows_of(chunk)]
            if found:
                last = found[-1].timestamp
                await self._mailbox.put(CandleBatch(found))
        return last
