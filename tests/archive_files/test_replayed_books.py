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
from msgspec import UNSET

from archive.written_books import sides
from archive_files.taped import BEGIN, DAY, GENERATION, unchecked
from archive_files.test_books_properties import FEED, LOST, Sent, Told, round_of, tapes
from tickwire.archive_files import book_at, days, pages
from tickwire.archive_files.layout import Through
from tickwire.archive_files.root import FolderRoot
from tickwire.client import archived
from tickwire.client.missing import missing
from tickwire.client.replay_books import BookRows, rows_until
from tickwire.client.replay_feeds import BookView
from tickwire.client.replayed_book import ReplayedBook
from tickwire.errors import BookUnknown
from tickwire.model.feeds import Book, BookDelta, BookDeltas, Feed, Gap, Level
from tickwire.model.messages.archived_book import ArchivedBook, ArchivedBookRequest
from tickwire.model.messages.archived_trades import ArchivedRowsRequest
from tickwire.model.ranges import Range, covers, merge
from tickwire.model.times import LATEST_MS

pytestmark = pytest.mark.pure

OF = Feed("book", "binance", "BTC/USDT")
PHASES = (Phase.explicit, Phase.generate)
ALL = BookView(depth=100, cadence_ms=0)


def from_files(
    root: FolderRoot, last: int, book: ReplayedBook, since: int, until: int | None, later: list[Sent]
) -> list[Any]:
    """What a replay makes of the replies of an archive that has the messages up to `last`, then of later messages."""
    through = Through(GENERATION, last)
    begins = since
    try:
        found = book_of(root, since, through)
    except BookUnknown as error:
        book.interrupt(error.message, since)
    else:
        book.start(found)
        begins = since + 1
        if found.is_end:
            return checked([*items_of(book.taken()), *from_tape(book, later)])
    end = rows_until(since, until)
    rows = ArchivedRowsRequest(
        kind="book_delta", exchange=FEED.exchange, symbol=FEED.symbol, since=begins, until=end, limit=3
    )
    known = max((each.until for day in all_days(root) for each in day.watched), default=since)
    made = BookRows(book, missing(all_days(root), Range(since, max(since, known)), LATEST_MS))
    blocks = []
    while True:
        cursor = None
        for chunk in pages.chunks(root, rows, through):
            if archived.says_something(chunk):
                blocks += made.take(chunk)
            cursor = chunk.cursor
        if cursor is None:
            break
        rows = msgspec.structs.replace(rows, cursor=cursor)
    blocks += made.rest()
    is_tape_read = until is None or known < until
    if is_tape_read:
        assert chunk.book is not UNSET
        book.archived_up_to(chunk.book)
    rest = from_tape(book, later if is_tape_read else [], known)
    return checked([each for block in blocks for each in items_of(block)] + rest)


def from_tape(book: ReplayedBook, later: list[Sent], known: int = 0) -> list[tuple[int, Any]]:
    """What a replay makes of messages of the tape, the last ones."""
    lost, found = False, list[tuple[int, Any]]()
    for each in later:
        if each.lost:
            lost = True
            continue
        if book.over:
            break
        if lost:
            book.interrupt("lost")
            lost = False
        book.message(each.message)
        found += items_of(book.taken())
    return found + items_of(book.rest(known))


def items_of(block: Any) -> list[tuple[int, Any]]:
    return list(zip(block.times, block.items, strict=True))


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
    """What a subscriber must have seen of a range: at first the book after all changes up to its first millisecond."""
    # Of a time after all messages nothing is known.
    first = [book for at, book in told.turns if at <= since <= (told.time or 0)][-1:]
    later = [book for at, book in told.turns if since < at and (until is None or at < until)]
    return [each for each, _ in groupby(sides(book) for book in [*first, *later] if book is not None)]


def times_of(gap: Gap) -> Range:
    """The times of a gap: at least a millisecond."""
    since = -1 if gap.since is None else gap.since
    return Range(since + 1, max(since + 2, LATEST_MS if gap.until is None else gap.until))


