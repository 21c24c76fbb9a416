"""Order books: kept here from changes where the exchange sends those, by ccxt elsewhere.

| subject | direction | what |
|---|---|---|
| `tape.book.<exchange>.<token>` | publishes | `Book`, at most every `cadence_ms`; public as `md.book.…` |
| `tape.book_delta.<exchange>.<token>` | publishes | `BookDeltas`, for those who ask; public as `md.book_delta.…` |
| `tape.status.book.<exchange>.<token>` | publishes | `Status`, by `FeedStatus`; public as `md.status.book.…` |

A book that may be wrong is `resyncing` at once, without levels, until it is right again. What was said last is repeated
though nothing changes, because stream BOOKS keeps it no longer than `BOOK_VALID_S`: a dead owner's book is not found.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from ccxt.base import errors
from msgspec import Struct

from tickwire.bus import streams
from tickwire.model import messages, numbers
from tickwire.model.feeds import BOOK_VALID_S, Book, Level
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff
from tickwire.redaction import described
from tickwire.streamer.books import snapshots
from tickwire.streamer.books.deltas import open_deltas
from tickwire.streamer.books.orderbook import OrderBook, OutOfStep
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.control.feed_venue import BookView
from tickwire.streamer.throttle import Rejections, Throttle
from tickwire.tape.writer import TapeWriter, open_writer
from tickwire.venues.dialect import Diff

log = logs.get(__name__)

REPEAT_S = BOOK_VALID_S / 3
"""How often what was said last is said again, though nothing changes."""
BUFFERED = 5_000
"""Changes kept while a snapshot is on its way: those of eight minutes. Older ones are in any snapshot."""
BACKOFF_S = 0.2
MAX_BACKOFF_S = 10.0
REFUSED_S = 30.0
"""Wait before a snapshot is asked for again that the exchange refused for a reason that may last."""
CALM_S = 10.0
"""A book that was right for so long ends the series of failures before it."""
WRONG_S = 5.0
"""A book of ccxt's that is impossible for so long is subscribed anew."""


async def run(context: FeedContext) -> None:
    """Keep and publish the book of `context.feed` until `context.stop`; see FeedContext for what is raised."""
    tape, _ = await open_writer(context.bus, streams.BOOKS, context.feed.tape, context.confirm)
    body = BookFeed(context, tape)
    await tape.append(messages.encode(body.nothing()))
    context.status.report("starting")
    await body.run()
    context.status.state = "stopped"
    context.status.report("stopped")


class _View(Struct, frozen=True):
    """What a BookView said when it was taken."""

    timestamp: int | None
    nonce: int | None
    bids: list[Level]
    asks: list[Level]


