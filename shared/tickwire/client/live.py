"""Feeds as iterators: started with the first step, followed without loss, released at the end.

| subject | what |
|---|---|
| `streamer.start`, `streamer.stop` | the interest, renewed while it lasts |
| `md.<kind>.<exchange>.<token>[.<timeframe>]` | followed; missed messages are read back from the tape |
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, TypeVar

from tickwire.client import interest
from tickwire.client.archived import Past, message_pages
from tickwire.client.decoded import REMADE
from tickwire.client.mailbox import Mailbox
from tickwire.client.stream import Stream, Streams
from tickwire.client.trade_items import CLOCKS_MS, TradeItems
from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.feeds import BOOK_VALID_S, Book, Candle, Feed, StartRequest, Ticker
from tickwire.model.times import now_ms
from tickwire.tape.reader import HELD, TapeReader, read_tape
from tickwire.tape.sequence import TapeMessage
from tickwire.tape.stored import find_position

WAITING = 1024
"""Messages that are queued here for a slow consumer; further ones wait in the connection, then on the tape."""
TTL_S = 10
"""The interest of a client that dies expires after so many seconds."""
RUNNING = ("live", "repairing", "resyncing")
"""States of a feed whose newest message is current."""

T = TypeVar("T")
Items = Callable[[TapeMessage], list[T]]


@dataclass(frozen=True)
class Start:
    """Where on the tape to begin: with the `back` newest messages, after sequence `after`, or at time `since` (ms)."""

    back: int = 1
    after: int | None = None
    since: int | None = None


class Subscription(Stream[TapeMessage, T], Generic[T]):
    """A feed's tape, followed.

    Iterated or entered, it raises what the streamer refuses: UnknownExchange, UnknownSymbol, UnsupportedKind,
    NoSuchService where none runs.
    """

    def __init__(
        self,
        streams: Streams,
        feed: Feed,
        items: Items[T],
        *,
        start: Start,
        newest_only: bool = False,
    ) -> None:
        super().__init__(streams, str(feed), Mailbox(1 if newest_only else WAITING, newest_only=newest_only))
        self.feed = feed
        self._items = items
        self._start = start
        self._reader: TapeReader | None = None

    async def _read_past(self, since: int, after: int) -> int:
        """Queue what happened from `since` (ms) on, before the tape begins; after which sequence to read that."""
        return after

    @property
    def missed(self) -> int:
        """Messages replaced by newer ones before they were taken; for books and tickers only."""
        return self._mailbox.missed

    @property
    def read_back(self) -> int:
        """Messages that were missed live, and read from the tape."""
        return self._reader.read_back if self._reader else 0

    def _items_of(self, message: TapeMessage) -> list[T]:
        try:
            return self._items(message)
        except BadRequest as error:
            self._streams.bus.undecodable.skip(self.feed.public, message.data, error, sequence=message.sequence)
            return []

    def _sequence_of(self, message: TapeMessage) -> int:
        return message.sequence

    async def _follow(self) -> None:
        bus, feed, start = self._streams.bus, self.feed, self._start
        async with interest.interested(bus, self._request(interest.subscriber(self._streams.name))) as report:
            after = start.after
            if start.since is not None:
                after, whole = await find_position(bus, feed.public, start.since - CLOCKS_MS)
                if not whole:
                    after = await self._read_past(start.since, after)
            # The tape of a feed that did not run holds an old state.
            back = start.back if report.state in RUNNING else 0
            if after is not None:
                # What is read back may be more than the mailbox holds: the consumer must run.
                self._started.set()
            followed = read_tape(bus, feed.public, self._queue, back=back, after=after, held=HELD)
            async with followed as self._reader:
                self._started.set()
                await self._watch()

    def _request(self, name: str) -> StartRequest:
        """The interest in the feed of subscriber `name`."""
        return interest.start_request(self.feed, name, ttl_s=TTL_S)

    async def _queue(self, taped: TapeMessage) -> None:
        """Queue a message of the feed."""
        await self._mailbox.put(taped)

    async def _watch(self) -> None:
        """Runs while the feed is followed, until cancelled."""
        await asyncio.Event().wait()


class TradeSubscription(Subscription[T]):
    """Trades, each once, in the exchange's order. `gaps` lists the gaps so far.

    Call `gaps.clear()` when you iterate for weeks.
    """

    def __init__(self, streams: Streams, feed: Feed, items: TradeItems, as_items: Items[T], start: Start) -> None:
        super().__init__(streams, feed, as_items, start=start)
        self.gaps = items.gaps
        self._trades = items

    async def _read_past(self, since: int, after: int) -> int:
        past = Past()
        # What is archived may be more than the mailbox holds: the consumer must run.
        self._started.set()
        async with aclosing(message_pages(self._streams.bus, self.feed, since, past)) as pages:
            async for page in pages:
                for message in page:
                    await self._queue(message)
        if past.sequence is None:
            self._trades.begins_late = past.begins_late
            return after
        if past.remade:
            await self._queue(REMADE)
            return after
        return past.sequence


class BookSubscription(Subscription[Book]):
    """Books. Yields a `resyncing` one by itself when a live book was silent for 30 s."""

    def __init__(self, streams: Streams, feed: Feed, *, depth: int | None, cadence_ms: int | None) -> None:
        super().__init__(streams, feed, book, start=Start(), newest_only=True)
        self._depth = depth
        self._cadence_ms = cadence_ms
        self._last: TapeMessage | None = None
        self._received_at = 0.0

    def _request(self, name: str) -> StartRequest:
        return interest.start_request(self.feed, name, ttl_s=TTL_S, depth=self._depth, cadence_ms=self._cadence_ms)

    async def _queue(self, taped: TapeMessage) -> None:
        self._last, self._received_at = taped, time.monotonic()
        await super()._queue(taped)

    async def _watch(self) -> None:
        while True:
            left = self._received_at + BOOK_VALID_S - time.monotonic()
            if left <= 0:
                await self._doubt()
            await asyncio.sleep(left if left > 0 else BOOK_VALID_S)

    async def _doubt(self) -> None:
        """Queue a `resyncing` book: the streamer, or the way to it, is gone, and the last book is not current."""
        if self._last is None:
            return
        known = self._streams.bus.undecodable.decode(self.feed.public, self._last.data, Book)
        if known is None or known.state != "live":
            return
        nothing = Book(
            exchange=known.exchange,
            symbol=known.symbol,
            state="resyncing",
            timestamp=None,
            received=now_ms(),
        )
        self._last = TapeMessage(self._last.sequence, messages.encode(nothing))
        await self._mailbox.put(self._last)


def book(taped: TapeMessage) -> list[Book]:
    """The book of a message."""
    return [messages.decode(taped.data, Book)]


def ticker(taped: TapeMessage) -> list[Ticker]:
    """The ticker of a message."""
    return [messages.decode(taped.data, Ticker)]


def candle(taped: TapeMessage) -> list[Candle]:
    """The candle of a message."""
    return [messages.decode(taped.data, Candle)]
