"""The blocking client, for notebooks, scripts and the prompt: the asynchronous one on a loop in a thread."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

from tickwire.client import archived_frames, history
from tickwire.client.archived_frames import Archived, Form
from tickwire.client.arguments import Names, Time, keys_of
from tickwire.client.connecting import connect
from tickwire.client.connection import Client
from tickwire.client.history import Progress
from tickwire.client.items import Batch
from tickwire.client.stream import Forked, Process, Released, Stream
from tickwire.client.sync_following import SyncFollowsFeeds
from tickwire.client.together import CandlesTogether
from tickwire.model.feeds import Book, Candle
from tickwire.model.feeds.layout import ArchivedKind as Kind
from tickwire.model.messages import ListedMarket
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal
    from pandas import DataFrame

T = TypeVar("T")


def connect_sync(
    url: str | None = None, *, config: Path | str | None = None, context: str | None = None, name: str = "client"
) -> SyncClient:
    """As `connect`, blocking: the client runs on a loop in a thread of its own.

    It lasts until the end of its `with` block, `close()`, or the end of the program.
    """
    # Imported late: `tickwire status` uses the client in images of services, which lack the package.
    from anyio.from_thread import start_blocking_portal

    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal(name="tickwire"))
        connecting = connect(url, config=config, context=context, name=name)
        client = stack.enter_context(portal.wrap_async_context_manager(connecting))
        return SyncClient(Portal(portal), client, stack.pop_all())


class Portal:
    """Runs work on the loop in its thread, in the process that has the thread."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._process = Process()

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`; an interruption of the wait, such as Ctrl-C, cancels it. Raises Released and Forked."""
        self._process.check()
        try:
            future = self._portal.start_task_soon(work)
        except RuntimeError as error:
            raise Released("the client was closed", "connect again") from error
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self, connection: ExitStack) -> None:
        """Close the connection; a forked process leaves it to its parent, which has the thread."""
        if self._process.is_this:
            connection.close()
        else:
            # Dropping the last reference ends the portal, which would wait for a thread that does not exist here.
            self._portal.call = _stopped  # type: ignore[method-assign, assignment]

    def later(self, loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
        """Call `work` on the loop soon; does nothing when the loop has ended."""
        # Called by the garbage collector, which must not wait; the client may have been closed before.
        if self._process.is_this:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(work)


def _stopped(*_: object) -> NoReturn:
    raise RuntimeError("the portal is of another process")


class SyncClient(SyncFollowsFeeds):
    """`Client`, blocking: its DataFrames are returned, its feeds are plain iterators. Ctrl-C ends any of them."""

    def __init__(self, portal: Portal, client: Client, connection: ExitStack) -> None:
        self._portal = portal
        self._client = client
        # Also at the end of the program, while its threads still run.
        self._closing = weakref.finalize(self, portal.close, connection)

    def __repr__(self) -> str:
        return repr(self._client).replace("tickwire client", "tickwire client without async")

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release every feed and disconnect; later calls raise Released."""
        self._closing()

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
    ) -> DataFrame: ...

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
    ) -> dict[Key, DataFrame]: ...

    def candles(self, *keys: Any, **options: Any) -> Any:
        """See `Client.candles`."""

        async def ask() -> Any:
            wanted = self._client.candles(*keys, **options)
            return await (wanted.frames() if isinstance(wanted, CandlesTogether) else wanted.frame())

        found = self._portal.run(ask)
        # In the caller's thread: the warning names the caller's line.
        return history.all_or_failed(found) if isinstance(found, history.Frames) else history.warned(found)

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

        async def ask() -> history.Frames:
            return await self._client.frames_of(
                keys_of(exchanges, symbols, timeframes), since, until, fetch=fetch, progress=progress
            )

        return history.all_or_failed(self._portal.run(ask))

    @overload
    def live_candles(
        self, exchange: str, symbol: str, timeframe: str, since: Time | None = None, until: Time | None = None
    ) -> SyncSubscription[Candle]: ...

    @overload
    def live_candles(
        self, keys: Sequence[tuple[str, str, str]], /, *, since: Time | None = None, until: Time | None = None
    ) -> SyncSubscription[Candle]: ...

    def live_candles(self, *keys: Any, **options: Any) -> SyncSubscription[Candle]:
        """As iterating `Client.candles`: history from `since` on, then live candles, to `until`."""
        return self._subscription(lambda: self._client.candles(*keys, **options, progress=False))

    def fetch_trades(
        self, exchange: str, symbol: str, since: Time, until: Time | None = None, *, progress: Progress = None
    ) -> list[Range]:
        """See `Client.fetch_trades`."""
        return self._portal.run(lambda: self._client.fetch_trades(exchange, symbol, since, until, progress=progress))

    def markets(self, exchange: str, search: str = "") -> list[ListedMarket]:
        """See `Client.markets`."""
        return self._portal.run(lambda: self._client.markets(exchange, search))

    def book_at(self, exchange: str, symbol: str, time: Time, *, depth: int | None = None) -> Book:
        """See `Client.book_at`."""
        return self._portal.run(lambda: self._client.book_at(exchange, symbol, time, depth=depth))

    def trades_frame(
        self, exchange: str, symbol: str, since: Time, until: Time | None = None, *, form: Form = "pandas"
    ) -> Any:
        """See `Client.trades_frame`."""
        return self._frame(self._client.archived(exchange, symbol, since, until), form)

    def archive_frame(
        self, kind: Kind, exchange: str, symbol: str, since: Time, until: Time | None = None, *, form: Form = "pandas"
    ) -> Any:
        """See `Client.archive_frame`."""
        return self._frame(self._client.archived(exchange, symbol, since, until, kind), form)

    def bars(
        self, exchange: str, symbol: str, by: str, since: Time, until: Time | None = None, *, form: Form = "pandas"
    ) -> Any:
        """See `Client.bars`."""
        return self._frame(self._client.archived(exchange, symbol, since, until), form, by)

    def _frame(self, known: Coroutine[Any, Any, Archived], form: Form, by: str | None = None) -> Any:
        async def ask() -> tuple[Any, Archived]:
            found = await known
            return await archived_frames.made(self._client.bus, found, form, by), found

        frame, found = self._portal.run(ask)
        # In the caller's thread: the warning names the caller's line.
        found.warn()
        return frame

    def _subscription(self, make: Callable[[], Any]) -> SyncSubscription[T]:
        async def begin() -> tuple[asyncio.AbstractEventLoop, Any]:
            return asyncio.get_running_loop(), make()

        return SyncSubscription(self._portal, *self._portal.run(begin))


class SyncSubscription(Generic[T]):
    """A feed as a plain iterator. It can be iterated once; within `with`, several times.

    The end of a `for` loop over it, of its `with` block, or of the client releases it, and so does `close`.
    """

    def __init__(self, portal: Portal, loop: asyncio.AbstractEventLoop, source: Any) -> None:
        self.source = source
        """The stream underneath: `.gaps`, `.missed`, `.missing`."""
        self.sequence = 0
        """See `Subscription.sequence`."""
        self._portal = portal
        self._loop = loop
        self._waiting: deque[tuple[deque[T], int]] = deque()
        self._entered = False
        self._closed = False

    def __repr__(self) -> str:
        return repr(self.source).replace("`async for`", "`for`")

    def __enter__(self) -> SyncSubscription[T]:
        self._check()
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        self._check()
        return self._each()

    def _each(self) -> Iterator[T]:
        try:
            while self._filled():
                yield self._next()
        finally:
            if not self._entered:
                self._closed = True
                self._portal.later(self._loop, self._release)

    def __next__(self) -> T:
        if self._closed or not self._filled():
            raise StopIteration
        return self._next()

    def _filled(self) -> bool:
        """Whether there is a next item, after waiting for it."""
        if not self._waiting:
            # All that arrived meanwhile: one switch of threads for each trade would cost more than the trade.
            self._waiting += self._portal.run(self._more)
        return bool(self._waiting)

    def _next(self) -> T:
        items, sequence = self._waiting[0]
        item = items.popleft()
        if not items:
            self._waiting.popleft()
            self.sequence = sequence
        return item

    async def _more(self) -> list[tuple[deque[T], int]]:
        if isinstance(self.source, Stream):
            return [(deque(items), sequence) for items, sequence in await self.source.by_message() if items]
        async for items in self.source:
            return [(deque(items), 0)]
        return []

    def take(self) -> Batch[T]:
        """All items since the last call, at least one; empty when the feed was released. `.frame()` is a DataFrame."""
        found: Batch[T] = Batch()
        if not self._closed and self._filled():
            while self._waiting:
                items, self.sequence = self._waiting.popleft()
                found += items
        return found

    def close(self) -> None:
        """Release the feed."""
        self._closed = True
        with suppress(Released, Forked):
            # Feeds end with their client; feeds of a parent process belong to the parent.
            self._portal.run(self.source.aclose)

    def _check(self) -> None:
        if self._closed:
            raise Released("the feed was released", "ask the client for it again, or use `with`")

    def _release(self) -> None:
        if isinstance(self.source, Stream):
            self.source.release()
