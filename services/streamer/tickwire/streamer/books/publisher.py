"""Publishes the newest state of a book at a bounded rate, and repeats it in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tickwire.model import messages
from tickwire.model.feeds import BOOK_VALID_S, Book, Feed
from tickwire.model.times import now_ms
from tickwire.process.throttle import Throttle
from tickwire.streamer.books.present import PresentBook
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.tape.writer import TapeWriter

REPEAT_S = BOOK_VALID_S / 3
"""The last state is published again after this long without a change."""


class BookPublisher:
    """The publisher of one book. `prepare` is called before each message, and may clear the book."""

    def __init__(
        self, context: FeedContext, writer: TapeWriter, present: PresentBook, prepare: Callable[[], None]
    ) -> None:
        self._context = context
        self._writer = writer
        self._present = present
        self._prepare = prepare
        self._throttle = Throttle()
        self._live_on_tape = False
        self._withdrawn = False
        self._finishing = False
        self.notify = self._throttle.notify
        self.notify_now = self._throttle.notify_now

    def withdraw(self) -> None:
        """Publish no book any more, only that there is none."""
        self._withdrawn = True
        self.notify_now()

    def finish(self) -> None:
        """Have `run` publish the last state, and return."""
        self._finishing = True
        self.notify_now()

    async def run(self) -> None:
        """Publish until `finish`: at the demanded cadence, at once if the book breaks, recovers or ends, and again
        after `REPEAT_S`. Raises Fenced.
        """
        status = self._context.status
        while True:
            silent = False
            try:
                async with asyncio.timeout(REPEAT_S):
                    await self._throttle.wait(self._context.demand.cadence_ms / 1000)
            except TimeoutError:
                silent = True
            message, changes = self._next_message()
            live = message.state == "live"
            if live or self._live_on_tape or silent:
                await self._writer.append(messages.encode(message))
                received = message.received if changes else None
                status.published(changes, received=received, timestamp=message.timestamp)
                status.conflated += message.conflated
                self._live_on_tape = live
            if self._finishing:
                return

    def _next_message(self) -> tuple[Book, int]:
        """The present book, and the number of changes since the last message."""
        present, feed, depth = self._present, self._context.feed, self._context.demand.depth
        if not self._withdrawn:
            self._prepare()
        if self._withdrawn or not present:
            return no_book(feed), 0
        top = present.top(depth)
        changes, present.changes = present.changes, 0
        message = Book(
            exchange=feed.exchange,
            symbol=feed.symbol,
            state="live",
            timestamp=top.timestamp,
            received=present.received,
            sequence=top.sequence,
            bids=top.bids,
            asks=top.asks,
            depth=depth,
            conflated=max(0, changes - 1),
        )
        return message, changes


def no_book(feed: Feed) -> Book:
    """The message while there is no book."""
    return Book(exchange=feed.exchange, symbol=feed.symbol, state="resyncing", timestamp=None, received=now_ms())
