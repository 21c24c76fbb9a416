"""Books in the rows of the archive's files: the book that rows lead to, and rows that state a book.

A snapshot is the rows of one message and update number with `is_snapshot`, one after the other; it begins a new book.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET, UnsetType

from tickwire.archive_files.book_chain import RESYNCHRONISED
from tickwire.archive_files.file_meta import FileMeta
from tickwire.archive_files.layout import ArchivedFeed, Sequences, sequences_of
from tickwire.archive_files.reading import open_parquet
from tickwire.archive_files.root import Absent, Root
from tickwire.archive_files.schema import BOOK_DELTAS, meta_of
from tickwire.errors import StorageError
from tickwire.model.feeds.tape import Level
from tickwire.model.messages.archived_trades import BookEnd

T = TypeVar("T")
LISTINGS = 10
"""How often files may vanish between their listing and their reading before that is an error."""


class Levels(NamedTuple):
    """The levels of a book, best first, and the fields of the last row that is in it; times in ms."""

    bids: list[Level]
    asks: list[Level]
    timestamp: int
    received: int
    update: int
    sequence: int


class FiledBook(NamedTuple):
    """A book as of the end of a file, `until` (ms), after the exchange's update number `update`.

    `levels` and `update` are None where the book is not known, because of `lost`, `until` where it never was. `day` is
    that of the file, `sequence` the last message of the stream that is in it or in an earlier one.
    """

    day: date
    sequence: int
    update: int | None
    until: int | None
    levels: Levels | None
    lost: str = RESYNCHRONISED


@dataclass
class DeltaColumns:
    """Rows of a book and day."""

    timestamp: array[int] = field(default_factory=lambda: array("q"))
    received: array[int] = field(default_factory=lambda: array("q"))
    side: list[str | None] = field(default_factory=list)
    price: array[float] = field(default_factory=lambda: array("d"))
    amount: array[float] = field(default_factory=lambda: array("d"))
    is_snapshot: list[bool] = field(default_factory=list)
    update: array[int] = field(default_factory=lambda: array("q"))
    sequence: array[int] = field(default_factory=lambda: array("q"))

    def add(self, bids: Iterable[Level], asks: Iterable[Level], at: RowFields) -> None:
        """Add levels; a snapshot without any is one row without side."""
        before = len(self.price)
        for side, levels in (("bid", bids), ("ask", asks)):
            for price, amount in levels:
                self.side.append(side)
                self.price.append(price)
                self.amount.append(amount)
        if at.is_snapshot and len(self.price) == before:
            self.side.append(None)
            self.price.append(0.0)
            self.amount.append(0.0)
        count = len(self.price) - before
        for name, value in at._asdict().items():
            getattr(self, name).extend([value] * count)

    def table(self) -> Any:
        """The rows as a pyarrow.Table."""
        columns = []
        for each in BOOK_DELTAS:
            values = getattr(self, each.name)
            if isinstance(values, array):
                columns.append(pa.Array.from_buffers(each.type, len(values), [None, pa.py_buffer(values)]))
            else:
                columns.append(pa.array(values, pa.string() if each.name == "side" else each.type).cast(each.type))
        return pa.Table.from_arrays(columns, schema=BOOK_DELTAS)


class RowFields(NamedTuple):
    """What the rows of a delta have in common."""

    timestamp: int
    received: int
    is_snapshot: bool
    update: int
    sequence: int


def levels_of(rows: Any) -> Levels | None:
    """The book that the rows of a pyarrow.Table lead to; None if there is no snapshot among them."""
    begin = last_snapshot(rows)
    if begin is None:
        return None
    rows = rows.slice(begin)
    last = rows.slice(rows.num_rows - 1)
    changes = pa.table({"side": rows["side"].cast(pa.string()), "price": rows["price"], "amount": rows["amount"]})
    # In the order of the rows: the last amount of each price counts.
    book = changes.group_by(["side", "price"], use_threads=False).aggregate([("amount", "last")])
    book = book.filter(pc.greater(book["amount_last"], 0.0)).sort_by("price")
    sides = []
    for side in ("bid", "ask"):
        found = book.filter(pc.equal(book["side"], side))
        sides.append(list(zip(found["price"].to_pylist(), found["amount_last"].to_pylist(), strict=True)))
    bids, asks = sides
    numbers = [last[name].cast(pa.int64())[0].as_py() for name in Levels._fields[2:]]
    return Levels(bids[::-1], asks, *numbers)


def last_snapshot(rows: Any) -> int | None:
    """The index of the first row of the last snapshot; None if no snapshot begins in these rows."""
    if not rows.num_rows:
        return None
    begins = rows["is_snapshot"].to_numpy().copy()
    goes_on = begins[:-1].copy()
    for name in ("received", "sequence", "update"):
        values = rows[name].cast(pa.int64()).to_numpy()
        goes_on &= values[1:] == values[:-1]
    begins[1:] &= ~goes_on
    found = begins.nonzero()[0]
    return int(found[-1]) if len(found) else None


def rows_back_to_snapshot(root: Root, path: str, row_groups: int | None = None, end: int | None = None) -> Any:
    """The last rows of a file, from its last snapshot on or a little earlier; from its begin if there is none.

    Only the first `row_groups` are looked at, of the last of these only the first `end` rows. Raises Absent.
    """
    version = root.version(path)
    found = BOOK_DELTAS.empty_table()
    with open_parquet(root, path) as file:
        count = file.num_row_groups if row_groups is None else row_groups
        for index in reversed(range(count)):
            group = file.read_row_group(index)
            if end is not None and index == count - 1:
                group = group.slice(0, end)
            found = pa.concat_tables([group.cast(BOOK_DELTAS), found])
            begin = last_snapshot(found)
            # A snapshot at the very begin may have begun in the row group before.
            if begin is not None and begin > 0:
                break
        if root.version(path) != version:
            raise Absent(f"{path} was replaced", "")
    return found


def book_before(root: Root, feed: ArchivedFeed, generation: int, done: int) -> FiledBook | None:
    """The book of a feed after the messages up to `done` of the stream of a generation; None if it has no files.

    Files of later messages are left out: a round that is written again finds its own. Raises StorageError.
    """
    return _unless_closed(feed, lambda: _book_before(root, feed, generation, done))


def end_at(root: Root, feed: ArchivedFeed, generation: int, done: int) -> BookEnd | UnsetType:
    """The end of a book's rows after the messages up to `done`; UNSET if no file tells. Raises StorageError."""
    newest = _unless_closed(feed, lambda: _newest_file(root, feed, generation, done))
    if newest is None or any((each.generation, each.last) > (generation, done) for each in newest.meta.covered):
        return UNSET
    update = newest.meta.update
    return BookEnd(update=None if update is UNSET else update, until=newest.meta.until)


