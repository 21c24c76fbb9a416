"""Reads the files of a day in the order of the tape, each row once, whatever a writer does meanwhile.

A day's file has the rows of the parts that it replaced, in their order, and begins with those of the file before it. So
a reader whose files were replaced continues with the new ones after as many rows as it has read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tickwire.archive_files.candle_rows import folded
from tickwire.archive_files.file_meta import FileMeta, merge_covered
from tickwire.archive_files.layout import DATA, FeedDay, Sequences, Through, added_of, is_later, sequences_of
from tickwire.archive_files.root import Absent, Root, storage_errors
from tickwire.archive_files.schema import CANDLES, meta_of, schema_of
from tickwire.errors import StorageError
from tickwire.model.ranges import Range

LISTINGS = 10
"""How often files may vanish between their listing and their reading, without a row read, before that is an error."""


@dataclass(frozen=True)
class DayFile:
    """A file of a day with rows that no other file has."""

    path: str
    meta: FileMeta
    rows: int
    times: Range | None
    """The earliest time of its rows and the latest + 1, ms; None without rows."""

    @property
    def tape_rows(self) -> list[int] | None:
        """How many of its rows are of each of `meta.covered`; None if it does not say."""
        if isinstance(self.meta.rows, list):
            return self.meta.rows
        if not self.meta.covered:
            return []
        return [self.rows] if len(self.meta.covered) == 1 and not self.meta.edition else None

    @property
    def is_part(self) -> bool:
        """Whether it is a part, not the day's file."""
        return not self.path.endswith(f"/{DATA}")


@dataclass(frozen=True)
class DayListing:
    """The files of a day in the order of the tape, and the parts whose rows the day's file has already.

    `added` are files with rows that the day's file may not have yet: readers see them once they are merged.
    """

    files: list[DayFile]
    superseded: list[str]
    added: list[DayFile]

    @property
    def metas(self) -> list[FileMeta]:
        """What the files say of themselves."""
        return [each.meta for each in self.files]

    @property
    def has_parts(self) -> bool:
        """Whether rows or gaps came that the day's file does not have."""
        return any(each.is_part for each in self.files) or bool(self.added)

    @property
    def has_added(self) -> bool:
        """Whether the day has rows that are not of the tape, or gets some; they may prove no range."""
        return bool(self.added) or self.edition > 0

    @property
    def all_metas(self) -> list[FileMeta]:
        """Those of added files, too."""
        return [each.meta for each in [*self.files, *self.added]]

    @property
    def of_tape(self) -> list[FileMeta]:
        """What the files say of the tape."""
        return [meta for meta in self.metas if meta.has_tape]

    @property
    def edition(self) -> int:
        """That of the day's file; see FileMeta."""
        return max((each.edition for each in self.metas), default=0)


def list_day(root: Root, day: FeedDay, through: Through | None = None) -> DayListing:
    """The files of a day without parts of messages after `through`; none without such a day. Raises StorageError."""
    for _ in range(LISTINGS):
        try:
            return _listed(root, day, through)
        except Absent:
            continue
    raise StorageError(f"the files of {day} vanish while they are read", "only the archive may write to its folder")


def _listed(root: Root, day: FeedDay, through: Through | None) -> DayListing:
    names = [each for each in root.names(day.folder) if not is_later(each, through)]
    files, superseded, covered = [], [], list[Sequences]()
    if DATA in names:
        files.append(_described(root, day.data))
        covered = files[0].meta.covered
    parts = sorted((found, name) for name in names if (found := sequences_of(name)))
    for sequences, name in parts:
        if any(each.includes(sequences) for each in covered):
            superseded.append(f"{day.folder}/{name}")
        else:
            files.append(_described(root, f"{day.folder}/{name}"))
    added = [_described(root, f"{day.folder}/{name}") for name in names if added_of(name)]
    return DayListing(files, superseded, added)


def _described(root: Root, path: str) -> DayFile:
    # Parts are removed, but not replaced.
    version = root.version(path) if path.endswith(f"/{DATA}") else None
    with unless_replaced(root, path, version), open_parquet(root, path) as file:
        meta = meta_of(file.schema_arrow.metadata, path)
        found = [times for index in range(file.num_row_groups) if (times := row_group_times(file, index))]
        times = Range(min(each.since for each in found), max(each.until for each in found)) if found else None
        return DayFile(path, meta, file.metadata.num_rows, times)


