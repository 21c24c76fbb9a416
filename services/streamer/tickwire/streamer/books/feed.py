"""A book feed: kept here from deltas where the exchange sends them, copied from ccxt's books elsewhere.

| subject | direction | what |
|---|---|---|
| `tape.book.<exchange>.<token>` | publishes | `Book`, at most every `cadence_ms`; public as `md.book.…` |
| `tape.book_delta.<p>.<exchange>.<token>` | publishes | `BookDeltas`, if subscribed to; public as `md.book_delta.…` |
| `tape.status.book.<exchange>.<token>` | publishes | `Status`, by `FeedStatus`; public as `md.status.book.…` |

A book that may be wrong is published at once as `resyncing`, without levels, until it is right again. The last state is
repeated though nothing changes: stream BOOKS stores it no longer than `BOOK_VALID_S`, so that the book of a dead owner
is not found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from tickwire.bus import streams
from tickwire.model import messages
from tickwire.model.times import now_ms
from tickwire.process import lifecycle
from tickwire.streamer.books.checksum import checksum_of
from tickwire.streamer.books.deltas import DeltaPublisher, open_deltas
from tickwire.streamer.books.orderbook import OrderBook, difference
from tickwire.streamer.books.out_of_step import OutOfStep
from tickwire.streamer.books.present import PresentBook, copied
from tickwire.streamer.books.publisher import BookPublisher, no_book
from tickwire.streamer.books.resync import RestResync, Resync
from tickwire.streamer.books.socket_resync import SocketResync
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.control.feed_venue import BookView
from tickwire.streamer.throttle import Rejections
from tickwire.tape.writer import TapeWriter, open_writer
from tickwire.task_group import TaskGroup
from tickwire.venues.dialect import BookSnapshot, Diff
from tickwire.venues.registry import dialect_of, profile_of

WRONG_S = 5.0
"""A book of ccxt that is impossible for this long is subscribed again."""


async def run(context: FeedContext) -> None:
    """Publish the book of `context.feed` until `context.stop` is set; raises as `FeedContext` describes."""
    writer, _ = await open_writer(context.bus, streams.BOOKS, context.feed.tape, context.confirm)
    # Fences an earlier writer.
    await writer.append(messages.encode(no_book(context.feed)))
    context.status.report("starting")
    present = PresentBook()
    deltas = await open_deltas(context, lambda: present.kept)
    await BookFeed(context, writer, present, deltas).run()
    context.status.state = "stopped"
    context.status.report("stopped")


class ImpossibleBook:
    """Notices that ccxt's book stays impossible, so that it is subscribed again."""

    def __init__(self) -> None:
        self.stuck = asyncio.Event()
        self._since: float | None = None

    def seen(self) -> None:
        """ccxt's book is impossible now."""
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since >= WRONG_S:
            self._since = None
            self.stuck.set()

    def clear(self) -> None:
        """ccxt's book is possible, or was dropped."""
        self._since = None