class _File(NamedTuple):
    day: date
    path: str
    meta: FileMeta


def _unless_closed(feed: ArchivedFeed, read: Callable[[], T]) -> T:
    """What is read of a feed's files; again if one of them vanishes. Raises StorageError."""
    for _ in range(LISTINGS):
        try:
            return read()
        except Absent:
            # The day was closed: its file has the rows of its parts.
            continue
    raise StorageError(f"the files of {feed} vanish while they are read", "only the archive may write to its folder")


def _newest_file(root: Root, feed: ArchivedFeed, generation: int, done: int) -> _File | None:
    for day, path in files_backwards(root, feed, generation, done):
        with open_parquet(root, path) as file:
            return _File(day, path, meta_of(file.schema_arrow.metadata, path))
    return None


def _book_before(root: Root, feed: ArchivedFeed, generation: int, done: int) -> FiledBook | None:
    newest = _newest_file(root, feed, generation, done)
    if newest is None:
        return None
    update = newest.meta.update if isinstance(newest.meta.update, int) else None
    levels = None if update is None else levels_of(rows_back_to_snapshot(root, newest.path))
    # A gap that goes on keeps its reason.
    lost = newest.meta.gaps[-1].reason if newest.meta.gaps else RESYNCHRONISED
    # A day that was closed meanwhile has later messages, too.
    last = [each.last for each in newest.meta.covered if each.generation == generation]
    return FiledBook(newest.day, max([done, *last]), update, newest.meta.until, levels, lost)


def files_backwards(
    root: Root, feed: ArchivedFeed, generation: int, done: int, until: date = date.max
) -> Iterator[tuple[date, str]]:
    """The files of a feed without messages after `done`, the newest first, each message in one of them.

    Those of days after `until` are not read.
    """
    # Imported late: days are closed with what is here.
    from tickwire.archive_files.days import dates_of

    for day in reversed([each for each in dates_of(root, feed) if each <= until]):
        folder = feed.on(day).folder
        names = root.names(folder)
        covered = list[Sequences]()
        if "data.parquet" in names:
            with open_parquet(root, f"{folder}/data.parquet") as file:
                covered = meta_of(file.schema_arrow.metadata, folder).covered
        parts = [(found, name) for name in names if (found := sequences_of(name))]
        for sequences, name in sorted(parts, reverse=True):
            is_later = (sequences.generation, sequences.first) > (generation, done)
            if not is_later and not any(each.includes(sequences) for each in covered):
                yield day, f"{folder}/{name}"
        if "data.parquet" in names:
            yield day, f"{folder}/data.parquet"
