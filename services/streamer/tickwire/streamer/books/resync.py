"""Resynchronises a book: fetches a snapshot whenever one is wanted, and applies the deltas received since."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ccxt.base import errors

from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.process.backoff import Backoff
from tickwire.redaction import described
from tickwire.streamer.books import snapshots
from tickwire.streamer.books.orderbook import OrderBook
from tickwire.streamer.books.out_of_step import OutOfStep
from tickwire.streamer.books.present import PresentBook
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.throttle import Rejections
from tickwire.venues.dialect import Diff
from tickwire.venues.profile import BookFacts

log = logs.get(__name__)

BUFFERED = 5_000
"""Deltas buffered while a snapshot is being fetched: those of eight minutes. Any snapshot has older ones."""
BACKOFF_S = 0.2
MAX_BACKOFF_S = 10.0
REFUSED_S = 30.0
"""Wait before the next request if the exchange refused a snapshot for a reason that may last."""
CALM_S = 10.0
"""A book that was right for this long ends the series of failures before it."""


class Resync(Protocol):
    """How a book gets right: by snapshots from REST, or by a new subscription (`socket_resync.py`)."""

    @property
    def levels(self) -> int:
        """Levels of a side that a new book has, by the present demand."""

    def connected(self) -> None:
        """The book is subscribed."""

    def request(self, reason: str = "") -> None:
        """A whole book is wanted; `reason` says what is wrong with the present one."""

    def cancel(self) -> None:
        """None is wanted any more."""

    def arrived(self) -> None:
        """The venue sent a whole book."""

    def buffer(self, diff: Diff) -> None:
        """Keep a delta that may follow the snapshot that is wanted."""

    def drop_buffer(self) -> None:
        """The deltas so far do not lead to the present book."""

    async def run(self) -> None:
        """Work until cancelled."""


class RestResync:
    """A `Resync` by REST. `done` gets each new book, and the levels that it was requested with."""

    def __init__(
        self,
        context: FeedContext,
        present: PresentBook,
        rejections: Rejections,
        facts: BookFacts,
        done: Callable[[OrderBook, int], None],
    ) -> None:
        self._context = context
        self._present = present
        self._rejections = rejections
        self._facts = facts
        self._done = done
        self._wanted = asyncio.Event()
        self._buffer: deque[Diff] = deque(maxlen=BUFFERED)
        self._connection = 0
        """Number of connections so far: a snapshot requested before the last one is dropped."""
        self._failing = Episode(log, "no snapshot yet", exchange=context.feed.exchange, symbol=context.feed.symbol)
        self._backoff = Backoff(BACKOFF_S, MAX_BACKOFF_S)
        self._right_since = 0.0

    @property
    def levels(self) -> int:
        """Levels of a side that a snapshot is requested with, by the present demand."""
        demand = self._context.demand
        return snapshots.levels_for(demand.depth, whole=demand.deltas, offered=self._facts.request_levels)

    def connected(self) -> None:
        """Count a connection: failures on the one before do not delay its first snapshot."""
        self._connection += 1

    def request(self, reason: str = "") -> None:
        """Fetch a snapshot as soon as possible."""
        self._wanted.set()

    def cancel(self) -> None:
        """No snapshot is needed any more."""
        self._wanted.clear()

    def arrived(self) -> None:
        """The venue sent a whole book by itself: none is needed any more."""
        self.cancel()

    def buffer(self, diff: Diff) -> None:
        """Keep a delta for the snapshot that is wanted; drops it if none is."""
        if self._wanted.is_set():
            self._buffer.append(diff)

    def drop_buffer(self) -> None:
        """The deltas so far do not lead to the present book."""
        self._buffer.clear()

    async def run(self) -> None:
        """Fetch snapshots as they are wanted, until cancelled."""
        connection = 0
        while True:
            await self._wanted.wait()
            is_calm = self._right_since and time.monotonic() - self._right_since > CALM_S
            if connection != self._connection or is_calm:
                self._backoff.worked()
            if wait_s := self._backoff.next():
                await asyncio.sleep(wait_s)
                if not self._wanted.is_set():
                    continue
            connection, self._right_since = self._connection, 0.0
            await self._attempt(connection)

    async def _attempt(self, connection: int) -> None:
        try:
            found = await self._fetch(connection)
        except (errors.OperationFailed, OutOfStep) as error:
            if isinstance(error, OutOfStep):
                log.debug("no snapshot yet", **self._context.feed.fields, error=repr(error))
            else:
                self._failing.occurs(error=described(error))
            self._rejections.add(f"no snapshot of the book yet: {described(error)}")
        except errors.BaseError as error:
            self._rejections.add(f"no snapshot of the book, next request in {REFUSED_S:g} s: {described(error)}")
            await asyncio.sleep(REFUSED_S)
        else:
            if found is not None:
                self._succeeded(*found)

    async def _fetch(self, connection: int) -> tuple[OrderBook, int] | None:
        """A snapshot with the buffered deltas applied, and its levels; None if none is wanted any more.

        Raises ccxt's errors, and OutOfStep if the deltas do not continue it.
        """
        async with self._context.venue.snapshots:
            if not self._is_wanted(connection):
                return None
            levels = self.levels
            book = await snapshots.fetch(self._context.venue, self._context.feed.symbol, levels, self._facts)
        if not self._is_wanted(connection):
            return None
        for diff in self._buffer:
            book.apply(diff)
        kept = self._present.kept
        if kept is not None and book.sequence < kept.sequence:
            raise OutOfStep(f"the snapshot of update {book.sequence} is older than the book")
        return book, levels

    def _is_wanted(self, connection: int) -> bool:
        return connection == self._connection and self._wanted.is_set()

    def _succeeded(self, book: OrderBook, levels: int) -> None:
        self._failing.ends()
        self._wanted.clear()
        self._buffer.clear()
        self._right_since = time.monotonic()
        self._done(book, levels)