class BookFeed:
    """The book of one market: the venue puts deltas or books in (a `FeedSink`), the publishers take them out."""

    def __init__(self, context: FeedContext, writer: TapeWriter, present: PresentBook, deltas: DeltaPublisher) -> None:
        self._context = context
        self._status = context.status
        self._present = present
        self._deltas = deltas
        self._rejections = Rejections(context.status)
        self._publisher = BookPublisher(context, writer, present, self._check_depth)
        self._facts = profile_of(context.feed.exchange).book_of(context.units.kind)
        self._resync: Resync = (
            RestResync(context, present, self._rejections, self._facts, self._take_snapshot)
            if self._facts.snapshot == "rest"
            else SocketResync(context)
        )
        self._impossible = ImpossibleBook()
        self._connections = 0
        self._is_connected = False
        self._numbered = 0
        """The number of the newest book, where the venue has none."""
        self._by_deltas = context.venue.has_diffs
        """Whether the venue sends deltas; it may fall back to whole books."""
        self._interrupted = False
        """Whether subscribers had a book that is not right any more: its recovery is reported."""

    async def run(self) -> None:
        """Run until `stop` is set; both publishers publish their last state before it returns."""
        async with lifecycle.unwrapped(), TaskGroup() as group:
            publishing = group.create_task(self._publisher.run())
            deltas = group.create_task(self._deltas.run())
            helpers = [
                group.create_task(each)
                for each in (self._resync.run(), self._follow_demand(), self._resubscribe_when_stuck())
            ]
            async with self._context.venue.watching(self._context.feed, self):
                await self._context.stop.wait()
            self._publisher.withdraw()
            for helper in helpers:
                helper.cancel()
            # An append in flight is never cancelled: the writer would not know whether it was stored.
            self._deltas.finish()
            await deltas
            self._publisher.finish()
            await publishing

    # ---- called by the venue

    def take(self, items: Sequence[object], received: int) -> None:
        """Take deltas of the book, or whole books."""
        for item in items:
            if isinstance(item, Diff):
                self._take_delta(item, received)
            elif isinstance(item, BookSnapshot):
                self._take_whole(item, received)
            elif isinstance(item, BookView):
                self._take_view(item, received)
            else:
                self._rejections.add(f"neither a delta nor a book: {type(item).__name__}")

    def connected(self) -> None:
        """Deltas arrive from now on; the book from before may be wrong."""
        if self._connections:
            self._status.reconnects += 1
            self._interrupted = True
        self._connections += 1
        self._is_connected = True
        self._resync.connected()
        self._drop_book()
        self._status.state = "resyncing"
        self._status.report("connected")
        if self._by_deltas:
            self._resync.request()

    def disconnected(self, reason: str) -> None:
        """There is no book until the feed is connected again."""
        self._is_connected = False
        self._drop_book()
        self._resync.cancel()
        self._impossible.clear()
        self._interrupted = True
        self._status.state = "disconnected"
        self._status.report("disconnected", reason)

    def rejected(self, reason: str) -> None:
        """A message could not be used. If it was a delta, the next one shows the gap."""
        self._rejections.add(reason)

    def left_out(self, reason: str) -> None:
        """The time of a delta could not be used."""
        self._rejections.add(f"a change of the book: {reason}")

    # ---- deltas and snapshots

    def _take_delta(self, diff: Diff, received: int) -> None:
        if not self._by_deltas:
            self._drop_book()
            self._by_deltas = True
            self._resync.request()
        self._resync.buffer(diff)
        book = self._present.kept
        if book is None:
            return
        before = book.sequence
        try:
            if not book.apply(diff):
                return
        except OutOfStep as gap:
            self._break(str(gap))
            self._resync.buffer(diff)
            return
        self._numbered = book.sequence
        self._deltas.add(book.with_dropped(diff), before, book.sequence, received)
        self._present.changed(received)
        self._publisher.notify()

    def _take_whole(self, snapshot: BookSnapshot, received: int) -> None:
        """A book that the venue sent whole, after a subscription or by itself."""
        if not self._is_connected:
            # It is of the subscription before.
            return
        checksum = checksum_of(self._facts, dialect_of(self._context.feed.exchange))
        self._numbered += 1
        try:
            book = OrderBook.sent(snapshot, self._facts, checksum, count=self._numbered)
        except OutOfStep as wrong:
            self._break(str(wrong))
            return
        before = self._present.kept
        self._by_deltas = True
        self._present.copied, self._present.kept, self._present.levels = None, book, self._resync.levels
        self._present.changed(received)
        self._resync.arrived()
        if before is None or self._facts.snapshot != "every message":
            self._deltas.invalidate()
        else:
            self._deltas.add(difference(before, book), before.sequence, book.sequence, received)
        if before is None:
            self._recovered(book.sequence)
        else:
            self._publisher.notify()

    def _take_snapshot(self, book: OrderBook, levels: int) -> None:
        self._present.kept, self._present.levels = book, levels
        self._deltas.invalidate()
        self._present.changed(now_ms())
        self._recovered(book.sequence)

    def _check_depth(self) -> None:
        """Request a deeper snapshot if the book is too short; drop it if one side has no known level left."""
        book, demand, levels = self._present.kept, self._context.demand, self._resync.levels
        if book is None:
            return
        reach = levels // 2 if demand.deltas else min(demand.depth, levels // 2)
        if not book.covers(levels if levels > self._present.levels else reach):
            # The market moved beyond the snapshot, or more levels are demanded now. The book is right, but short.
            self._resync.request()
        if not book.covers(1) or (self._facts.snapshot == "rest" and not any(book.top(1))):
            self._lose_book("a side of the book has no known level")

    # ---- whole books

    def _take_view(self, view: BookView, received: int) -> None:
        try:
            top = copied(view, self._context.demand.depth, self._context.feed.symbol)
        except ValueError as error:
            self._rejections.add(str(error))
            self._drop_book()
            self._status.state = "resyncing"
            self._impossible.seen()
            return
        self._impossible.clear()
        if self._by_deltas:
            # The venue has fallen back to ccxt's own books.
            self._by_deltas = False
            self._resync.cancel()
            self._drop_book()
        is_first = self._present.copied is None
        self._present.copied = top
        self._present.changed(received)
        self._publisher.notify()
        if is_first:
            self._recovered(view.nonce)

    async def _resubscribe_when_stuck(self) -> None:
        while True:
            await self._impossible.stuck.wait()
            self._impossible.stuck.clear()
            await self._context.venue.resubscribe(self._context.feed, f"an impossible book for {WRONG_S:g} s")

    # ---- the state

    def _drop_book(self) -> None:
        if self._present:
            self._present.clear()
            self._deltas.invalidate()
            self._publisher.notify_now()
        self._resync.drop_buffer()

    def _break(self, reason: str) -> None:
        """A message shows that the book is wrong."""
        self._lose_book(reason)
        self._status.gaps += 1
        self._status.report("gap", reason)

    def _lose_book(self, reason: str) -> None:
        """The book is wrong: drop it, and resynchronise."""
        self._drop_book()
        self._resync.request(reason)
        self._interrupted = True
        self._status.state = "resyncing"

    def _recovered(self, sequence: int | None) -> None:
        self._status.state = "live"
        self._publisher.notify_now()
        if self._interrupted:
            self._interrupted = False
            self._status.repaired += 1
            self._status.report("repaired", f"live again{'' if sequence is None else f' from update {sequence} on'}")

    async def _follow_demand(self) -> None:
        demand = self._context.demand
        while True:
            changed = demand.changed
            self._deltas.set_demand(demand.deltas, demand.delta_joins)
            self._publisher.notify_now()
            await changed.wait()