class BookFeed:
    """The book and whoever works on it: the venue puts changes in (`FeedSink`), the publisher takes it out."""

    def __init__(self, context: FeedContext, tape: TapeWriter) -> None:
        self._context = context
        self._status = context.status
        self._tape = tape
        self._throttle = Throttle()
        self._complaints = Rejections(context.status)
        self._lacking = Episode(log, "no snapshot yet", exchange=context.feed.exchange, symbol=context.feed.symbol)
        self._book: OrderBook | None = None
        self._view: _View | None = None
        self._received = 0
        # Since the last message.
        self._changes = 0
        self._live_on_tape = False
        self._connections = 0
        # Whether the venue sends changes; it may fall back to whole books.
        self._by_diffs = context.venue.has_diffs
        self._wanted = asyncio.Event()
        # Levels that the present book's snapshot was asked for.
        self._fetched = 0
        self._buffer: deque[Diff] = deque(maxlen=BUFFERED)
        # Since when ccxt's book has been impossible.
        self._wrong_since: float | None = None
        self._stuck = asyncio.Event()
        # Whether it was said that the book is not right.
        self._broken = False
        # No book is published any more; nothing at all is.
        self._ended = False
        self._finished = False

    async def run(self) -> None:
        """All of the feed's work, until the context says stop."""
        self._deltas = await open_deltas(self._context, lambda: self._book)
        async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
            publisher = group.create_task(self._publish())
            deltas = group.create_task(self._deltas.run())
            helpers = [
                group.create_task(each) for each in (self._resync(), self._follow_demand(), self._subscribe_anew())
            ]
            async with self._context.venue.watching(self._context.feed, self):
                await self._context.stop.wait()
            self._ended = True
            self._throttle.notify_now()
            for helper in helpers:
                helper.cancel()
            # A publish in flight is never cancelled: the tape would not know where it stands.
            self._deltas.end()
            await deltas
            self._finished = True
            self._throttle.notify_now()
            await publisher

    # ---- what the venue says

    def take(self, items: Sequence[Any], received: int) -> None:
        """Changes of the book, or the book as it is."""
        for item in items:
            if isinstance(item, Diff):
                self._take_diff(item, received)
            elif isinstance(item, BookView):
                self._take_view(item, received)
            else:
                self._complaints.add(f"{type(item).__name__} is nothing that a book is made of")

    def connected(self) -> None:
        """The book of before is not known to be right any more."""
        if self._connections:
            self._status.reconnects += 1
            self._broken = True
        self._connections += 1
        self._forget()
        self._status.state = "resyncing"
        self._status.report("connected")
        if self._by_diffs:
            self._wanted.set()

    def disconnected(self, reason: str) -> None:
        """There is no book until there is a connection again."""
        self._forget()
        self._wanted.clear()
        self._wrong_since = None
        self._broken = True
        self._status.state = "disconnected"
        self._status.report("disconnected", reason)

    def rejected(self, reason: str) -> None:
        """A change that could not be read shows as a hole in the numbers, where it was one."""
        self._complaints.add(reason)

    def left_out(self, reason: str) -> None:
        """The time of a change that could not be used."""
        self._complaints.add(f"a change of the book: {reason}")

    def _take_diff(self, diff: Diff, received: int) -> None:
        if not self._by_diffs:
            self._forget()
            self._by_diffs = True
            self._wanted.set()
        if self._wanted.is_set():
            self._buffer.append(diff)
        book = self._book
        if book is None:
            return
        before = book.sequence
        try:
            if not book.apply(diff):
                return
        except OutOfStep as gap:
            self._forget()
            self._buffer.append(diff)
            self._wanted.set()
            self._broken = True
            self._status.state = "resyncing"
            self._status.gaps += 1
            self._status.report("gap", str(gap))
            return
        self._deltas.add(diff, before, received)
        self._received = received
        self._changes += 1
        self._throttle.notify()

    def _take_view(self, view: BookView, received: int) -> None:
        depth, symbol = self._context.demand.depth, self._context.feed.symbol
        try:
            # Copied: ccxt goes on changing the lists, and empties them when it loses track.
            bids = [numbers.level(level, symbol) for level in view.bids[:depth]]
            asks = [numbers.level(level, symbol) for level in view.asks[:depth]]
            wrong = _wrong(bids, asks)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            wrong = f"a book that cannot be read: {error!r}"
        if wrong:
            self._complaints.add(wrong)
            self._forget()
            self._status.state = "resyncing"
            now = time.monotonic()
            self._wrong_since = self._wrong_since or now
            if now - self._wrong_since >= WRONG_S:
                self._wrong_since = None
                self._stuck.set()
            return
        self._wrong_since = None
        if self._by_diffs:
            # The venue has fallen back to ccxt's own books.
            self._by_diffs = False
            self._wanted.clear()
            self._forget()
        became_live = self._view is None
        self._view = _View(view.timestamp, view.nonce, bids, asks)
        self._received = received
        self._changes += 1
        self._throttle.notify()
        if became_live:
            self._is_live(view.nonce)

    def _forget(self) -> None:
        if self._book is not None or self._view is not None:
            self._book = self._view = None
            self._deltas.void()
            self._throttle.notify_now()
        self._buffer.clear()

    def _is_live(self, sequence: int | None) -> None:
        self._status.state = "live"
        self._throttle.notify_now()
        if self._broken:
            self._broken = False
            self._status.repaired += 1
            self._status.report("repaired", f"live again{'' if sequence is None else f' from update {sequence} on'}")

    # ---- snapshots

    async def _resync(self) -> None:
        """Whenever a snapshot is wanted, have one and put the changes since on top of it."""
        backoff, connection, right_since = Backoff(BACKOFF_S, MAX_BACKOFF_S), 0, 0.0
        while not self._ended:
            await self._wanted.wait()
            if connection != self._connections or (right_since and time.monotonic() - right_since > CALM_S):
                backoff.worked()
            if wait := backoff.next():
                await asyncio.sleep(wait)
                if not self._wanted.is_set():
                    continue
            connection, right_since = self._connections, 0.0
            try:
                async with self._context.venue.snapshots:
                    if connection != self._connections or not self._wanted.is_set():
                        continue
                    levels = self._levels
                    book = await snapshots.fetch(self._context.venue, self._context.feed.symbol, levels)
                if connection != self._connections or not self._wanted.is_set():
                    continue
                for diff in self._buffer:
                    book.apply(diff)
                if self._book is not None and book.sequence < self._book.sequence:
                    raise OutOfStep(f"the snapshot of update {book.sequence} is older than the book")
            except (errors.OperationFailed, OutOfStep) as error:
                if isinstance(error, OutOfStep):
                    log.debug("no snapshot yet", **self._context.feed.fields, error=repr(error))
                else:
                    self._lacking.occurs(error=described(error))
                self._complaints.add(f"no snapshot of the book yet: {described(error)}")
            except errors.BaseError as error:
                self._complaints.add(f"no snapshot of the book, asked again in {REFUSED_S:g} s: {described(error)}")
                await asyncio.sleep(REFUSED_S)
            else:
                self._lacking.ends()
                self._wanted.clear()
                self._buffer.clear()
                self._book, self._fetched = book, levels
                self._deltas.void()
                self._received = now_ms()
                self._changes += 1
                right_since = time.monotonic()
                self._is_live(book.sequence)

    @property
    def _levels(self) -> int:
        return snapshots.levels_for(self._context.demand.depth, whole=self._context.demand.deltas)

    async def _subscribe_anew(self) -> None:
        """Where ccxt keeps a book that is impossible, have it make another."""
        while True:
            await self._stuck.wait()
            self._stuck.clear()
            await self._context.venue.resubscribe(self._context.feed, f"an impossible book for {WRONG_S:g} s")

    # ---- publishing

    async def _publish(self) -> None:
        """The newest state at the wished cadence; at once when the book breaks, heals or ends; again in silence."""
        while True:
            silent = False
            try:
                async with asyncio.timeout(REPEAT_S):
                    await self._throttle.wait(self._context.demand.cadence_ms / 1000)
            except TimeoutError:
                silent = True
            message, changes = self._message()
            live = message.state == "live"
            if live or self._live_on_tape or silent:
                await self._tape.append(messages.encode(message))
                received = message.received if changes else None
                self._status.published(changes, received=received, timestamp=message.timestamp)
                self._status.conflated += message.conflated
                self._live_on_tape = live
            if self._finished:
                return

    def _message(self) -> tuple[Book, int]:
        """The book as it is, and how many changes it brings."""
        feed, depth = self._context.feed, self._context.demand.depth
        if self._ended or (self._book is None and self._view is None):
            return self.nothing(), 0
        sequence: int | None
        if self._book is not None:
            bids, asks = self._book.top(depth)
            timestamp, sequence = self._book.timestamp, self._book.sequence
            levels = self._levels
            reach = levels // 2 if self._context.demand.deltas else min(depth, levels // 2)
            if not self._book.covers(levels if levels > self._fetched else reach):
                # The market has moved to where the snapshot did not reach, or more is wanted than it had. What is
                # published is right, and too short.
                self._wanted.set()
            if not self._book.covers(1) or not (bids or asks):
                # Of a side, or of both, nothing is left that was ever seen.
                self._forget()
                self._wanted.set()
                self._broken = True
                self._status.state = "resyncing"
                return self.nothing(), 0
        else:
            assert self._view is not None
            bids, asks = self._view.bids[:depth], self._view.asks[:depth]
            timestamp, sequence = self._view.timestamp, self._view.nonce
        changes, self._changes = self._changes, 0
        message = Book(
            exchange=feed.exchange,
            symbol=feed.symbol,
            state="live",
            timestamp=timestamp,
            received=self._received,
            sequence=sequence,
            bids=bids,
            asks=asks,
            depth=depth,
            conflated=max(0, changes - 1),
        )
        return message, changes

    def nothing(self) -> Book:
        """What is said while there is no book."""
        return Book(
            exchange=self._context.feed.exchange,
            symbol=self._context.feed.symbol,
            state="resyncing",
            timestamp=None,
            received=now_ms(),
        )

    async def _follow_demand(self) -> None:
        demand = self._context.demand
        while not self._ended:
            changed = demand.changed
            self._deltas.want(demand.deltas, demand.delta_joins)
            self._throttle.notify_now()
            await changed.wait()
            if changed is demand.changed:
                changed.clear()


def _wrong(bids: Sequence[Level], asks: Sequence[Level]) -> str:
    """Why there cannot be such a book; nothing where there can."""
    if not bids and not asks:
        return "the book has no level on either side"
    if bids and asks and bids[0][0] >= asks[0][0]:
        return f"the best bid {bids[0][0]} is not below the best ask {asks[0][0]}"
    return ""
