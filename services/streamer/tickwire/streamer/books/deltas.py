"""Publishes the deltas of a book on `tape.book_delta.<p>.<exchange>.<token>`: each one, in order, never conflated.

Where the sequence of deltas breaks, a snapshot of the whole book takes its place. There is also a snapshot for each new
subscriber, and one at least every third of the time for which the stream stores deltas.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from tickwire.model import messages
from tickwire.model.feeds import BookDelta, BookDeltas
from tickwire.model.times import now_ms
from tickwire.streamer.books.orderbook import OrderBook
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.tape.former import fence_former
from tickwire.tape.subject_writer import SubjectWriter
from tickwire.venues.dialect import Diff

PART = 5_000
"""Most levels in one delta of a snapshot: about 200 kB of JSON."""
BATCH = 8_000
"""A message with this many levels takes no more deltas, so that it stays below 1 MiB, nats-server's limit."""


class DeltaPublisher:
    """Queues and publishes the deltas of one book. `present` returns the present book, None while there is none."""

    def __init__(self, context: FeedContext, writer: SubjectWriter, present: Callable[[], OrderBook | None]) -> None:
        self._context = context
        self._writer = writer
        self._present = present
        self._queue: deque[BookDelta] = deque()
        self._weight = 0
        """Levels and deltas in the queue."""
        self._broken = True
        """Whether the next delta does not continue those published: a snapshot must come first."""
        self._snapshot_due = False
        """Whether a snapshot is due although the deltas are unbroken."""
        self._snapshot_at: float | None = None
        """When the next snapshot is due, by the loop's clock."""
        self._wanted = False
        self._joins = 0
        self._finishing = False
        self._received = 0
        self._news = asyncio.Event()

    def add(self, diff: Diff, before: int, last: int, received: int) -> None:
        """The book went from update `before` to update `last` by `diff`."""
        if self._broken or not self._wanted:
            return
        if last <= before:
            # The venue's numbers began anew: no range says that.
            self.invalidate()
            return
        self._queue.append(
            BookDelta(first=before + 1, last=last, timestamp=diff.timestamp, bids=diff.bids, asks=diff.asks)
        )
        self._received = received
        self._weight += 1 + len(diff.bids) + len(diff.asks)
        if self._weight > self._context.settings.held:
            self._context.status.gaps += 1
            reason = f"the broker is slow: a snapshot of the book replaces {len(self._queue)} deltas"
            self._context.status.report("gap", reason)
            self._queue.clear()
            self._weight = 0
            self.invalidate()
        self._news.set()

    def invalidate(self) -> None:
        """The next delta does not continue the last one."""
        self._broken = True
        self._news.set()

    def set_demand(self, wanted: bool, joins: int) -> None:
        """Whether anyone subscribes to deltas, and how many have joined so far: each needs a snapshot."""
        if wanted != self._wanted:
            self._wanted = wanted
            self.invalidate()
        elif wanted and joins != self._joins:
            self._snapshot_due = True
            self._news.set()
        self._joins = joins

    def finish(self) -> None:
        """Have `run` publish what is queued, and return."""
        self._finishing = True
        self._news.set()

    async def run(self) -> None:
        """Publish until `finish`. Raises Fenced."""
        # Whether the present subscribers have had a message.
        opened = self._wanted and self._writer.sequence > 0
        while True:
            try:
                async with asyncio.timeout_at(self._snapshot_at):
                    await self._news.wait()
            except TimeoutError:
                # What the stream stores must begin with a snapshot.
                self._snapshot_due, self._snapshot_at = True, None
            self._news.clear()
            while batch := self._next_batch():
                await self._append(batch)
                opened = True
            if self._wanted and not opened:
                await self._append([])
            opened = self._wanted
            if self._finishing:
                return

    def _next_batch(self) -> list[BookDelta]:
        """Take the next deltas out of the queue; `append` retries until they are on the tape."""
        self._queue_snapshot()
        batch: list[BookDelta] = []
        weight = 0
        while self._queue and weight < BATCH:
            batch.append(delta := self._queue.popleft())
            weight += 1 + len(delta.bids) + len(delta.asks)
        self._weight = max(0, self._weight - weight) if self._queue else 0
        return batch

    def _queue_snapshot(self) -> None:
        """Queue a snapshot if one is due and there is a book."""
        is_due = self._snapshot_due or (self._broken and not self._queue)
        if is_due and self._wanted and (book := self._present()) is not None:
            self._queue.extend(snapshot(book))
            self._received = now_ms()
            self._broken = self._snapshot_due = False
            self._snapshot_at = asyncio.get_running_loop().time() + self._context.tape.deltas_age_s / 3

    async def _append(self, batch: list[BookDelta]) -> None:
        await self._writer.append(_encoded(self._context, batch, self._received or now_ms()))


async def open_deltas(context: FeedContext, present: Callable[[], OrderBook | None]) -> DeltaPublisher:
    """The deltas of a book whose owner has just begun. Fences an earlier owner if one has published any."""
    demand = context.demand
    public = context.feed.public.replace("md.book.", "md.book_delta.", 1)
    writer, last = await context.open_tape(public)
    deltas = DeltaPublisher(context, writer, present)
    if last is None:
        await fence_former(context.bus, public, _encoded(context, [], now_ms()), context.confirm)
    if last is not None or demand.deltas:
        await writer.append(_encoded(context, [], now_ms()))
    deltas.set_demand(demand.deltas, demand.delta_joins)
    return deltas


def _encoded(context: FeedContext, deltas: list[BookDelta], received: int) -> bytes:
    feed = context.feed
    return messages.encode(BookDeltas(exchange=feed.exchange, symbol=feed.symbol, received=received, deltas=deltas))


def snapshot(book: OrderBook) -> list[BookDelta]:
    """The whole book as deltas: a snapshot, and continuations if one message cannot hold all levels."""
    bids, asks = book.whole()
    return [
        BookDelta(
            # A continuation adds levels without an update of the exchange: it begins and ends at the same update.
            first=book.sequence + 1 if start else book.sequence,
            last=book.sequence,
            timestamp=book.timestamp,
            bids=bids[start : start + PART // 2],
            asks=asks[start : start + PART // 2],
            snapshot=not start,
        )
        for start in range(0, max(len(bids), len(asks), 1), PART // 2)
    ]
