"""The parts of books: deltas in memory for the length of a round, then one file for each book and day.

Each file begins with a snapshot, so that it can be replayed by itself: that of the tape, or the book at the end of the
file before. So what a part has depends on the messages up to its last one, as that of trades does (parts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tickwire.archive_files.book_chain import BookChain, declared_until
from tickwire.archive_files.book_rows import DeltaColumns, FiledBook, RowFields, levels_of
from tickwire.archive_files.certificate import gap_times
from tickwire.archive_files.chained_rows import EXPIRED, GAP_DAYS, UNREADABLE, Part
from tickwire.archive_files.file_meta import FileMeta, Unit
from tickwire.archive_files.layout import DAY_MS, ArchivedFeed, Sequences, begin_of, date_of
from tickwire.model.feeds.tape import BookDeltas
from tickwire.model.messages.archive import ArchivedGap
from tickwire.model.ranges import Range

NO_FILES = "the files before are not there"
BookBefore = Callable[[ArchivedFeed, int, int], FiledBook | None]
"""The book of a feed after the messages up to a sequence of a generation; blocks."""


class _Taken(NamedTuple):
    """A message of a round, and why the book is not known before it; empty if it may be."""

    message: BookDeltas
    sequence: int
    lost: str


@dataclass
class _Taking:
    """The messages of a feed in a round. `begins`: following the feed begins with the first one."""

    begins: bool
    messages: list[_Taken] = field(default_factory=list)


@dataclass
class _DayRows:
    """What a day of a feed has of a round, and the number of the book's last update after it."""

    columns: DeltaColumns = field(default_factory=DeltaColumns)
    update: int | None = None


class BookPartRows:
    """The rows of one round of one stream of deltas, in memory; see `ChainedRows`."""

    message = BookDeltas

    def __init__(self, generation: int, done: int, before: BookBefore) -> None:
        self.rows = 0
        self._generation = generation
        self._done = done
        self._before = before
        self._feeds: dict[ArchivedFeed, _Taking] = {}

    def append(self, message: BookDeltas, sequence: int, prev: int | None, lost: str = "") -> int | None:
        """Add a message, as `ChainedRows.append`."""
        feed = ArchivedFeed("book_delta", message.exchange, message.symbol)
        taking = self._feeds.get(feed)
        if taking is None:
            begins = prev == 0 or self._done == 0
            taking = self._feeds[feed] = _Taking(begins)
            if not begins and (prev is None or prev > self._done):
                lost = lost or EXPIRED
        taking.messages.append(_Taken(message, sequence, lost))
        self.rows += 1 + sum(1 + len(each.bids) + len(each.asks) for each in message.deltas)
        return declared_until(message)

    def unreadable(self, feed: ArchivedFeed, received: int, lost: str) -> tuple[BookDeltas, str]:
        """What stands for a message that cannot be read, and why: the book is not known after it."""
        stands = BookDeltas(exchange=feed.exchange, symbol=feed.symbol, received=received, deltas=[])
        return stands, lost or UNREADABLE

    def parts(self, last: int) -> Iterator[Part]:
        """The parts of the round that ends with message `last`. Reads the files before. Raises StorageError."""
        covered = Sequences(self._generation, self._done + 1, last)
        for feed, taking in self._feeds.items():
            before = None if taking.begins else self._before(feed, self._generation, self._done)
            yield from _FeedParts(feed, covered, before, taking).parts()