@contextmanager
def unless_replaced(root: Root, path: str, version: object) -> Iterator[None]:
    """Make a StorageError an Absent if the file has vanished, or is another than it was with this version, if given.

    Each request to a store reads whatever is there then: of two files in turn, or of none, it gives any error.
    """
    try:
        yield
    except StorageError as error:
        if root.version(path) != version and version is not None:
            raise Absent(f"{path} was replaced", "") from error
        raise


@contextmanager
def open_parquet(root: Root, path: str) -> Iterator[Any]:
    """A file of the archive as `pyarrow.parquet.ParquetFile`. Errors inside the block become StorageErrors."""
    with parquet_errors(path), closing(root.opened(path)) as file:
        yield pq.ParquetFile(file, page_checksum_verification=True)


@contextmanager
def parquet_errors(path: str) -> Iterator[None]:
    """Turn errors of reading a file into StorageErrors that name it."""
    with storage_errors(f"read {path}"):
        try:
            yield
        except (pa.ArrowException, ValueError) as error:
            # Of a damaged footer pyarrow raises nearly anything: it has no checksum.
            raise StorageError(f"{path} is damaged: {error}", "restore it, or remove the file") from error


def row_group_times(file: Any, index: int) -> Range | None:
    """The times of a row group's rows, ms, by its statistics; None if they do not tell."""
    column = file.metadata.row_group(index).column(0)
    if column.physical_type != file.schema.column(0).physical_type:
        # pyarrow aborts the process when it reads the statistics of such a column.
        raise ValueError("the types in its footer do not agree")
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return None
    # Milliseconds as they are stored, not as datetimes.
    return Range(statistics.min_raw, statistics.max_raw + 1)


def file_batches(
    root: Root, path: str, batch_rows: int, wanted: Range | None = None, skip: int = 0
) -> Iterator[tuple[int, Any]]:
    """The rows of a file: how many rows each batch accounts for, and the batch.

    Row groups without a row in `wanted` (ms), and those within the first `skip` rows, are passed over: of these the
    batch is None. Raises Absent if the file is replaced meanwhile, and only the new one can be read.
    """
    version = root.version(path)
    with open_parquet(root, path) as file:
        for index in range(file.num_row_groups):
            times, rows = row_group_times(file, index), file.metadata.row_group(index).num_rows
            is_read, skip = 0 < rows <= skip, skip - rows
            if is_read or (wanted and times and (times.until <= wanted.since or times.since >= wanted.until)):
                yield rows, None
                continue
            for batch in _row_group(root, path, version, file, index).to_batches(batch_rows):
                yield batch.num_rows, batch


def _row_group(root: Root, path: str, version: object, file: Any, index: int) -> Any:
    """The rows of a row group, of the file as it was when it had this version."""
    try:
        with parquet_errors(path):
            return file.read_row_group(index).cast(schema_of(path.partition("/")[0]))
    finally:
        if root.version(path) != version:
            raise Absent(f"{path} was replaced", "")


class Cut(Protocol):
    """What a reader is shown of a file whose rows are not all for it."""

    def mask(self, batch: Any) -> Any:
        """Whether each of the next rows of the file, from its begin on, is shown."""


class Begin(NamedTuple):
    """Where reading a day begins: after so many rows. `edition` as in `DayRows`; None is that of the present files."""

    rows: int = 0
    edition: int | None = None


START = Begin()


def all_shown(_: DayFile) -> None:
    """Nothing is cut."""


class DayRows(NamedTuple):
    """Consecutive rows of a file: how many rows the day has up to their end, the file's metadata, those wanted.

    `edition` is that of the day (see FileMeta).
    """

    position: int
    edition: int
    meta: FileMeta
    batch: Any
    """None if none of them is wanted."""


def day_batches(root: Root, day: FeedDay, wanted: Range, batch_rows: int) -> Iterator[Any]:
    """The rows of a day in `wanted` (ms), as batches of `batch_rows` rows at most. Raises StorageError."""
    return (each.batch for each in day_rows(root, day, wanted, batch_rows) if each.batch is not None)


