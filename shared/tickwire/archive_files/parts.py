"""The parts of an open day: rows in memory for the length of a round, then one file for each feed and day.

A round is the messages `first` to `last` of a stream. What its parts have depends on these messages alone, so whoever
writes them again writes the same files.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from tickwire.archive_files.certificate import gap_times
from tickwire.archive_files.file_meta import FileMeta, Unit
from tickwire.archive_files.layout import DAY_MS, ArchivedFeed, FeedDay, Sequences, date_of
from tickwire.archive_files.root import Root
from tickwire.archive_files.schema import ROW_GROUP, TRADES, with_meta, writing_of
from tickwire.model.feeds.tape import Gap, Trades
from tickwire.model.messages.archive import ArchivedGap
from tickwire.model.ranges import Range
from tickwire.model.times import LATEST_MS

UNREADABLE = "a message of the tape cannot be read"
EXPIRED = "messages expired on the tape before the archive read them"
CLOCKS_MS = 60_000
"""How much later than the clock here an exchange's may be."""
GAP_DAYS = 31
"""A gap is noted on so many of its days at most, the newest: it may be as long as a feed was stopped."""


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


@dataclass
class _Columns:
    """Rows of a feed and day."""

    timestamp: array[int] = field(default_factory=lambda: array("q"))
    received: array[int] = field(default_factory=lambda: array("q"))
    id: list[str | None] = field(default_factory=list)
    side: list[str | None] = field(default_factory=list)
    price: array[float] = field(default_factory=lambda: array("d"))
    amount: array[float] = field(default_factory=lambda: array("d"))
    source: list[str] = field(default_factory=list)
    sequence: array[int] = field(default_factory=lambda: array("q"))

    def table(self) -> Any:
        """The rows as a pyarrow.Table, which shares the memory of the numbers."""
        types = {each.name: each.type for each in TRADES}
        columns = []
        for name, kind in types.items():
            values = getattr(self, name)
            if isinstance(values, array):
                columns.append(pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)]))
            else:
                columns.append(pa.array(values, pa.string()).cast(kind))
        return pa.Table.from_arrays(columns, schema=TRADES)


@dataclass
class _FeedRows:
    """What a round has of a feed."""

    begins: int | None
    """The day, as in `days`, of its first message, if watching begins with that."""
    unit: Unit
    since: int | None = None
    until: int | None = None
    gaps: list[tuple[ArchivedGap, int]] = field(default_factory=list)
    """Each with the day on which it ends."""
    days: dict[int, _Columns] = field(default_factory=dict)
    """By the number of the day since 1970."""

    def columns(self, day: int) -> _Columns:
        found = self.days.get(day)
        if found is None:
            found = self.days[day] = _Columns()
        return found


