"""Days of the archive: closed when they have ended, listed with their certificates, and read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from functools import reduce
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import UNSET, UnsetType

from tickwire.archive_files import candle_rows, certificate, removal
from tickwire.archive_files.certificate import Neighbours, Watched
from tickwire.archive_files.file_meta import FileMeta, Unit, merge_added, merge_covered
from tickwire.archive_files.layout import (
    CERTIFICATE,
    DATA,
    ArchivedFeed,
    FeedDay,
    Through,
    date_of,
    date_of_folder,
    is_later,
    is_unmerged,
)
from tickwire.archive_files.merging import merged_rows
from tickwire.archive_files.reading import DayFile, DayListing, candles_of, day_batches, file_batches, list_day
from tickwire.archive_files.root import Absent, Root, read, write
from tickwire.archive_files.schema import CANDLES, ROW_GROUP, schema_of, with_meta, writing_of
from tickwire.archive_files.totals import DayTotals
from tickwire.errors import BadRequest, StorageError
from tickwire.model import messages
from tickwire.model.messages.archive import AddedRange, Certificate, EndRow
from tickwire.model.ranges import Range
from tickwire.model.times import LATEST_MS, now_ms

BATCH_ROWS = 65_536
"""Rows of a batch, unless the caller says so."""
_HASHED = 1 << 20


def close_day(root: Root, day: FeedDay, until: int | None, commit_check: Callable[[], None]) -> Certificate:
    """Make the day's file of its parts, certify it, remove the parts; returns the certificate. Repeatable at any step.

    `until` (ms): every row of the feed before it is in files that are written, or in a gap. `commit_check` raises if
    the caller must not write any more; it is called at first and before each file is committed. Without anything new
    the certificate stays as it is. Raises StorageError.
    """
    commit_check()
    # A former owner that was suspended after its own check can put nothing in place of what is written from here on.
    root.sweep(day.folder, 0)
    listing = list_day(root, day)
    before = read_certificate(root, day)
    found = _watched(root, day, listing, until)
    if all(each.is_part for each in listing.files) and removal.was_removed(root, day):
        # Late rows do not make a day of what was removed.
        found = found._replace(gaps=[removal.gap_of(day)], whole_gaps=[removal.gap_of(day)])
    added = merge_added(each for meta in listing.all_metas for each in meta.added)
    shown = certificate.with_added(found, day.span, added)
    if not listing.files and not listing.added and not found.ranges and not found.gaps:
        made = _certificate(day, shown, DayTotals(day, Unit()), added)
    else:
        meta = _merged(day, listing, found, added)
        if listing.metas == [meta] and not listing.has_parts:
            totals, written = _read_back(root, day, meta, listing.files)
        else:
            batches = _batches_of(root, listing, certificate.tape_proven(found), schema_of(day.kind))
            totals, written = _write_data(root, day, meta, batches, commit_check)
        made = msgspec.structs.replace(_certificate(day, shown, totals, added), file=DATA, **written)
    version = before.version if before else 0
    if before is not None and msgspec.structs.replace(made, version=version, made=before.made) == before:
        made = before
    else:
        made = msgspec.structs.replace(made, version=version + 1, made=now_ms())
        write(root, day.certificate, msgspec.json.format(messages.encode(made), indent=1) + b"\n", commit_check)
    # Last: until then they show that the day is to be closed again, also where an earlier certificate is there.
    merged = (each.path for each in [*listing.files, *listing.added] if each.is_part)
    for path in [*listing.superseded, *merged]:
        root.remove(path)
    return made


def _watched(root: Root, day: FeedDay, listing: DayListing, until: int | None) -> Watched:
    """What the files of a day prove. `until` as in `close_day`."""
    if day.kind == "candle":
        return candle_rows.watched(listing.of_tape, day.span)
    return certificate.watched(listing.of_tape, day.span, _neighbours(root, day), until)


def read_certificate(root: Root, day: FeedDay) -> Certificate | None:
    """The certificate of a day; None if it has none. Raises StorageError, also if it cannot be decoded."""
    try:
        return messages.decode(read(root, day.certificate), Certificate)
    except Absent:
        return None
    except BadRequest as error:
        raise StorageError(f"{day.certificate}: {error.message}", "remove it: the day is certified anew") from error


def _certificate(day: FeedDay, found: Watched, totals: DayTotals, added: Sequence[AddedRange] = ()) -> Certificate:
    by_source = totals.by_source
    return Certificate(
        kind=day.kind,
        exchange=day.exchange,
        symbol=day.symbol,
        date=day.date.isoformat(),
        condition=certificate.condition(found, day.span, totals.rows),
        rows=totals.rows,
        live=totals.rows - by_source["rest"] - by_source["history"] - by_source["file"],
        rest=by_source["rest"],
        history=by_source["history"],
        imported=by_source["file"],
        first=totals.first,
        last=totals.last,
        watched=found.ranges,
        gaps=found.gaps,
        added=list(added),
        hours=totals.hours,
    )


def _merged(day: FeedDay, listing: DayListing, found: Watched, added: list[AddedRange]) -> FileMeta:
    """The metadata of the day's file."""
    metas, tape = listing.all_metas, listing.of_tape
    return FileMeta.of(
        day,
        unit=reduce(Unit.merged, [each.unit for each in metas]) if metas else Unit(),
        covered=merge_covered([covered for each in metas for covered in each.covered]),
        continues=not tape or tape[0].continues,
        watched=found.beyond,
        until=found.until,
        gaps=found.whole_gaps,
        update=listing.metas[-1].update if listing.metas else UNSET,
        rows=UNSET if day.kind == "candle" else _tape_rows(listing),
        last=next((each.last for each in reversed(listing.metas) if each.last is not UNSET), UNSET),
        added=added,
        edition=listing.edition + (1 if listing.has_parts and listing.has_added else 0),
        timeframes=candle_rows.of_day(metas) if day.kind == "candle" else UNSET,
    )


