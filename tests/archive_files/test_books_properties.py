"""Any deltas in any rounds: each file can be replayed by itself, and the book at a moment is right, or refused."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from archive.written_books import Book, replayed, sides
from archive_files.taped import BEGIN, DAY, GENERATION, HOUR, unchecked
from tickwire.archive_files import days
from tickwire.archive_files.book_at import book_at
from tickwire.archive_files.book_parts import BookPartRows
from tickwire.archive_files.book_rows import book_before
from tickwire.archive_files.layout import ArchivedFeed, Through
from tickwire.archive_files.parts import write_part
from tickwire.archive_files.root import FolderRoot
from tickwire.errors import BookUnknown
from tickwire.model.feeds import BookDelta, BookDeltas

pytestmark = pytest.mark.pure

FEED = ArchivedFeed("book_delta", "binance", "BTC/USDT")
LEVELS = [("bid", 1.0), ("bid", 2.0), ("bid", 3.0), ("ask", 4.0), ("ask", 5.0), ("ask", 6.0)]


@dataclass
class Told:
    """What an archive of a tape must say, from its messages one after another."""

    book: Book | None = None
    """None while it is not known."""
    time: int | None = None
    """The latest time of a delta."""
    lost_at: int | None = None
    begun: bool = False
    states: list[tuple[int, Book | None]] = field(default_factory=list)
    """The time and the book after each delta."""
    turns: list[tuple[int, Book | None]] = field(default_factory=list)
    """The same, and when it was lost."""
    gaps: list[tuple[int, int]] = field(default_factory=list)
    books: dict[int, Book] = field(default_factory=dict)
    """By the number of the last update."""

    def lose(self) -> None:
        if self.book is not None or (self.begun and self.lost_at is None):
            self.lost_at = self.time
            self.turns.append((self.time or 0, None))
        self.book = None

    def after(self, timestamp: int, book: Book | None) -> None:
        """A delta led to this book; None if it leads to none."""
        self.time = max(self.time or 0, timestamp)
        if book is not None and self.lost_at is not None:
            self.gaps.append((self.lost_at, max(self.lost_at + 1, self.time)))
            self.lost_at = None
        self.begun = self.begun or book is not None
        self.book = None if book is None else dict(book)
        self.states.append((self.time, self.book))
        self.turns.append(self.states[-1])

    def at(self, time: int) -> Book | None:
        """The book at a time; after the last message the one that this leads to."""
        if self.time is None or time >= self.time:
            return self.book
        in_gap = any(since <= time < until for since, until in self.gaps)
        if in_gap or (self.lost_at is not None and time >= self.lost_at):
            return None
        return next((book for at, book in reversed(self.states) if at <= time), None)


@dataclass(frozen=True)
class Sent:
    """A message of the tape; `lost`: it was never read. A round ends after it if `ends`."""

    message: BookDeltas
    lost: bool
    ends: bool


@st.composite
def tapes(draw: st.DrawFn) -> tuple[list[Sent], Told]:
    """Messages of one book, as its publisher puts them on the tape."""
    told, sent = Told(), list[Sent]()
    time, number = BEGIN + draw(st.integers(0, 5)) * HOUR, draw(st.integers(0, 3))
    book: Book = {}
    broken, unread = True, False
    for _ in range(draw(st.integers(1, 14))):
        kind = draw(st.sampled_from(["delta", "delta", "delta", "repeats", "resync", "owner"]))
        time += draw(st.sampled_from([0, 1, HOUR, 3 * HOUR, 9 * HOUR]))
        deltas = list[BookDelta]()
        after = list[tuple[int, Book]]()
        latency = draw(st.sampled_from([0, 2]))
        is_timed = draw(st.booleans())
        timestamp = time if is_timed else None
        effective = time if is_timed else time + latency
        if kind == "owner":
            broken = True
        elif kind == "resync" or broken:
            broken = False
            number += draw(st.integers(1, 3))
            book = {each: float(draw(st.integers(1, 3))) for each in LEVELS if draw(st.booleans())}
            told.books[number] = book
            deltas += whole(book, number, timestamp, parts=draw(st.integers(1, 2)))
        elif kind == "repeats":
            deltas += whole(book, number, timestamp, parts=draw(st.integers(1, 2)))
        else:
            for _ in range(draw(st.integers(1, 2))):
                changes = draw(st.dictionaries(st.sampled_from(LEVELS), st.sampled_from([0.0, 1.0, 2.0]), max_size=3))
                book = {level: amount for level, amount in (book | changes).items() if amount}
                bids, asks = sides(changes)
                deltas.append(BookDelta(first=number + 1, last=number + 1, timestamp=timestamp, bids=bids, asks=asks))
                number += 1
                told.books[number] = book
                after.append((effective, book))
        message = BookDeltas(exchange="binance", symbol="BTC/USDT", received=time + latency, deltas=deltas)
        lost = bool(sent) and draw(st.integers(0, 9)) == 0
        sent.append(Sent(message, lost, draw(st.booleans())))
        if lost:
            unread = True
            continue
        if unread or not deltas:
            told.lose()
            unread = False
        snapshot = bool(deltas) and deltas[0].snapshot
        if snapshot:
            if kind == "resync" or told.book is None:
                told.lose()
            told.after(effective, book)
        for at, state in after:
            told.after(at, state if told.book is not None else None)
    return sent, told


def whole(book: Book, number: int, timestamp: int | None, parts: int) -> list[BookDelta]:
    """A snapshot, in one delta or with a continuation."""
    levels = sorted(book.items())
    half = len(levels) if parts == 1 else len(levels) // 2
    found = []
    for part, some in enumerate([levels[:half], levels[half:]][:parts]):
        bids, asks = sides(dict(some))
        first = number if part else number + 1
        found.append(BookDelta(first=first, last=number, timestamp=timestamp, bids=bids, asks=asks, snapshot=not part))
    return found


def round_of(root: FolderRoot, done: int, taken: list[tuple[BookDeltas, int, int]], last: int) -> list[Any]:
    rows = BookPartRows(GENERATION, done, lambda feed, generation, done: book_before(root, feed, generation, done))
    before = None
    for message, sequence, prev in taken:
        # As `Round` has it: a message that was not read is a gap before the next one.
        is_lost = before is not None and prev != before
        rows.append(
            message, sequence, prev if before is not None or prev not in LOST else None, "lost" if is_lost else ""
        )
        before = sequence
    made = list(rows.parts(last))
    for part in made:
        write_part(root, part)
    return made


LOST = set[int]()
"""Sequences of messages that were never read, of the tape at hand."""


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate, Phase.shrink])
@given(tapes(), st.booleans())
def test_the_book_at_any_moment_is_right_or_refused(taped: tuple[list[Sent], Told], closed: bool) -> None:
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
                # A round that is written again has the same parts.
                once, again = (round_of(root, done, taken, last) for _ in range(2))
                assert [(part.path, part.meta, part.rows.to_pylist()) for part in once] == [
                    (part.path, part.meta, part.rows.to_pylist()) for part in again
                ]
                done, taken = last, []
        if closed:
            for day in days.dates_of(root, FEED)[:-1]:
                days.close_day(root, FEED.on(day), None, unchecked)
        for path in Path(folder).rglob("*.parquet"):
            # Each file leads to the book at its end, without any other.
            rows = pq.ParquetFile(path).read().to_pylist()
            assert [row["timestamp"] for row in rows] == sorted(row["timestamp"] for row in rows)
            if rows:
                assert replayed(rows) == told.books[rows[-1]["update"]]
        times = {at + step for at, _ in told.states for step in (-1, 0, 1)} | {BEGIN}
        for time in sorted(times):
            expected = told.at(time)
            try:
                found = book_at(root, FEED, time, Through(GENERATION, last))
            except BookUnknown:
                # A gap has at least a millisecond, and one that is noted in two rounds at least two.
                assert expected is None or told.at(time - 1) is None, (time, told)
                continue
            if found.levels is None:
                assert expected is None, (time, told)
            else:
                assert (found.levels.bids, found.levels.asks) == sides(expected or {}), (time, told)
                assert expected is not None, (time, told)


def test_files_of_later_days_are_not_read_for_an_earlier_book(tmp_path: Path) -> None:
    root = FolderRoot(tmp_path)
    LOST.clear()
    for number in range(1, 4):
        time = BEGIN + (number - 1) * DAY + HOUR
        delta = BookDelta(
            first=number, last=number, timestamp=time, bids=[(float(number), 1.0)], asks=[], snapshot=number == 1
        )
        message = BookDeltas(exchange="binance", symbol="BTC/USDT", received=time, deltas=[delta])
        round_of(root, number - 1, [(message, number, number - 1)], number)
    first, second, _ = dates = days.dates_of(root, FEED)
    assert len(dates) == 3
    for each in (first, second):
        days.close_day(root, FEED.on(each), None, unchecked)
    (tmp_path / FEED.on(second).data).write_bytes(b"damaged")
    found = book_at(root, FEED, BEGIN + 2 * HOUR, Through(GENERATION, 3))
    assert found.levels is not None
    assert found.levels.bids == [(1.0, 1.0)]


@pytest.mark.parametrize("closed", [False, True])
def test_two_snapshots_in_a_row_in_one_message_are_two_books(tmp_path: Path, closed: bool) -> None:
    """A book that is resynchronised twice within the 10 ms for which deltas wait for company."""
    LOST.clear()
    root, first, second = FolderRoot(tmp_path), {("bid", 1.0): 5.0, ("ask", 4.0): 5.0}, {("bid", 2.0): 7.0}
    deltas = [*whole(first, 3, BEGIN, parts=1), *whole(second, 8, BEGIN + 1, parts=1)]
    message = BookDeltas(exchange="binance", symbol="BTC/USDT", received=BEGIN + 2, deltas=deltas)
    round_of(root, 0, [(message, 1, 0)], 1)
    (day,) = days.dates_of(root, FEED)
    if closed:
        days.close_day(root, FEED.on(day), None, unchecked)
    (path,) = tmp_path.rglob("*.parquet")
    assert replayed(pq.ParquetFile(path).read().to_pylist()) == second
    found = book_before(root, FEED, GENERATION, 1)
    assert found is not None
    assert found.levels is not None
    assert (found.levels.bids, found.levels.asks) == sides(second)
