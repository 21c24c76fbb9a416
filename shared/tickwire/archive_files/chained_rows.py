"""The parts of feeds whose messages name the one before them: rows in memory for the length of a round.

What is the same for every such kind: where following a feed begins, what is missing, and what each part says of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from msgspec import UNSET, UnsetType

from tickwire.archive_files.certificate import gap_times
from tickwire.archive_files.file_meta import FileMeta, Unit
from tickwire.archive_files.layout import DAY_MS, ArchivedFeed, FeedDay, Sequences, date_of
from tickwire.model.feeds.tape import Ticker, Trades
from tickwire.model.messages.archive import ArchivedGap, EndRow
from tickwire.model.ranges import Range
from tickwire.model.times import LATEST_MS

UNREADABLE = "a message of the tape cannot be read"
EXPIRED = "messages expired on the tape before the archive read them"
CLOCKS_MS = 60_000
"""How much later than the clock here an exchange's may be."""
GAP_DAYS = 31
"""A gap is noted on so many of its days at most, the newest: it may be as long as a feed was stopped."""

M = TypeVar("M", Trades, Ticker)


@dataclass(frozen=True)
class Part:
    """A part that is ready to be written."""

    day: FeedDay
    meta: FileMeta
    rows: Any
    """A pyarrow.Table."""

    @property
    def path(self) -> str:
        """Where it is written."""
        return f"{self.day.folder}/{self.meta.covered[0].part}"


class Columns(Protocol):
    """Rows of a feed and day."""

    def table(self) -> Any:
        """The rows as a pyarrow.Table."""


@dataclass
class FeedRows:
    """What a round has of a feed."""

    begins: int | None
    """The day, as in `days`, of its first message, if watching begins with that."""
    unit: Unit
    since: int | None = None
    until: int | None = None
    last: EndRow | None = None
    """The last row of the tape, of kinds whose rows may be later than what is declared complete."""
    gaps: list[tuple[ArchivedGap, int]] = field(default_factory=list)
    """Each with the day on which it ends."""
    days: dict[int, Any] = field(default_factory=dict)
    """The columns, by the number of the day since 1970."""