def _tape_rows(listing: DayListing) -> list[int] | UnsetType:
    """How many rows each generation of the day's file has; not set if a file of an earlier version does not say."""
    if not listing.has_parts:
        return listing.metas[0].rows if listing.files else UNSET
    found: dict[int, int] = {}
    for file in listing.files:
        if (rows := file.tape_rows) is None:
            return UNSET
        for covered, count in zip(file.meta.covered, rows, strict=True):
            found[covered.generation] = found.get(covered.generation, 0) + count
    return [found[generation] for generation in sorted(found)]


def _batches_of(root: Root, listing: DayListing, proven: Sequence[Range], schema: Any) -> Iterator[Any]:
    """The rows of the day's file."""
    if schema is CANDLES:
        return iter(candles_of(root, listing).to_batches())
    if not listing.has_added:
        return _all_batches(root, listing.files)
    tables = merged_rows(root, listing.files, listing.added, proven, schema)
    return (batch for table in tables for batch in table.to_batches())


class _Hashed(io.RawIOBase):
    """A file that is written through, and hashed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._bytes = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._bytes

    def write(self, data: Any) -> int:
        self._file.write(data)
        self._hash.update(data)
        self._bytes += memoryview(data).nbytes
        return memoryview(data).nbytes

    @property
    def written(self) -> dict[str, Any]:
        return {"sha256": self._hash.hexdigest(), "bytes": self._bytes}


def _write_data(
    root: Root, day: FeedDay, meta: FileMeta, batches: Iterable[Any], commit_check: Callable[[], None]
) -> tuple[DayTotals, dict[str, Any]]:
    """Write the day's file; two row groups are in memory."""
    totals = DayTotals(day, meta.unit)
    schema = with_meta(schema_of(day.kind), meta)
    with root.writing(day.data, commit_check) as file:
        hashed = _Hashed(file)
        with pq.ParquetWriter(hashed, schema, **writing_of(day.kind)) as writer:
            for rows in _row_groups(batches, schema):
                writer.write_table(rows, row_group_size=ROW_GROUP)
                totals.add(rows)
    return totals, hashed.written


def _all_batches(root: Root, files: list[DayFile]) -> Iterator[Any]:
    return (batch for file in files for _, batch in file_batches(root, file.path, BATCH_ROWS))


def _row_groups(batches: Iterable[Any], schema: Any) -> Iterator[Any]:
    """Rows in tables of `ROW_GROUP` rows, the last one shorter."""
    held, rows = list[Any](), 0
    for batch in batches:
        left = batch
        while left.num_rows:
            taken = left.slice(0, ROW_GROUP - rows)
            left = left.slice(taken.num_rows)
            held.append(taken.cast(schema))
            rows += taken.num_rows
            if rows == ROW_GROUP:
                yield pa.Table.from_batches(held, schema).unify_dictionaries()
                held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held, schema).unify_dictionaries()


