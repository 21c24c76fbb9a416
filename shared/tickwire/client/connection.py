"""The asynchronous client: a program's connection to tickwire, and its methods."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from tickwire.archive_files.layout import ArchivedFeed
from tickwire.bus.connection import Bus
from tickwire.client import archived_frames, history
from tickwire.client.archived_frames import Form
from tickwire.client.arguments import Names, Time, key_of, keys_of, moment_of, range_of, span_of
from tickwire.client.book_at import book_at
from tickwire.client.candles import Candles
from tickwire.client.following import FollowsFeeds
from tickwire.client.history import Progress
from tickwire.client.operations import Operates
from tickwire.client.past_trades import FetchesTrades
from tickwire.client.replaying import Replays
from tickwire.client.stream import Streams
from tickwire.client.together import CandlesTogether, keys_together
from tickwire.errors import BadRequest
from tickwire.model.feeds import Book, feed
from tickwire.model.feeds.layout import ArchivedKind as Kind
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms

if TYPE_CHECKING:
    from pandas import DataFrame


class Client(FetchesTrades, FollowsFeeds, Operates, Replays):
    """The methods of a program's connection. Made by `connect`; after its block every method raises Released."""

    def __init__(self, bus: Bus, streams: Streams) -> None:
        self.bus = bus
        self._streams = streams
        self._closing = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "closed" if self._streams.ended else "connected to"
        return f"<tickwire client, {state} {self.bus.url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Release every feed and disconnect a client that was made by `await connect()`; a block does so at its end.

        Raises the error that has ended the connection meanwhile, such as Forbidden.
        """
        self._closing.set()
        if self._running is not None:
            await self._running

    def run(self, running: asyncio.Task[None]) -> asyncio.Event:
        """Keep the task that holds the connection; the event that ends it."""
        self._running = running
        return self._closing

    @overload
    def candles(
        self,
        exchange: str,
        symbol: str,
        timeframe: str,
        since: Time | None = None,
        until: Time | None = None,
        *,
        last: int | None = None,
        fetch: bool = True,
        progress: Progress = None,
    ) -> Candles: ...

    @overload
    def candles(
        self,
        keys: Sequence[tuple[str, str, str]],
        /,
        *,
        since: Time | None = None,
        until: Time | None = None,
        fetch: bool = True,
        progress: Progress = None,
    ) -> CandlesTogether: ...

    def candles(self, *keys: Any, **options: Any) -> Candles | CandlesTogether:
        """Closed candles that open in `[since, until)`: `await` it for a DataFrame, `async for` continues live.

        Missing candles are fetched first, with bars on a terminal and in notebooks (`progress=False`: none; a callable
        gets each `Job` message); with `fetch=False`, or without `since`, only the cache is read. Without `until` the
        range ends with the last closed candle; without `since` it begins with the first cached one. Instead of `since`,
        `last` gives a number of candles before that end, counted by their opening times.

        The DataFrame has a DatetimeIndex `timestamp` (UTC) and the float columns open, high, low, close, volume. Its
        `attrs` are exchange, symbol, timeframe, since, until (ms), volume_unit, `complete`, and `missing`: ranges
        (since, until) in ms that are not known; each is an IncompleteCandles warning. It is empty when nothing of the
        range is known, or no candle has closed in it.

        `candles([("binance", "BTC/USDT", "1m"), ("okx", "BTC/USDT", "1m")], since=...)`: those of several keys; `await`
        it for a dict of DataFrames, as `candles_of` returns, or `async for` over the candles of all as they come.

        Raises UnknownExchange, UnknownSymbol, UnsupportedTimeframe, ExchangeFailed, NoSuchService, BadRequest;
        without `since`, NotCached when nothing is cached.
        """
        self._streams.check()
        several = bool(keys) and not isinstance(keys[0], str)
        return self._candles_of_several(*keys, **options) if several else self._candles_of_one(*keys, **options)

    def _candles_of_several(
        self,
        keys: Sequence[tuple[str, str, str]],
        since: Time | None = None,
        until: Time | None = None,
        *,
        fetch: bool = True,
        progress: Progress = None,
    ) -> CandlesTogether:
        found = keys_together(keys)
        of = {key: self._candles_of_one(*key, since, until, fetch=fetch, progress=False) for key in found}
        ask = partial(self.frames_of, found, since, until, fetch=fetch, progress=progress)
        return CandlesTogether(self._streams, of, ask)

    def _candles_of_one(
        self,
        exchange: str,
        symbol: str,
        timeframe: str,
        since: Time | None = None,
        until: Time | None = None,
        *,
        last: int | None = None,
        fetch: bool = True,
        progress: Progress = None,
    ) -> Candles:
        key = key_of(exchange, symbol, timeframe)
        start, end = span_of(since, until)
        if last is not None:
            if start is not None or last < 1:
                raise BadRequest(f"last={last}" + (" and since" if start else " is less than 1"), "give one of both")
            start = history.begin_of_last(key, last, end, now_ms())
        return Candles(self._streams, key, start, end, fetch=fetch, progress=progress)

    async def candles_of(
        self,
        exchanges: Names,
        symbols: Names,
        timeframes: Names,
        since: Time | None = None,
        until: Time | None = None,
        *,
        fetch: bool = True,
        progress: Progress = None,
    ) -> dict[Key, DataFrame]:
        """A DataFrame, as of `candles`, for every combination; missing candles are fetched concurrently.

        Raises CandlesFailed when some keys failed: it has the frames of the others.
        """
        keys = keys_of(exchanges, symbols, timeframes)
        found = await self.frames_of(keys, since, until, fetch=fetch, progress=progress)
        return history.all_or_failed(found)

    async def frames_of(
        self, keys: Sequence[Key], since: Time | None, until: Time | None, *, fetch: bool, progress: Progress
    ) -> history.Frames:
        """The DataFrames and errors of several keys, without a warning."""
        self._streams.check()
        start, end = span_of(since, until)
        if fetch and start is not None:
            found = await history.fetched(self.bus, keys, start, end, progress)
        else:
            found = await history.known_of(self.bus, keys, start, end, now_ms())
        return await history.frames(self.bus, found)

    async def book_at(self, exchange: str, symbol: str, time: Time, *, depth: int | None = None) -> Book:
        """The order book after all changes up to a time, from the archive and the tape: `depth` levels a side, or all.

        Its `timestamp` and `sequence` are those of the last change in it. Books are archived while their deltas are
        subscribed to. Raises BookUnknown, which says why: the book was not followed then, or that is in a gap, or no
        later change has come yet that would tell; StorageError, BadRequest.
        """
        self._streams.check()
        moment = moment_of(time, now_ms(), "time")
        assert moment is not None
        if depth is not None and depth < 1:
            raise BadRequest(f"depth {depth} is less than 1", "leave it out for all levels")
        of = feed("book", exchange, symbol)
        return await book_at(self.bus, ArchivedFeed("book_delta", of.exchange, of.symbol), moment, depth)

    @overload
    async def trades_frame(
        self, exchange: str, symbol: str, since: Time, until: Time | None = None, *, form: Literal["pandas"] = "pandas"
    ) -> DataFrame: ...

    @overload
    async def trades_frame(
        self, exchange: str, symbol: str, since: Time, until: Time | None = None, *, form: Form
    ) -> Any: ...

    async def trades_frame(
        self, exchange: str, symbol: str, since: Time, until: Time | None = None, *, form: Form = "pandas"
    ) -> Any:
        """Archived trades in `[since, until)`; without `until` to now.

        The DataFrame has a DatetimeIndex `timestamp` (UTC) and the columns of the archive's files (docs/archive.md):
        received, id, side, price, amount, source, sequence. Its `attrs` are exchange, symbol, since, until (ms),
        `complete`, and `missing`: ranges (since, until) in ms that were not archived, each with its reason in
        `reasons`; on contract markets also multiplier and inverse. The newest minutes are not archived yet. With
        `form="arrow"` it is a pyarrow.Table, whose metadata `tickwire` has the same as JSON; with `form="polars"` a
        polars.DataFrame, which has no place for them (the warning that something is missing is issued in each case).

        Raises NotArchived, NoSuchService, StorageError, BadRequest, ConfigError where the package is not installed.
        """
        found = await self.archived(exchange, symbol, since, until)
        made = await archived_frames.made(self.bus, found, form)
        found.warn()
        return made

    @overload
    async def bars(self, exchange: str, symbol: str, by: str, since: Time, until: Time | None = None) -> DataFrame: ...

    @overload
    async def bars(
        self, exchange: str, symbol: str, by: str, since: Time, until: Time | None = None, *, form: Form
    ) -> Any: ...

    async def bars(
        self, exchange: str, symbol: str, by: str, since: Time, until: Time | None = None, *, form: Form = "pandas"
    ) -> Any:
        """Bars of archived trades in `[since, until)`: `by` is a timeframe, `volume:100`, `ticks:1000` or `quote:1e6`.

        A bar of volume (base currency), ticks or quote amount ends with the trade that fills it. The DataFrame has a
        DatetimeIndex `timestamp` (UTC), the open time or the time of the first trade, and the columns open, high, low,
        close, volume, quote_volume, trades, last (time of the last trade) and complete: false where trades may be
        missing, for an interval that is not wholly in the range, and for a last bar that is not full. `attrs` and
        `form` as of `trades_frame`.

        Raises NotArchived, NoSuchService, StorageError, BadRequest, UnsupportedTimeframe.
        """
        found = await self.archived(exchange, symbol, since, until)
        made = await archived_frames.made(self.bus, found, form, by)
        found.warn()
        return made

    async def archive_frame(
        self, kind: Kind, exchange: str, symbol: str, since: Time, until: Time | None = None, *, form: Form = "pandas"
    ) -> Any:
        """Rows of any kind that is archived, `trade`, `book_delta`, `candle` or `ticker`, in `[since, until)`.

        The columns are those of the archive's files (docs/archive.md); candles are of all timeframes, and each is there
        once. `attrs`, `form` and errors as of `trades_frame`; a range of `missing` of candles names its timeframe in
        `reasons`.
        """
        found = await self.archived(exchange, symbol, since, until, kind)
        made = await archived_frames.made(self.bus, found, form)
        found.warn()
        return made

    async def archived(
        self, exchange: str, symbol: str, since: Time, until: Time | None, kind: Kind = "trade"
    ) -> archived_frames.Archived:
        """What of a range is missing in the archive, without a warning. Raises as `trades_frame`."""
        self._streams.check()
        start, end = range_of(since, until)
        span = Range(start, now_ms() if end is None else end)
        # Checks the names.
        market = feed("trade", exchange, symbol)
        return await archived_frames.known(self.bus, ArchivedFeed(kind, market.exchange, market.symbol), span)