def unknown(told: Told) -> list[Range]:
    """When the book was not known. Of a gap that is noted in two rounds each part has at least a millisecond."""
    first = next((at for at, book in told.states if book is not None), LATEST_MS)
    gaps = [Range(begin, max(end, begin + 1) + 1) for begin, end in told.gaps]
    later = Range((told.time or 0) + 1, LATEST_MS)
    return merge(
        [Range(0, first + 1), later, *gaps, *([] if told.lost_at is None else [Range(told.lost_at, LATEST_MS)])]
    )


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
        ends = [n for n, each in enumerate(tape, 1) if n == len(tape) or (each.ends and not each.lost)]
        filed = data.draw(st.sampled_from(ends))
        for sequence, each in enumerate(tape[:filed], 1):
            if not each.lost:
                taken.append((each.message, sequence, before))
            before = last = sequence
            if each.ends or sequence == filed:
                round_of(root, done, taken, last)
                done, taken = last, []
        if closed:
            for day in days.dates_of(root, FEED)[:-1]:
                days.close_day(root, FEED.on(day), None, unchecked)
        assume(days.dates_of(root, FEED))
        times = sorted({at + step for at, _ in told.states for step in (0, 1)}) or [1]
        since = data.draw(st.sampled_from(times))
        until = data.draw(st.sampled_from([None, *(each for each in times if each > since)]))
        found = from_files(root, last, ReplayedBook(OF, since, until, ALL), since, until, tape[filed:])
        assert live(found) == expected(told, since, until), (since, until, told, found)
        gaps = [times_of(each) for each in found if isinstance(each, Gap)]
        for begin, end in told.gaps:
            # One within the first millisecond is over when the replay begins.
            if begin < end and begin >= since and end <= (until or end) and (begin, end) != (since, since + 1):
                assert covers(gaps, Range(begin, end)), (begin, end, gaps)
        for gap in gaps:
            # Nothing is called missing that is known.
            assert covers(unknown(told), gap), (gap, since, until, told)


@settings(max_examples=60, deadline=None, phases=PHASES)
@given(tapes())
def test_books_of_the_tape_are_those_of_its_messages(taped: tuple[list[Sent], Told]) -> None:
    tape, told = taped
    book = ReplayedBook(OF, 1, None, ALL)
    found = checked(from_tape(book, tape))
    assert live(found) == expected(told, 1, None)


def sent(*deltas: BookDelta, ends: bool = False) -> Sent:
    """A message of a tape."""
    received = max(each.timestamp or 0 for each in deltas)
    message = BookDeltas(exchange="binance", symbol="BTC/USDT", received=received, deltas=list(deltas))
    return Sent(message, lost=False, ends=ends)


def delta(number: int, at: int, *bids: Level, snapshot: bool = False) -> BookDelta:
    return BookDelta(
        first=number + snapshot, last=number, timestamp=BEGIN + at, bids=list(bids), asks=[], snapshot=snapshot
    )


def archived_rounds(root: FolderRoot, tape: list[Sent]) -> None:
    """Write the rounds of a tape."""
    LOST.clear()
    taken = list[tuple[BookDeltas, int, int]]()
    for sequence, each in enumerate(tape, 1):
        taken.append((each.message, sequence, sequence - 1))
        if each.ends:
            round_of(root, sequence - len(taken), taken, sequence)
            taken = []


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_delta_without_levels_at_the_end_of_a_round_is_no_gap(tmp_path: Path, rounds: int) -> None:
    """The next delta is in the next round's file, or on the tape."""
    tape = [
        sent(delta(1, 0, (1.0, 1.0), snapshot=True)),
        sent(delta(2, 10, (1.0, 2.0))),
        sent(delta(3, 20), ends=True),
        sent(delta(4, 30, (1.0, 4.0)), ends=True),
    ]
    count = 4 if rounds == 2 else 3
    root = FolderRoot(tmp_path)
    archived_rounds(root, tape[:count])
    found = from_files(root, count, ReplayedBook(OF, BEGIN, None, ALL), BEGIN, None, tape[count:])
    assert [(each.timestamp - BEGIN, each.sequence, each.bids) for each in found] == [
        (0, 1, [(1.0, 1.0)]), (10, 2, [(1.0, 2.0)]), (30, 4, [(1.0, 4.0)]),
    ]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_replay_begins_with_the_last_book_of_its_first_millisecond(tmp_path: Path, count: int) -> None:
    """However much of the tape is in files."""
    tape = [
        sent(delta(1, 0, (1.0, 1.0), snapshot=True), ends=True),
        sent(delta(2, 10, (1.0, 2.0)), ends=True),
        sent(delta(3, 10, (1.0, 3.0)), ends=True),
        sent(delta(4, 30, (1.0, 4.0)), ends=True),
    ]
    root, book, since = FolderRoot(tmp_path), ReplayedBook(OF, BEGIN + 10, None, ALL), BEGIN + 10
    archived_rounds(root, tape[:count])
    found = (
        from_files(root, count, book, since, None, tape[count:])
        if count
        else [each for _, each in from_tape(book, tape)]
    )
    assert [(each.timestamp - BEGIN, each.sequence) for each in found] == [(10, 3), (30, 4)]