def _read_back(root: Root, day: FeedDay, meta: FileMeta, files: list[DayFile]) -> tuple[DayTotals, dict[str, Any]]:
    """The sums and the hash of a day's file that is there."""
    totals = DayTotals(day, meta.unit)
    # In the same tables as they were written: sums of floats depend on how they are divided.
    for rows in _row_groups(_all_batches(root, files), schema_of(day.kind)):
        totals.add(rows)
    hashed = hashlib.sha256()
    size = 0
    with root.opened(day.data) as file:
        while data := file.read(_HASHED):
            hashed.update(data)
            size += len(data)
    return totals, {"sha256": hashed.hexdigest(), "bytes": size}


def dates_of(root: Root, feed: ArchivedFeed) -> list[date]:
    """The days of a feed that have a folder, ascending. Raises StorageError."""
    return [found for name in root.names(feed.folder) if (found := date_of_folder(name))]


def _neighbours(root: Root, day: FeedDay) -> Neighbours:
    """The files of the nearest days with files."""
    dates = dates_of(root, day.feed)
    before = (list_day(root, day.feed.on(each)).of_tape for each in reversed(dates) if each < day.date)
    after = (list_day(root, day.feed.on(each)).of_tape for each in dates if each > day.date)
    return Neighbours(next(filter(None, before), None), next(filter(None, after), None))


def days(root: Root, feed: ArchivedFeed, since: int, until: int, through: Through | None = None) -> list[Certificate]:
    """A certificate for each day with a time in `[since, until)` (ms), also for those that have none.

    With `through` they are without parts of later messages. A day without certificate is `open` if it has files, else
    `removed` or `missing`, with version 0.
    Raises StorageError.
    """
    removed = removal.removed_of(root, feed)
    known = set(dates_of(root, feed))
    first = date_of(since)
    count = (date_of(until - 1) - first).days + 1 if until > since else 0
    dates = (first + timedelta(days=number) for number in range(count))
    return [
        _day(root, feed.on(each), each in known, removed is not None and removed.includes(each), through)
        for each in dates
    ]


def _day(root: Root, day: FeedDay, has_folder: bool, removed: bool, through: Through | None) -> Certificate:
    certified = read_certificate(root, day) if has_folder else None
    names = [each for each in root.names(day.folder) if not is_later(each, through)] if has_folder else []
    if not names or (removed and names == [CERTIFICATE]):
        nothing = _certificate(day, certificate.NOTHING, DayTotals(day, Unit()))
        return msgspec.structs.replace(nothing, condition="removed") if removed else nothing
    if certified is not None and not any(map(is_unmerged, names)):
        return certified
    listing = list_day(root, day, through)
    if certified is not None and not listing.has_parts:
        return certified
    found = _watched(root, day, listing, None)
    added = merge_added(each for meta in listing.metas for each in meta.added)
    found = certificate.with_added(found, day.span, added)
    times = [each.times for each in listing.files if each.times]
    return Certificate(
        kind=day.kind,
        exchange=day.exchange,
        symbol=day.symbol,
        date=day.date.isoformat(),
        condition="open",
        version=certified.version if certified else 0,
        rows=sum(each.rows for each in listing.files),
        first=EndRow(timestamp=min(each.since for each in times)) if times else None,
        last=EndRow(timestamp=max(each.until for each in times) - 1) if times else None,
        watched=found.ranges,
        gaps=found.gaps,
        added=added,
    )


def read_rows(
    root: Root, feed: ArchivedFeed, since: int, until: int | None = None, batch_rows: int = BATCH_ROWS
) -> Iterator[Any]:
    """The rows of a feed in `[since, until)` (ms) as pyarrow.RecordBatches: day after day, each in the tape's order.

    Open days too, as far as they are written. Raises StorageError.
    """
    wanted = Range(since, LATEST_MS if until is None else until)
    if wanted.since > wanted.until or batch_rows < 1:
        raise BadRequest("since is after until, or no rows are wanted", "exchange them")
    for each in dates_of(root, feed):
        day = feed.on(each)
        if day.span.since < wanted.until and day.span.until > wanted.since:
            yield from day_batches(root, day, wanted, batch_rows)
