"""Any deltas in any rounds, replayed from the files or from the tape: the books are those that their publisher had."""

from __future__ import annotations

import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from archive.written_books import Book as Levels
from archive.written_books import sides
from archive_files.taped import GENERATION, unchecked
from archive_files.test_books_properties import FEED, LOST, Sent, Told, round_of, tapes
from tickwire.archive_files import book_at, days, pages
from tickwire.archive_files.pages import Through
from tickwire.archive_files.root import FolderRoot
from tickwire.client.missing import missing
from tickwire.client.replay_books import BookRows
from tickwire.client.replay_feeds import BookView
from tickwire.client.replayed_book import ReplayedBook
from tickwire.errors import BookUnknown, NotArchived
from tickwire.model.feeds import Book, BookDelta, BookDeltas, Feed, Gap
from tickwire.model.messages.archived_book import ArchivedBook, ArchivedBookRequest
from tickwire.model.messages.archived_trades import ArchivedRowsRequest
from tickwire.model.ranges import Range, covers
from tickwire.model.times import LATEST_MS

pytestmark = pytest.mark.pure

OF = Feed("book", "binance", "BTC/USDT")
PHASES = (Phase.explicit, Phase.generate)
ALL = BookView(depth=100, cadence_ms=0)


def from_files(root: FolderRoot, last: int, book: ReplayedBook, since: int, until: int | None) -> list[Any]:
    """What a replay makes of the replies of an archive, whose parts have the messages up to `last`."""
    through = Through(GENERATION, last)
    begins = since
    try:
        found = book_of(root, since - 1, through)
    except NotArchived:
        return []
    except BookUnknown as error:
        try:
            begins, found = since + 1, book_of(root, since, through)
        except BookUnknown:
            found = None
            book.interrupt(error.message, since)
    if found is not None:
        book.start(found)
    rows = ArchivedRowsRequest(
        kind="book_delta", exchange=FEED.exchange, symbol=FEED.symbol, since=begins, until=until, limit=3
    )
    known = max((each.until for day in all_days(root) for each in day.watched), default=since)
    made = BookRows(book, missing(all_days(root), Range(since, max(since, known)), LATEST_MS))
    blocks = []
    while True:
        cursor = None
        for chunk in pages.chunks(root, rows, through):
            blocks += made.take(chunk)
            cursor = chunk.cursor
        if cursor is None:
            break
        rows = msgspec.structs.replace(rows, cursor=cursor)
    blocks += [*made.rest(), book.rest()]
    return checked([(time, item) for block in blocks for time, item in zip(block.times, block.items, strict=True)])


def book_of(root: FolderRoot, time: int, through: Through) -> ArchivedBook:
    """The reply to `archive.book`."""
    request = ArchivedBookRequest(exchange=FEED.exchange, symbol=FEED.symbol, time=time)
    (found,) = book_at.chunks(root, request, through)
    return found


def all_days(root: FolderRoot) -> list[Any]:
    found = days.dates_of(root, FEED)
    return days.days(root, FEED, FEED.on(found[0]).span.since, FEED.on(found[-1]).span.until) if found else []


def checked(items: list[tuple[int, Any]]) -> list[Any]:
    """The items, after a look at their times and at what comes around gaps."""
    assert [time for time, _ in items] == sorted(time for time, _ in items)
    found = [item for _, item in items]
    for before, item in zip([None, *found], found, strict=False):
        if isinstance(item, Gap):
            assert isinstance(before, Gap) or (isinstance(before, Book) and before.state == "resyncing")
    return found


def live(found: list[Any]) -> list[tuple[list[Any], list[Any]]]:
    """The books, each once where it repeats."""
    books = [(each.bids, each.asks) for each in found if isinstance(each, Book) and each.state == "live"]
    return [each for each, _ in groupby(books)]


