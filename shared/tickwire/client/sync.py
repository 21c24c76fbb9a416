"""The same client without a loop of one's own: for notebooks, scripts and the prompt."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tickwire.client.connection import Client, Names, Time, connect
from tickwire.client.history import Progress
from tickwire.client.live import Subscription
from tickwire.feeds import Book, Candle, Gap, Ticker, Trade
from tickwire.subjects import Key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pandas import DataFrame

T = TypeVar("T")


@contextmanager
def connect_sync(
    url: str | None = None, *, config: Path | str | None = None, name: str = "client"
) -> Iterator[SyncClient]:
    """As `connect`, for `with`: the client lives on a loop in a thread of its own."""
    with (
        start_blocking_portal(name="tickwire") as portal,
        portal.wrap_async_context_manager(connect(url, config=config, name=name)) as client,
    ):
        yield SyncClient(portal, client)


class SyncClient:
    """`Client`, blocking: its DataFrames are returned, its feeds are plain iterators. Ctrl-C ends any of them."""

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        self._portal = portal
        self._client = client

    def candles(
        self,
        exchange: str,
        symbol: str,
        timeframe: str,
        since: Time | None = None,
        until: Time | None = None,
        *,
        fetch: bool = True,
        progress: Progress = None,
    ) -> DataFrame:
        """See `Client.candles`."""

        async def ask() -> DataFrame:
            return await self._client.candles(exchange, symbol, timeframe, since, until, fetch=fetch, progress=progress)

        return _run(self._portal, ask)

    def candles_of(
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
        """See `Client.candles_of`."""

        async def ask() -> dict[Key, DataFrame]:
            return await self._client.candles_of(
                exchanges, symbols, timeframes, since, until, fetch=fetch, progress=progress
            )

        return _run(self._portal, ask)

    def live_candles(
        self, exchange: str, symbol: str, timeframe: str, since: Time | None = None
    ) -> SyncSubscription[Candle]:
        """What iterating `Client.candles` does: history from `since` on, then live candles."""
        return self._subscription(lambda: self._client.candles(exchange, symbol, timeframe, since, progress=False))

    @overload
    def trades(
        self,
        exchange: str,
        symbol: str,
        *,
        since: Time | None = None,
        after: int | None = None,
        gaps: Literal[False] = False,
    ) -> SyncSubscription[Trade]: ...

    @overload
    def trades(
        self,
        exchange: str,
        symbol: str,
        *,
        since: Time | None = None,
        after: int | None = None,
        gaps: Literal[True],
    ) -> SyncSubscription[Trade | Gap]: ...

    def trades(
        self,
        exchange: str,
        symbol: str,
        *,
        since: Time | None = None,
        after: int | None = None,
        gaps: bool = False,
    ) -> SyncSubscription[Any]:
        """See `Client.trades`."""
        if gaps:
            return self._subscription(
                lambda: self._client.trades(exchange, symbol, since=since, after=after, gaps=True)
            )
        return self._subscription(lambda: self._client.trades(exchange, symbol, since=since, after=after))

    def books(
        self, exchange: str, symbol: str, *, depth: int | None = None, cadence_ms: int | None = None
    ) -> SyncSubscription[Book]:
        """See `Client.books`."""
        return self._subscription(lambda: self._client.books(exchange, symbol, depth=depth, cadence_ms=cadence_ms))

    def tickers(self, exchange: str, symbol: str) -> SyncSubscription[Ticker]:
        """See `Client.tickers`."""
        return self._subscription(lambda: self._client.tickers(exchange, symbol))

    def replay(
        self, exchange: str, symbol: str, since: Time, until: Time | None = None, *, speed: float = float("inf")
    ) -> SyncSubscription[Trade | Gap]:
        """See `Client.replay`."""
        return self._subscription(lambda: self._client.replay(exchange, symbol, since, until, speed=speed))

    def _subscription(self, make: Callable[[], AsyncIterator[T] | Any]) -> SyncSubscription[T]:
        async def begin() -> Any:
            return make()

        return SyncSubscription(self._portal, _run(self._portal, begin))


class SyncSubscription(Generic[T]):
    """A feed as a plain iterator. The end of its `with` block, or of the client's, releases it, and so does `close`."""

    def __init__(self, portal: BlockingPortal, source: Any) -> None:
        self.source = source
        """The subscription underneath: `.gaps`, `.missed`, `.sequence`, `.missing`."""
        self._portal = portal
        self._each = None if isinstance(source, Subscription) else aiter(source)
        self._waiting: deque[T] = deque()

    def __enter__(self) -> SyncSubscription[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if not self._waiting:
            # All that came meanwhile: crossing threads for each trade would cost more than the trade.
            self._waiting += _run(self._portal, self._more)
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft()

    async def _more(self) -> list[T]:
        if self._each is None:
            more: list[T] = await self.source.take()
            return more
        async for item in self._each:
            return [item]
        return []

    def close(self) -> None:
        """Release the feed."""
        _run(self._portal, self._released)

    async def _released(self) -> None:
        if self._each is None:
            self.source.release()
        else:
            await self._each.aclose()


def _run(portal: BlockingPortal, work: Callable[[], Awaitable[T]]) -> T:
    """Its result; whatever interrupts the wait, Ctrl-C above all, cancels it."""
    future = portal.start_task_soon(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