class _FeedParts:
    """Makes the parts of one feed."""

    def __init__(self, feed: ArchivedFeed, covered: Sequences, before: FiledBook | None, taking: _Taking) -> None:
        self._feed = feed
        self._covered = covered
        self._taking = taking
        self._before = before
        self._days: dict[int, _DayRows] = {}
        self._gaps: list[tuple[ArchivedGap, int]] = []
        """Each with the day on which it ends."""
        self._since: int | None = None
        self._begin: int | None = None
        """The day on which following the feed begins, if it does."""
        self._day = self._first_day = 0 if before is None else _number(begin_of(before.day))
        """The day of the last message: those of a book are in the order of the tape, also around midnight."""
        if before is None:
            self._chain = BookChain()
            if not taking.begins and not taking.messages[0].lost:
                self._chain.interrupt(NO_FILES, None)
            return
        self._chain = BookChain(before.update, before.until)
        if before.update is None and before.until is not None:
            self._chain.interrupt(before.lost, before.until)

    def parts(self) -> Iterator[Part]:
        """One for each day."""
        for taken in self._taking.messages:
            self._take(taken)
        chain = self._chain
        if (gap := chain.gap()) is not None:
            self._add_gap(gap)
        watched = [] if self._since is None or chain.until is None else [Range(self._since, chain.until)]
        for day, rows in sorted(self._days.items()):
            of = self._feed.on(date_of(day * DAY_MS))
            meta = FileMeta.of(
                of,
                unit=Unit(None),
                covered=[self._covered],
                continues=not self._taking.begins or (self._begin is not None and day > self._begin),
                watched=watched,
                until=chain.until,
                gaps=[gap for gap, last in self._gaps if gap.since is not None or day <= last],
                update=rows.update,
            )
            yield Part(of, meta, rows.columns.table())

    def _take(self, taken: _Taken) -> None:
        message, chain = taken.message, self._chain
        if taken.lost:
            chain.interrupt(taken.lost, chain.until)
        chain.open(message)
        if not message.deltas:
            self._rows_at(message.received if chain.until is None else chain.until).update = chain.update
            self._since = chain.until if self._since is None else self._since
        for delta in message.deltas:
            # Before the book changes: a day begins with the book as it was.
            timestamp = message.received if delta.timestamp is None else delta.timestamp
            begins_anew = delta.snapshot and delta.last != chain.update
            rows = self._rows_at(timestamp, with_book=not begins_anew)
            step = chain.take(delta, message.received)
            if step.gap is not None:
                self._add_gap(step.gap)
            if step.action in ("begins", "changes"):
                is_snapshot = step.action == "begins"
                at = RowFields(step.timestamp, message.received, is_snapshot, delta.last, taken.sequence)
                rows.columns.add(delta.bids, delta.asks, at)
            rows.update = chain.update
            if self._since is None and (chain.update is not None or chain.lost is not None):
                self._since = step.timestamp
                self._begin = self._day

    def _rows_at(self, timestamp: int, *, with_book: bool = True) -> _DayRows:
        """The rows of the day of a time (ms), or of a later one that has begun."""
        before, self._day = self._day, max(self._day, _number(timestamp))
        found = self._days.get(self._day)
        if found is not None and (found.columns.price or not with_book):
            return found
        found = self._days.setdefault(self._day, _DayRows())
        if with_book and self._chain.update is not None:
            self._state_book(found, self._days.get(before))
        return found

    def _state_book(self, rows: _DayRows, earlier: _DayRows | None) -> None:
        """Begin a day with the book as it is at the end of the rows before."""
        levels = None
        if earlier is not None and earlier is not rows:
            levels = levels_of(earlier.columns.table())
        elif self._before is not None:
            levels = self._before.levels
        assert self._chain.update is not None
        assert self._chain.until is not None
        if levels is not None:
            timestamp = max(self._chain.until, self._day * DAY_MS)
            # The number of the last row, not of a later change without levels: so a reader sees that none is missing.
            at = RowFields(timestamp, levels.received, True, levels.update, levels.sequence)
            rows.columns.add(levels.bids, levels.asks, at)

    def _add_gap(self, gap: ArchivedGap) -> None:
        """Note a gap on its days."""
        times = gap_times(gap)
        last = min(max(_number(times.until - 1), self._first_day), self._day)
        self._gaps.append((gap, last))
        first = max(last - GAP_DAYS + 1, _number(times.since)) if gap.since is not None else last
        for day in range(max(0, first), last + 1):
            self._days.setdefault(day, _DayRows())


def _number(moment: int) -> int:
    """The number of a day since 1970."""
    return moment // DAY_MS
