"""The books of a replay: from archived deltas, then from those of the tape.

| subject | direction | what |
|---|---|---|
| `archive.book` | requests | the book at the begin of the replay |
| `archive.rows`, `archive.days` | requests | the deltas after it, and what is missing of them |
| `$JS.API.DIRECT.GET.BOOK_DELTAS-<p>` | requests | the deltas of the tape after the archive's |
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from msgspec import UNSET, UnsetType

from tickwire.archive_files.layout import ArchivedFeed
from tickwire.bus.connection import Bus
from tickwire.client import archived
from tickwire.client.archived import Past, table_of
from tickwire.client.book_at import EXPIRED, MADE_ANEW, UNREADABLE, archived_book
from tickwire.client.merging import Block
from tickwire.client.missing import Missing, in_turn
from tickwire.client.replay_feeds import BookView
from tickwire.client.replayed_book import ReplayedBook
from tickwire.client.replayed_deltas import FiledDeltas
from tickwire.errors import BadRequest, BookUnknown, NoSuchService, NotArchived
from tickwire.model import messages
from tickwire.model.feeds import Book, BookDelta, BookDeltas, Feed, Gap
from tickwire.model.messages.archived_trades import ArchivedTrades, BookEnd
from tickwire.tape.sequence import TapeMessage
from tickwire.tape.stored import read_pages

Books = Block[Book | Gap]


async def book_pages(bus: Bus, of: Feed, since: int, until: int | None, view: BookView) -> AsyncGenerator[Books, None]:
    """The books and gaps of a feed in `[since, until)` (ms), a page at a time.

    Raises NotArchived if neither the archive nor the tape has deltas of the book; StorageError.
    """
    feed, book, past = ArchivedFeed("book_delta", of.exchange, of.symbol), ReplayedBook(of, since, until, view), Past()
    begins = await _start(bus, feed, since, book, past)
    if begins is not None:
        rows = partial(BookRows, book)
        async with aclosing(archived.row_pages(bus, feed, begins, past, rows, rows_until(since, until))) as pages:
            async for blocks in pages:
                for block in blocks:
                    yield block
    if until is None or past.known < until:
        if past.remade:
            book.interrupt(MADE_ANEW)
        elif past.book is not UNSET:
            book.archived_up_to(past.book)
        after = 0 if past.remade or past.sequence is None else past.sequence
        is_known = past.refusal is None
        async with aclosing(read_pages(bus, feed.public, after)) as taped:
            async for page in taped:
                is_known = True
                for message in page:
                    _take(book, message)
                yield book.taken()
                if book.over:
                    break
        if not is_known:
            raise _unknown(of, past.refusal)
    yield book.rest(past.known)


async def _start(bus: Bus, feed: ArchivedFeed, since: int, book: ReplayedBook, past: Past) -> int | None:
    """Begin with the book at a time (ms), if it is known; from when on the archive has deltas, None without any."""
    try:
        found = await archived_book(bus, feed, since, None)
    except (NoSuchService, NotArchived) as error:
        book.interrupt("the tape does not go back so far", since)
        past.refusal = error
        return None
    except BookUnknown as error:
        book.interrupt(error.message, since)
        return since
    book.start(found)
    if found.is_end:
        past.sequence, past.remade = found.sequence, found.present != found.stream
        return None
    return since + 1


def rows_until(since: int, until: int | None) -> int | None:
    """Up to when (ms) rows are requested: those of the second millisecond tell how the first one ended."""
    return None if until is None else max(until, since + 2)


class BookRows:
    """Makes books of archived rows, with gaps where some are missing; see `archived.Rows`."""

    def __init__(self, book: ReplayedBook, gaps: Sequence[Missing]) -> None:
        self._book = book
        self._deltas = FiledDeltas(book.update)
        self._gaps = list(reversed(gaps))
        self._is_first = True
        """Until a row is later than the first millisecond."""
        self._end: BookEnd | UnsetType = UNSET

    def take(self, chunk: ArchivedTrades) -> list[Books]:
        """The books of the rows of a chunk, and gaps between them."""
        self._gaps, self._end = in_turn(self._gaps, chunk.removed), chunk.book
        for received, delta in self._deltas.take(table_of(chunk)):
            if self._gaps:
                self._missing_before(delta)
            self._book.delta(delta, received)
        return [self._book.taken()]

    def _missing_before(self, delta: BookDelta) -> None:
        gaps, book, time = self._gaps, self._book, delta.timestamp or 0
        if time <= book.since:
            return
        self._after_first(delta)
        if not delta.snapshot:
            # It continues the row before it: nothing is missing there.
            return
        while gaps and gaps[-1].since < time:
            book.missing(gaps.pop())
        # A book may be lost and known again within a millisecond. One that only repeats the last row is not.
        if gaps and gaps[-1].since == time and book.update not in (None, delta.last):
            book.missing(gaps.pop())

    def _after_first(self, delta: BookDelta | None) -> None:
        """Leave out gaps that ended in the first millisecond; `delta` is the first one after it, None without any."""
        if not self._is_first:
            return
        self._is_first = False
        book, gaps = self._book, self._gaps
        if book.update is None:
            return
        known = book.since + 1
        if delta is not None and not delta.snapshot:
            # It continues the book of the first millisecond.
            known = delta.timestamp or known
        elif not self._is_over(delta):
            return
        while gaps and gaps[-1].since < known:
            gap = gaps.pop()
            if gap.until > known:
                gaps.append(replace(gap, since=known))

    def _is_over(self, delta: BookDelta | None) -> bool:
        """Whether the book, lost in the first millisecond, was known again in it."""
        end = self._book.since
        for gap in reversed(self._gaps):
            if gap.since == end:
                end = gap.until
        if end != self._book.since + 1:
            return False
        if delta is not None:
            return delta.last == self._book.update or (delta.timestamp or 0) > end
        # A gap in which the files end has no row after it, either.
        files = self._end
        return files is UNSET or files.update is not None or (files.until or 0) > end

    def rest(self) -> list[Books]:
        """The gaps after the last row."""
        self._after_first(None)
        while self._gaps:
            self._book.missing(self._gaps.pop())
        return [self._book.taken()]


def _take(book: ReplayedBook, taped: TapeMessage) -> None:
    if book.over:
        return
    if taped.skipped:
        book.interrupt(EXPIRED)
    try:
        book.message(messages.decode(taped.data, BookDeltas))
    except BadRequest:
        book.interrupt(UNREADABLE)


def _unknown(of: Feed, refusal: NoSuchService | NotArchived | None) -> NotArchived:
    archive = "nor in the archive" if isinstance(refusal, NotArchived) else "and no archive answers"
    remedy = f"books are archived while their deltas are subscribed to: `tickwire start {of} --deltas`"
    return NotArchived(f"the deltas of {of} are not on the tape, {archive}", remedy)
