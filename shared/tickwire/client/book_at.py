"""The book of a feed at a moment, from the archive and the tape.

| subject | direction | what |
|---|---|---|
| `archive.book` | requests | the book at the moment, or at the end of the archive if that is earlier |
| `$JS.API.DIRECT.GET.BOOK_DELTAS-<p>` | requests | the deltas of the tape after the archive's |
"""

from __future__ import annotations

from contextlib import aclosing
from functools import partial

import msgspec

from tickwire.archive_files.book_chain import RESYNCHRONISED, BookChain, Step
from tickwire.archive_files.certificate import gap_times
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.bus.connection import Bus
from tickwire.errors import BadRequest, BookUnknown, NoSuchService, NotArchived
from tickwire.model import messages
from tickwire.model.feeds import Book, BookDelta, BookDeltas
from tickwire.model.messages.archived_book import ArchivedBook, ArchivedBookRequest
from tickwire.model.times import iso_ms
from tickwire.tape.sequence import TapeMessage
from tickwire.tape.stored import stored_tape

ANSWER_S = 60.0
"""Time limit for a chunk: an object store may be slow."""
REMEDY = "choose another time; `tickwire start book … --deltas` follows the changes of a book from now on"
UNREADABLE = "a message of the tape cannot be read"
EXPIRED = "deltas have expired on the tape"
MADE_ANEW = "the stream of the deltas was made anew after the archive read it"


async def book_at(bus: Bus, feed: ArchivedFeed, time: int, depth: int | None) -> Book:
    """The book after all changes up to a time (ms), `depth` levels of a side. Raises BookUnknown, StorageError."""
    try:
        found = await archived_book(bus, feed, time, depth)
    except (NoSuchService, NotArchived):
        found = ArchivedBook(exchange=feed.exchange, symbol=feed.symbol, is_end=True)
    if not found.is_end:
        return Following(feed, time, found).book(depth)
    following = Following(feed, time, found)
    stored = await stored_tape(bus, feed.public)
    after = found.sequence
    if found.present != found.stream:
        following.interrupt(MADE_ANEW)
        after = 0
    async with aclosing(stored.pages(after)) as pages:
        async for page in pages:
            if any(following.take(message) for message in page):
                return following.book(depth)
    raise following.unknown("the tape has no later change of the book, which would tell", None)


async def archived_book(bus: Bus, feed: ArchivedFeed, time: int, depth: int | None) -> ArchivedBook:
    """The reply of the archive, in one. Raises NoSuchService, NotArchived, BookUnknown, StorageError."""
    request = ArchivedBookRequest(exchange=feed.exchange, symbol=feed.symbol, time=time, depth=depth)
    decode = partial(messages.decode, kind=ArchivedBook)
    parts: list[ArchivedBook] = []
    async with aclosing(bus.request_chunks("archive.book", request, decode, timeout_s=ANSWER_S)) as chunks:
        async for chunk in chunks:
            parts.append(chunk)
    whole = parts[0]
    for part in parts[1:]:
        whole.bids.extend(part.bids)
        whole.asks.extend(part.asks)
    return msgspec.structs.replace(whole, present=parts[-1].present)


class Following:
    """Goes on with the tape from the book at the end of the archive, to the first change after a time (ms). No I/O."""

    def __init__(self, feed: ArchivedFeed, time: int, start: ArchivedBook) -> None:
        self._feed = feed
        self._time = time
        self._chain = BookChain(start.update, start.until)
        if start.update is None and start.until is not None:
            self._chain.interrupt(RESYNCHRONISED, start.until)
        self._bids, self._asks = dict(start.bids), dict(start.asks)
        self._update = start.update
        self._timestamp, self._received = start.timestamp, start.received or 0

    def take(self, taped: TapeMessage) -> bool:
        """Take a message; whether it reaches beyond the time. Raises BookUnknown if the book is not known then."""
        if taped.skipped:
            self.interrupt(EXPIRED)
        try:
            message = messages.decode(taped.data, BookDeltas)
        except BadRequest:
            self.interrupt(UNREADABLE)
            return False
        self._chain.open(message)
        return any(self._is_beyond(delta, message.received) for delta in message.deltas)

    def interrupt(self, reason: str) -> None:
        """The book is not known any more, until a snapshot comes."""
        self._chain.interrupt(reason, self._chain.until)

    def book(self, depth: int | None) -> Book:
        """The book at the time."""
        bids = sorted(((price, amount) for price, amount in self._bids.items() if amount), reverse=True)
        asks = sorted((price, amount) for price, amount in self._asks.items() if amount)
        return Book(
            exchange=self._feed.exchange,
            symbol=self._feed.symbol,
            state="live",
            timestamp=self._timestamp,
            received=self._received,
            sequence=self._update,
            bids=bids[:depth],
            asks=asks[:depth],
            depth=depth or max(len(bids), len(asks)),
        )

    def unknown(self, reason: str, since: int | None) -> BookUnknown:
        """The error that names why the book is not known."""
        begin = "" if since is None else f" from {iso_ms(since)} on"
        return BookUnknown(f"{self._feed} is not known at {iso_ms(self._time)}: {reason}{begin}", REMEDY)

    def _is_beyond(self, delta: BookDelta, received: int) -> bool:
        step = self._chain.take(delta, received)
        if step.timestamp > self._time:
            self._check(step)
            return True
        if step.action == "begins":
            self._bids, self._asks = {}, {}
        if step.action in ("begins", "changes"):
            self._bids.update(delta.bids)
            self._asks.update(delta.asks)
            self._timestamp, self._received = step.timestamp, received
        self._update = self._chain.update
        return False

    def _check(self, step: Step) -> None:
        """Raises BookUnknown unless the book is known up to this step, the first one after the time."""
        if step.gap is not None and gap_times(step.gap).since <= self._time:
            raise self.unknown(step.gap.reason, None if step.gap.since is None else step.gap.since + 1)
        if step.action == "unusable":
            raise self.unknown(self._chain.lost or "no snapshot has come yet", self._chain.lost_at)
        if self._update is None:
            raise self.unknown("it was not followed before then", None)