def expected(told: Told, since: int, until: int | None) -> list[tuple[list[Any], list[Any]]]:
    """What a subscriber must have seen of a range."""
    before = any(at < since for at, _ in told.states)
    later = [book for at, book in told.states if since <= at and (until is None or at < until)]
    first: list[Levels | None] = [told.at(since - 1)] if before else []
    if first == [None] and not any(at == since for at, _ in told.states):
        # A gap ends at `since`.
        first = [told.at(since)]
    return [each for each, _ in groupby(sides(book) for book in [*first, *later] if book is not None)]


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(tapes(), st.booleans(), st.data())
def test_books_of_any_range_are_those_of_the_files(
    taped: tuple[list[Sent], Told], closed: bool, data: st.DataObject
) -> None:
    tape, told = taped
    LOST.clear()
    LOST.update(sequence for sequence, each in enumerate(tape, 1) if each.lost)
    with tempfile.TemporaryDirectory() as folder:
        root = FolderRoot(Path(folder))
        done = last = before = 0
        taken = list[tuple[BookDeltas, int, int]]()
        for sequence, each in enumerate(tape, 1):
            if not each.lost:
                taken.append((each.message, sequence, before))
            before = last = sequence
            if each.ends or sequence == len(tape):
                round_of(root, done, taken, last)
                done, taken = last, []
        if closed:
            for day in days.dates_of(root, FEED)[:-1]:
                days.close_day(root, FEED.on(day), None, unchecked)
        times = sorted({at + step for at, _ in told.states for step in (0, 1)}) or [1]
        since = data.draw(st.sampled_from(times))
        until = data.draw(st.sampled_from([None, *(each for each in times if each > since)]))
        # A loss in the millisecond of a book.
        assume(not {at for at, _ in told.states} & {told.lost_at, *(begin for begin, _ in told.gaps)})
        found = from_files(root, last, ReplayedBook(OF, since, until, ALL), since, until)
        # Of the books of the first millisecond, the replay may begin with any.
        books, at_first = expected(told, since, until), sum(at == since for at, _ in told.states)
        assert live(found) in [books[n:] for n in range(at_first + 1)], (since, until, told, found)
        gaps = [Range((each.since or 0) + 1, each.until or LATEST_MS) for each in found if isinstance(each, Gap)]
        for begin, end in told.gaps:
            if begin < end and begin >= since and end <= (until or end):
                assert covers(gaps, Range(begin, end)), (begin, end, gaps)


@settings(max_examples=60, deadline=None, phases=PHASES)
@given(tapes())
def test_books_of_the_tape_are_those_of_its_messages(taped: tuple[list[Sent], Told]) -> None:
    tape, told = taped
    book = ReplayedBook(OF, 1, None, ALL)
    lost = False
    blocks = []
    for each in tape:
        if each.lost:
            lost = True
            continue
        if lost:
            book.interrupt("lost")
            lost = False
        book.message(each.message)
        blocks.append(book.taken())
    blocks.append(book.rest())
    found = checked([(time, item) for block in blocks for time, item in zip(block.times, block.items, strict=True)])
    assert live(found) == expected(told, 1, None)


def test_books_come_at_most_as_often_as_the_cadence_says_and_the_last_state_comes() -> None:
    """At once, then the newest when the time has passed; `conflated` counts the others."""
    book = ReplayedBook(OF, 1000, 2000, BookView(depth=1, cadence_ms=100))
    for number, at in enumerate((900, 1010, 1050, 1060, 1300, 1310, 2000), 1):
        delta = BookDelta(
            first=number, last=number, timestamp=at, bids=[(float(number), 1.0)], asks=[], snapshot=number == 1
        )
        book.message(BookDeltas(exchange="binance", symbol="BTC/USDT", received=at, deltas=[delta]))
    block = book.taken()
    rest = book.rest()
    found = [
        (at, item.sequence, item.bids, item.conflated)
        for at, item in zip(block.times + rest.times, block.items + rest.items, strict=True)
        if isinstance(item, Book)
    ]
    assert found == [
        (1000, 1, [(1.0, 1.0)], 0),
        (1100, 4, [(4.0, 1.0)], 2),
        (1300, 5, [(5.0, 1.0)], 0),
        (1400, 6, [(6.0, 1.0)], 0),
    ]
