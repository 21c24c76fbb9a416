"""The changes of a book on `tape.book_delta.<exchange>.<token>`: each one, in order, never conflated.

What cannot be had in order is void, and a snapshot of the whole book takes its place. There is another for whoever
joins, and one at least every third of the time for which the stream keeps changes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from tickwire.bus import streams
from tickwire.model import messages
from tickwire.model.feeds import BookDelta, BookDeltas
from tickwire.model.times import now_ms
from tickwire.streamer.books.orderbook import OrderBook
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.tape.writer import TapeWriter, open_writer
from tickwire.venues.dialect import Diff

PART = 5_000
"""Levels in one delta at most, where we make it: some 200 kB of JSON."""
BATCH = 8_000
"""A message that has so many levels takes no more deltas, so that it stays below 1 MiB, nats-server's limit."""


class Deltas:
    """What waits to be published. `present` gives the book as it is, None while there is none."""

    def __init__(self, context: FeedContext, tape: TapeWriter, present: Callable[[], OrderBook | None]) -> None:
        self._context = context
        self._tape = tape
        self._present = present
        self._waiting: deque[BookDelta] = deque()
        self._weight = 0
        self._void = True
        self._anew = False
        self._due: float | None = None
        """When the next snapshot is due though nothing is void, by the loop's clock."""
        self._wanted = False
        self._newcomers = 0
        self._ended = False
        self._received = 0
        self._news = asyncio.Event()

    def add(self, diff: Diff, before: int, received: int) -> None:
        """The book went from update `before` to that of `diff`."""
        if self._void or not self._wanted:
            return
        self._waiting.append(
            BookDelta(first=before + 1, last=diff.last, timestamp=diff.timestamp, bids=diff.bids, asks=diff.asks)
        )
        self._received = received
        self._weight += 1 + len(diff.bids) + len(diff.asks)
        if self._weight > self._context.settings.held:
            self._context.status.gaps += 1
            self._context.status.report(
                "gap", f"the broker is behind: {len(self._waiting)} changes give way to a snapshot of the book"
            )
            self._waiting.clear()
            self.void()
        self._news.set()

    def void(self) -> None:
        """What is published next is no continuation: it begins with a snapshot."""
        self._void = True
        self._news.set()

    def want(self, wanted: bool, delta_joins: int) -> None:
        """Whether anyone asks for changes, and how many have come so far. Whoever comes gets a snapshot."""
        if wanted != self._wanted:
            self._wanted = wanted
            self.void()
        elif wanted and delta_joins != self._newcomers:
            self._anew = True
            self._news.set()
        self._newcomers = delta_joins

    def end(self) -> None:
        """Have `run` return after what waits."""
        self._ended = True
        self._news.set()

    async def run(self) -> None:
        """Publish until `end`. Raises Fenced when another owner has taken over."""
        # Whether those who ask have had a message.
        opened = self._wanted and self._tape.sequence > 0
        while True:
            try:
                async with asyncio.timeout_at(self._due):
                    await self._news.wait()
            except TimeoutError:
                # What the stream keeps must have a snapshot to begin with.
                self._anew, self._due = True, None
            self._news.clear()
            while batch := self._batch():
                await self._append(batch)
                opened = True
            if self._wanted and not opened:
                await self._append([])
            opened = self._wanted
            if self._ended:
                return

    def _batch(self) -> list[BookDelta]:
        """The next changes to publish. Taken out of the queue: `append` repeats until they are on the tape."""
        anew = self._anew or (self._void and not self._waiting)
        if anew and self._wanted and (book := self._present()) is not None:
            self._waiting.extend(snapshot(book))
            self._received = now_ms()
            self._void = self._anew = False
            self._due = asyncio.get_running_loop().time() + self._context.tape.deltas_age_s / 3
        batch: list[BookDelta] = []
        weight = 0
        while self._waiting and weight < BATCH:
            batch.append(delta := self._waiting.popleft())
            weight += 1 + len(delta.bids) + len(delta.asks)
        self._weight = max(0, self._weight - weight) if self._waiting else 0
        return batch

    async def _append(self, batch: list[BookDelta]) -> None:
        feed = self._context.feed
        message = BookDeltas(
            exchange=feed.exchange,
            symbol=feed.symbol,
            received=self._received or now_ms(),
            deltas=batch,
        )
        await self._tape.append(messages.encode(message))


async def open_deltas(context: FeedContext, present: Callable[[], OrderBook | None]) -> Deltas:
    """The changes of a book whose owner has just begun: an earlier owner is shut out where it has published any."""
    feed = context.feed
    subject = feed.tape.replace("tape.book.", "tape.book_delta.", 1)
    tape, last = await open_writer(context.bus, streams.BOOK_DELTAS, subject, context.confirm)
    deltas = Deltas(context, tape, present)
    if last is not None or context.demand.deltas:
        empty = BookDeltas(exchange=feed.exchange, symbol=feed.symbol, received=now_ms(), deltas=[])
        await tape.append(messages.encode(empty))
    deltas.want(context.demand.deltas, context.demand.delta_joins)
    return deltas


def snapshot(book: OrderBook) -> list[BookDelta]:
    """The whole book as deltas: a snapshot, and changes that continue it where one message cannot hold it all."""
    bids, asks = book.whole()
    return [
        BookDelta(
            # A continuation changes levels without an update of the exchange: it begins and ends where the book is.
            first=book.sequence + 1 if start else book.sequence,
            last=book.sequence,
            timestamp=book.timestamp,
            bids=bids[start : start + PART // 2],
            asks=asks[start : start + PART // 2],
            snapshot=not start,
        )
        for start in range(0, max(len(bids), len(asks), 1), PART // 2)
    ]