def day_rows(
    root: Root,
    day: FeedDay,
    wanted: Range,
    batch_rows: int,
    begin: Begin = START,
    cut: Callable[[DayFile], Cut | None] = all_shown,
) -> Iterator[DayRows]:
    """The rows of a day from `begin` on, those in `wanted` (ms) as batches; `cut` tells what is shown of a file.

    A position is the same in the files that replace the present ones, unless their edition is another than that of
    `begin`: then rows were inserted, and StorageError is raised.
    """
    if day.kind == "candle":
        return _candle_rows(root, day, wanted, batch_rows, begin)
    return _taped_rows(root, day, wanted, batch_rows, begin, cut)


def _taped_rows(
    root: Root, day: FeedDay, wanted: Range, batch_rows: int, begin: Begin, cut: Callable[[DayFile], Cut | None]
) -> Iterator[DayRows]:
    done, edition = begin
    failures = 0
    while True:
        before = done
        try:
            position = 0
            listing = list_day(root, day)
            edition = listing.edition if edition is None or not done else edition
            if listing.edition != edition:
                raise StorageError(f"{day} got more rows while it was read", "read it again from its begin")
            for file in listing.files:
                if position + file.rows <= done:
                    position += file.rows
                    continue
                shown = cut(file)
                # What is shown depends on the rows before.
                passed = (wanted, done - position) if shown is None else (None, 0)
                for rows, batch in file_batches(root, file.path, batch_rows, *passed):
                    skipped = max(0, min(rows, done - position))
                    position += rows
                    done = max(done, position)
                    left: Any = None if batch is None else batch.slice(skipped)
                    if shown is not None:
                        left = left.filter(shown.mask(batch).slice(skipped))
                    if skipped < rows:
                        found = None if left is None else _selected(left, day, wanted)
                        yield DayRows(position, edition, file.meta, found)
            if position < done:
                raise removed_meanwhile(day)
            return
        except Absent:
            # Another part was removed since: its rows are in the day's file now.
            failures = failures + 1 if done == before else 0
            if failures == LISTINGS:
                raise


def _candle_rows(root: Root, day: FeedDay, wanted: Range, batch_rows: int, begin: Begin) -> Iterator[DayRows]:
    """As `day_rows`: later files replace rows of earlier ones, so that each file that comes makes another edition."""
    for _ in range(LISTINGS):
        try:
            listing = list_day(root, day)
            table = candles_of(root, listing)
            break
        except Absent:
            # The day was closed meanwhile.
            continue
    else:
        raise StorageError(f"the files of {day} vanish while they are read", "only the archive may write to its folder")
    covered = merge_covered([each for meta in listing.metas for each in meta.covered])
    edition = max((each.last for each in covered), default=0)
    if begin.rows and edition != begin.edition:
        raise StorageError(f"{day} got more rows while it was read", "read it again from its begin")
    position, meta = begin.rows, FileMeta.of(day, covered=covered)
    for batch in table.slice(begin.rows).combine_chunks().to_batches(batch_rows):
        position += batch.num_rows
        yield DayRows(position, edition, meta, _selected(batch, day, wanted))


def candles_of(root: Root, listing: DayListing) -> Any:
    """The candles of a day as a pyarrow.Table: of each the newest row. Raises StorageError."""
    return folded((file.meta, _whole(root, file)) for file in listing.files).table()


def _whole(root: Root, file: DayFile) -> Any:
    batches = [batch.cast(CANDLES) for _, batch in file_batches(root, file.path, file.rows + 1)]
    return pa.Table.from_batches(batches, CANDLES)


def removed_meanwhile(day: FeedDay) -> StorageError:
    """The error of a reader that has read a part of a day that is not there any more."""
    return StorageError(f"{day} was removed while it was read", "request the days that are there")


def _selected(batch: Any, day: FeedDay, wanted: Range) -> Any:
    """The rows of a batch in `wanted`, ms; None if there are none."""
    times = batch.column(0).cast(pa.int64())
    if not (wanted.since <= day.span.since and day.span.until <= wanted.until):
        mask = pc.and_(pc.greater_equal(times, wanted.since), pc.less(times, wanted.until))
        batch = batch.filter(mask)
    return batch.cast(schema_of(day.kind)) if batch.num_rows else None
