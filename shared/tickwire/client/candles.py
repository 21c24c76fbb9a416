"""Candles, to be awaited for a DataFrame or iterated for history and then live ones, without a seam."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import TYPE_CHECKING, Any

from tickwire import timeframes
from tickwire.bus import Bus
from tickwire.client import history, live
from tickwire.client.history import Progress, Span
from tickwire.client.live import Start, Subscription, Subscriptions
from tickwire.columns import chunks, rows_of
from tickwire.errors import TickwireError
from tickwire.feeds import Candle, Feed
from tickwire.messages import Row
from tickwire.ranges import Range
from tickwire.subjects import Key

if TYPE_CHECKING:
    from pandas import DataFrame


class Candles:
    """Candles of one key: `await` it for a DataFrame, or iterate it (`async for`) for each as it comes.

    Iterated, it yields first the closed candles from `since` on, fetched where they are missing, then the open one as
    it changes, and each closed one once; without `since` only the live ones. A live candle that was not wholly
    observed is fetched instead. `missing` names the ranges (ms) that could not be had by then.
    """

    def __init__(
        self,
        bus: Bus,
        subscriptions: Subscriptions,
        key: Key,
        since: int | None,
        until: int | None,
        *,
        fetch: bool,
        progress: Progress,
    ) -> None:
        self.key = key
        self.missing: list[tuple[int, int]] = []
        self._bus = bus
        self._since = since
        self._until = until
        self._fetch = fetch
        self._progress = progress
        self._live = Subscription(subscriptions, Feed("candle", *key), live.candle, start=Start())

    def __await__(self) -> Generator[Any, None, DataFrame]:
        return self._frame().__await__()

    async def _frame(self) -> DataFrame:
        span = await self._span(self._since, self._until, self._progress)
        return await history.frame(self._bus, self.key, span)

    async def _span(self, since: int | None, until: int | None, progress: Progress) -> Span:
        """What is known of a range by now, after fetching where that is wanted. Raises what failed."""
        if not self._fetch or since is None:
            return await history.known(self._bus, self.key, since, until)
        found = (await history.fetched(self._bus, [self.key], since, until, progress))[self.key]
        if isinstance(found, TickwireError):
            raise found
        return found

    async def __aenter__(self) -> Candles:
        await self._live.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._live.__aexit__(*error)

    def __aiter__(self) -> AsyncIterator[Candle]:
        return self._each()

    async def _each(self) -> AsyncGenerator[Candle, None]:
        # Followed from the start, so that nothing happens between history and it.
        self._live.open()
        reached: int | None = None
        try:
            if self._since is not None:
                span = await self._span(self._since, None, self._progress)
                self.missing += span.missing
                async for row in self._rows(span):
                    yield self._of(row)
                reached = span.until
            while batch := await self._live.take():
                for candle in batch:
                    if reached is not None and candle.timestamp < reached:
                        continue
                    ending = timeframes.next_open(self.key.timeframe, candle.timestamp)
                    since = candle.timestamp if reached is None else reached
                    # What closed in between, and what was closed without having been seen whole.
                    if candle.timestamp > since or (candle.closed and not candle.complete):
                        until = ending if candle.closed and not candle.complete else candle.timestamp
                        found = False
                        async for row in self._caught_up(since, until):
                            found = row[0] == candle.timestamp
                            yield self._of(row)
                        reached = candle.timestamp
                        if found:
                            reached = ending
                            continue
                    yield candle
                    reached = ending if candle.closed else candle.timestamp
        finally:
            self._live.release()

    async def _caught_up(self, since: int, until: int) -> AsyncGenerator[Row, None]:
        """The rows of a range that has just gone by; what cannot be had is kept in `missing`."""
        try:
            span = await self._span(since, until, progress=False)
        except TickwireError as error:
            live.log.warning(f"{self.key}: {error}")
            span = Span(since, until, [Range(since, until)])
        self.missing += span.missing
        async for row in self._rows(span):
            yield row

    async def _rows(self, span: Span) -> AsyncGenerator[Row, None]:
        async for chunk in chunks(self._bus, self.key, span.since, span.until, None):
            for row in rows_of(chunk):
                yield row

    def _of(self, row: Row) -> Candle:
        exchange, symbol, timeframe = self.key
        timestamp, open_, high, low, close, volume = row
        return Candle(
            exchange=exchange,
            symbol=symbol,
            timeframe=timeframe,
            timestamp=timestamp,
            open=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            trades=0,
            closed=True,
            complete=True,
        )