class PartRows:
    """The rows of one round of one stream, in memory; the caller bounds them by `rows`.

    `generation` is when the stream was created (ms), `done` the last message of the round before, 0 if there is none.
    """

    def __init__(self, generation: int, done: int) -> None:
        self.rows = 0
        self._generation = generation
        self._done = done
        self._feeds: dict[tuple[str, str], _FeedRows] = {}

    def until(self, exchange: str, symbol: str) -> int | None:
        """The time (ms) before which every trade of a feed is on the tape, as its messages of this round say."""
        found = self._feeds.get((exchange, symbol))
        return found.until if found else None

    def append(self, message: Trades, sequence: int, prev: int | None, lost: str = "") -> int | None:
        """Add a message; `prev` is the sequence of the feed's message before it, 0 if there is none, None if unknown.

        Messages come in the order of their sequences. `lost` says why messages between the one before and this one are
        missing, if there are such. Returns the time (ms) before which every row is there or in a gap, if this message
        declares one.
        """
        if lost:
            message = msgspec.structs.replace(message, gap=missing_before(message, lost))
        unit = Unit(message.multiplier, message.inverse)
        feed = self._feeds.get((message.exchange, message.symbol))
        if feed is None:
            feed = self._begun(message, unit, prev)
        elif feed.unit != unit:
            feed.unit = feed.unit.merged(unit)
        if message.gap is not None:
            self._add_gap(feed, _archived(message.gap), message)
        received, source = message.received, message.source
        for trade in message.trades:
            columns = feed.columns(trade.timestamp // DAY_MS)
            columns.timestamp.append(trade.timestamp)
            columns.received.append(received)
            columns.id.append(trade.id)
            columns.side.append(trade.side)
            columns.price.append(trade.price)
            columns.amount.append(trade.amount)
            columns.source.append(source)
            columns.sequence.append(sequence)
        self.rows += len(message.trades)
        if message.until is not None:
            feed.since = message.until if feed.since is None else feed.since
            feed.until = max(message.until, feed.until or 0)
        return message.until

    def unreadable(self, feed: ArchivedFeed, received: int) -> Trades:
        """What stands for a message that cannot be read, stored at a time (ms): a gap."""
        gap = Gap(since=None, until=None, reason=UNREADABLE)
        return Trades(exchange=feed.exchange, symbol=feed.symbol, trades=[], received=received, gap=gap)

    def _begun(self, message: Trades, unit: Unit, prev: int | None) -> _FeedRows:
        """The rows of a feed that has none yet in this round."""
        # The first message of all, or the archive's first start: watching begins here.
        begins = prev == 0 or self._done == 0
        feed = _FeedRows(_time_of(message) // DAY_MS if begins else None, unit)
        self._feeds[message.exchange, message.symbol] = feed
        if not begins and (prev is None or prev > self._done):
            self._add_gap(feed, _archived(missing_before(message, EXPIRED)), message)
        return feed

    def _add_gap(self, feed: _FeedRows, gap: ArchivedGap, message: Trades) -> None:
        """Note a gap on its days."""
        times = gap_times(gap)
        last = (times.until - 1 if gap.until is not None else _time_of(message)) // DAY_MS
        if not feed.gaps or feed.gaps[-1] != (gap, last):
            # Otherwise each of many messages in a row that cannot be read would be in the metadata.
            feed.gaps.append((gap, last))
        first = max(last - GAP_DAYS + 1, times.since // DAY_MS) if gap.since is not None else last
        for day in range(max(0, first), last + 1):
            feed.columns(day)

    def parts(self, last: int) -> Iterator[Part]:
        """The parts of the round that ends with message `last`; a feed without anything to note has none."""
        covered = Sequences(self._generation, self._done + 1, last)
        for (exchange, symbol), feed in self._feeds.items():
            begins = feed.begins
            if begins is not None:
                # What is before the first time known to be complete is not watched.
                begins = begins if feed.since is None else feed.since // DAY_MS
                feed.columns(begins)
            watched = [] if feed.since is None or feed.until is None else [Range(feed.since, feed.until)]
            for day, columns in sorted(feed.days.items()):
                of = ArchivedFeed("trade", exchange, symbol).on(date_of(day * DAY_MS))
                meta = FileMeta.of(
                    of,
                    unit=feed.unit,
                    covered=[covered],
                    continues=begins is None or day > begins,
                    watched=watched,
                    until=feed.until,
                    # One that begins where the file before ends must not begin at the end of these.
                    gaps=[gap for gap, last_day in feed.gaps if gap.since is not None or day <= last_day],
                )
                yield Part(of, meta, columns.table())


def write_part(root: Root, part: Part) -> None:
    """Write a part, whole and durable; one of the same name is replaced. Raises StorageError."""
    schema = with_meta(part.rows.schema, part.meta)
    with root.writing(part.path) as file, pq.ParquetWriter(file, schema, **writing_of(part.day.kind)) as writer:
        writer.write_table(part.rows.cast(schema), row_group_size=ROW_GROUP)


def missing_before(message: Trades, reason: str) -> Gap:
    """The gap of messages that were lost before this one; where it begins is for the files before to say.

    It ends with the message's first trade. Without one the lost trades may be later than what the message declares
    complete, but not than its receipt, by the exchange's clock.
    """
    if message.trades:
        first = message.trades[0]
        return Gap(since=None, until=first.timestamp, before_id=first.id, reason=reason)
    until = max(message.received + CLOCKS_MS, (message.until or 0) + 1)
    return Gap(since=None, until=min(until, LATEST_MS), reason=reason)


def _archived(gap: Gap) -> ArchivedGap:
    return ArchivedGap(
        since=gap.since, until=gap.until, after_id=gap.after_id, before_id=gap.before_id, reason=gap.reason
    )


def _time_of(message: Trades) -> int:
    """When a message begins, ms: its first trade, else what it declares complete, else its receipt."""
    if message.trades:
        return message.trades[0].timestamp
    return message.received if message.until is None else message.until