class ChainedRows(Generic[M]):
    """The rows of one round of one stream, in memory; the caller bounds them by `rows`.

    `generation` is when the stream was created (ms), `done` the last message of the round before, 0 if there is none.
    """

    kind: ClassVar[str]
    message: ClassVar[type]
    columns: ClassVar[Callable[[], Columns]]

    def __init__(self, generation: int, done: int) -> None:
        self.rows = 0
        self._generation = generation
        self._done = done
        self._feeds: dict[tuple[str, str], FeedRows] = {}

    def until(self, exchange: str, symbol: str) -> int | None:
        """The time (ms) before which every row of a feed is on the tape, as its messages of this round say."""
        found = self._feeds.get((exchange, symbol))
        return found.until if found else None

    def append(self, message: M, sequence: int, prev: int | None, lost: str = "") -> int | None:
        """Add a message; `prev` is the sequence of the feed's message before it, 0 if there is none, None if unknown.

        Messages come in the order of their sequences. `lost` says why messages between the one before and this one are
        missing, if there are such. Returns the time (ms) before which every row is there or in a gap, if this message
        declares one.
        """
        unit = self.unit_of(message)
        feed = self._feeds.get((message.exchange, message.symbol))
        if feed is None:
            feed = self._begun(message, unit, prev)
        elif feed.unit != unit:
            feed.unit = feed.unit.merged(unit)
        gap = self.missing_before(message, lost, feed) if lost else self.gap_of(message, feed)
        if gap is not None:
            self._add_gap(feed, gap, message)
        self.rows += self.add(feed, message, sequence)
        until = self.until_of(message)
        if until is not None:
            feed.since = until if feed.since is None else feed.since
            feed.until = max(until, feed.until or 0)
        return until

    # ---- what a kind says of a message

    def unreadable(self, feed: ArchivedFeed, received: int, lost: str) -> tuple[M, str]:
        """What stands for a message that cannot be read, stored at a time (ms), and `lost` of it as in `append`."""
        raise NotImplementedError

    def add(self, feed: FeedRows, message: M, sequence: int) -> int:
        """Add the rows of a message to the columns of their days; how many there are."""
        raise NotImplementedError

    def gap_of(self, message: M, feed: FeedRows) -> ArchivedGap | None:
        """What the message says is missing before it. `feed` has what the round has of it so far."""
        raise NotImplementedError

    def missing_before(self, message: M, reason: str, feed: FeedRows | None) -> ArchivedGap:
        """The gap of messages that were lost before this one. Without `feed`, the files before say where it begins."""
        raise NotImplementedError

    def until_of(self, message: M) -> int | None:
        """The time (ms) before which every row is there up to this message, if it declares one."""
        raise NotImplementedError

    def time_of(self, message: M) -> int:
        """When the message begins, ms."""
        raise NotImplementedError

    def unit_of(self, message: M) -> Unit:
        """The unit of the amounts of a message."""
        raise NotImplementedError

    def last_of(self, columns: Any) -> EndRow | UnsetType:
        """The last row of a day, of kinds for which `FeedRows.last` is kept."""
        return UNSET

    # ---- the parts

    def day(self, feed: FeedRows, number: int) -> Any:
        """The columns of a day."""
        found = feed.days.get(number)
        if found is None:
            found = feed.days[number] = type(self).columns()
        return found

    def _begun(self, message: M, unit: Unit, prev: int | None) -> FeedRows:
        """The rows of a feed that has none yet in this round."""
        # The first message of all, or the archive's first start: watching begins here.
        begins = prev == 0 or self._done == 0
        feed = FeedRows(self.time_of(message) // DAY_MS if begins else None, unit)
        self._feeds[message.exchange, message.symbol] = feed
        if not begins and (prev is None or prev > self._done):
            self._add_gap(feed, self.missing_before(message, EXPIRED, None), message)
        return feed

    def _add_gap(self, feed: FeedRows, gap: ArchivedGap, message: M) -> None:
        """Note a gap on its days."""
        times = gap_times(gap)
        last = (times.until - 1 if gap.until is not None else self.time_of(message)) // DAY_MS
        if not feed.gaps or feed.gaps[-1] != (gap, last):
            # Otherwise each of many messages in a row that cannot be read would be in the metadata.
            feed.gaps.append((gap, last))
        first = max(last - GAP_DAYS + 1, times.since // DAY_MS) if gap.since is not None else last
        for day in range(max(0, first), last + 1):
            self.day(feed, day)

    def parts(self, last: int) -> Iterator[Part]:
        """The parts of the round that ends with message `last`; a feed without anything to note has none."""
        covered = Sequences(self._generation, self._done + 1, last)
        for (exchange, symbol), feed in self._feeds.items():
            begins = feed.begins
            if begins is not None:
                # What is before the first time known to be complete is not watched.
                begins = begins if feed.since is None else feed.since // DAY_MS
                self.day(feed, begins)
            watched = [] if feed.since is None or feed.until is None else [Range(feed.since, feed.until)]
            for day, columns in sorted(feed.days.items()):
                of = ArchivedFeed(self.kind, exchange, symbol).on(date_of(day * DAY_MS))
                meta = FileMeta.of(
                    of,
                    unit=feed.unit,
                    covered=[covered],
                    continues=begins is None or day > begins,
                    watched=watched,
                    until=feed.until,
                    # One that begins where the file before ends must not begin at the end of these.
                    gaps=[gap for gap, last_day in feed.gaps if gap.since is not None or day <= last_day],
                    last=self.last_of(columns),
                )
                yield Part(of, meta, columns.table())


def lost_until(received: int, until: int | None) -> int:
    """The end (ms) of a gap before a message without rows, `received` at a time and complete `until` one.

    The lost rows may be later than what the message declares complete, but not than its receipt, by the exchange's
    clock.
    """
    return min(max(received + CLOCKS_MS, (until or 0) + 1), LATEST_MS)