@pytest.mark.parametrize("until", [1, 2, 50])
def test_a_book_that_was_lost_and_known_again_within_the_first_millisecond_is_live(tmp_path: Path, until: int) -> None:
    """Though the range ends before the next change, and the archive's gaps have at least a millisecond."""
    tape = [
        sent(delta(1, 0, (1.0, 1.0), snapshot=True)),
        sent(delta(4, 0, (1.0, 4.0), snapshot=True), ends=True),
        sent(delta(5, 50, (1.0, 5.0)), ends=True),
    ]
    root = FolderRoot(tmp_path)
    archived_rounds(root, tape)
    found = from_files(root, 3, ReplayedBook(OF, BEGIN, BEGIN + until, ALL), BEGIN, BEGIN + until, [])
    assert [(each.timestamp - BEGIN, each.state, each.bids) for each in found] == [(0, "live", [(1.0, 4.0)])]


def test_a_book_that_is_lost_where_the_files_end_is_not_live(tmp_path: Path) -> None:
    """Its gap has the millisecond of the last book, too, like one that is over within it."""
    known = [delta(1, -5, (1.0, 1.0), snapshot=True), delta(4, 0, (1.0, 4.0), snapshot=True)]
    root = FolderRoot(tmp_path)
    archived_rounds(root, [sent(*known), sent(delta(7, 1, (1.0, 7.0)), ends=True)])
    found = from_files(root, 3, ReplayedBook(OF, BEGIN, BEGIN + 1, ALL), BEGIN, BEGIN + 1, [])
    assert [each.state for each in found if isinstance(each, Book)] == ["resyncing"]
    assert covers([times_of(each) for each in found if isinstance(each, Gap)], Range(BEGIN, BEGIN + 1))


def test_a_book_that_is_lost_on_the_tape_was_live_before(tmp_path: Path) -> None:
    """Though the archive has nothing of it after the first millisecond but a delta without levels."""
    tape = [sent(delta(1, 0, (1.0, 1.0), snapshot=True)), sent(delta(2, 20), ends=True)]
    later = [Sent(tape[1].message, lost=True, ends=False), sent(delta(4, 30, (1.0, 4.0)))]
    root = FolderRoot(tmp_path)
    archived_rounds(root, tape)
    first, lost, gap = from_files(root, 2, ReplayedBook(OF, BEGIN, None, ALL), BEGIN, None, later)
    assert (first.timestamp, first.state, first.bids) == (BEGIN, "live", [(1.0, 1.0)])
    assert (lost.state, gap.since, gap.reason) == ("resyncing", BEGIN + 19, "lost")


def test_a_book_of_a_day_that_was_closed_meanwhile_names_its_last_message(tmp_path: Path) -> None:
    """There the tape goes on: with a message that is in it, the book would seem to be interrupted."""
    tape = [sent(delta(number, number * 10, (1.0, 1.0), snapshot=number == 1), ends=True) for number in range(1, 5)]
    root, read = FolderRoot(tmp_path), Through(GENERATION, 2)
    archived_rounds(root, tape)
    assert book_at.book_at(root, FEED, BEGIN + 100, read)[1:3] == (2, 2)
    (date,) = days.dates_of(root, FEED)
    days.close_day(root, FEED.on(date), None, unchecked)
    assert book_at.book_at(root, FEED, BEGIN + 100, read)[1:3] == (4, 4)


@pytest.mark.parametrize("count", [0, 2, 3])
def test_a_publishers_clock_that_is_ahead_moves_no_change(tmp_path: Path, count: int) -> None:
    """A message without deltas has no time but that of its receipt."""
    ahead = BookDeltas(exchange="binance", symbol="BTC/USDT", received=BEGIN + 2 * DAY, deltas=[])
    tape = [
        sent(delta(1, 0, (1.0, 1.0), snapshot=True), delta(2, 10, (1.0, 2.0)), ends=True),
        Sent(ahead, lost=False, ends=True),
        sent(delta(4, 50, (1.0, 4.0), snapshot=True), ends=True),
    ]
    root, book = FolderRoot(tmp_path), ReplayedBook(OF, BEGIN, None, ALL)
    archived_rounds(root, tape[:count])
    found = from_files(root, count, book, BEGIN, None, tape[count:]) if count else checked(from_tape(book, tape))
    books = [(each.timestamp - BEGIN, each.sequence) for each in found if isinstance(each, Book) and each.timestamp]
    assert books == [(0, 1), (10, 2), (50, 4)]
    assert merge(times_of(each) for each in found if isinstance(each, Gap)) == [Range(BEGIN + 10, BEGIN + 50)]
    assert len(days.dates_of(root, FEED)) == (1 if count else 0)


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
