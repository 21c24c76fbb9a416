"""The book of a feed at a moment, from the archive's files. Blocks, and raises StorageError."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tickwire.archive_files import days
from tickwire.archive_files.book_rows import (
    LISTINGS,
    FiledBook,
    Levels,
    book_before,
    files_backwards,
    levels_of,
    rows_back_to_snapshot,
)
from tickwire.archive_files.certificate import gap_times
from tickwire.archive_files.layout import ArchivedFeed, Through, date_of
from tickwire.archive_files.reading import open_parquet
from tickwire.archive_files.root import Absent, Root
from tickwire.errors import BookUnknown, NotArchived, StorageError
from tickwire.model.messages.archived_book import ArchivedBook, ArchivedBookRequest
from tickwire.model.times import LATEST_MS, iso_ms

CHUNK_LEVELS = 2_500
"""Most levels of a side in one message: about 200 kB of JSON."""


def chunks(root: Root, request: ArchivedBookRequest, through: Through) -> Iterator[ArchivedBook]:
    """The chunks of the reply to `archive.book`. Raises as `book_at`."""
    found = book_at(root, ArchivedFeed("book_delta", request.exchange, request.symbol), request.time, through)
    is_end = found.until is None or found.until <= request.time
    levels = found.levels
    depth = None if is_end else request.depth
    bids, asks = (levels.bids[:depth], levels.asks[:depth]) if levels else ([], [])
    last = max(len(bids), len(asks), 1)
    for begin in range(0, last, CHUNK_LEVELS):
        yield ArchivedBook(
            exchange=request.exchange,
            symbol=request.symbol,
            bids=bids[begin : begin + CHUNK_LEVELS],
            asks=asks[begin : begin + CHUNK_LEVELS],
            timestamp=levels.timestamp if levels else None,
            received=levels.received if levels else None,
            update=found.update,
            until=found.until,
            is_end=is_end,
            sequence=found.sequence,
            stream=through.stream,
            chunk=begin // CHUNK_LEVELS,
            more=begin + CHUNK_LEVELS < last,
        )


def book_at(root: Root, feed: ArchivedFeed, time: int, through: Through) -> FiledBook:
    """The book after all changes up to a time (ms), both sides as deep as it is known.

    Where the files end before that time, it is the book at their end, after the messages up to `through`: its `until`
    is not after the time. Raises NotArchived, BookUnknown.
    """
    newest = book_before(root, feed, through.generation, through.sequence)
    if newest is None:
        raise NotArchived(f"{feed} is not archived", "books are archived while their deltas are subscribed to")
    if newest.until is None or newest.until <= time:
        return newest
    _check_followed(root, feed, time)
    for _ in range(LISTINGS):
        try:
            levels = _levels_at(root, feed, time)
        except Absent:
            # The day was closed meanwhile.
            continue
        if levels is None:
            raise BookUnknown(f"there is no {feed} before {iso_ms(time)}", "choose a later time")
        return FiledBook(date_of(time), newest.sequence, levels.update, newest.until, levels)
    raise StorageError(f"the files of {feed} vanish while they are read", "only the archive may write to its folder")


def _check_followed(root: Root, feed: ArchivedFeed, time: int) -> None:
    (day,) = days.days(root, feed, time, time + 1)
    remedy = "`archive.days` says which times are archived"
    if day.condition == "removed":
        raise BookUnknown(f"{feed} at {iso_ms(time)} was removed from the archive", remedy)
    for gap in day.gaps:
        times = gap_times(gap)
        if times.since <= time < times.until:
            span = f"from {iso_ms(times.since)} to {iso_ms(times.until)}"
            raise BookUnknown(f"{feed} is not known {span}: {gap.reason}", remedy)
    if not any(each.since <= time < each.until for each in day.watched):
        raise BookUnknown(f"{feed} was not followed at {iso_ms(time)}", remedy)


def _levels_at(root: Root, feed: ArchivedFeed, time: int) -> Levels | None:
    for _, path in files_backwards(root, feed, LATEST_MS, LATEST_MS, until=date_of(time)):
        row_groups, end = _rows_until(root, path, time)
        if row_groups and (found := levels_of(rows_back_to_snapshot(root, path, row_groups, end))) is not None:
            return found
    return None


def _rows_until(root: Root, path: str, time: int) -> tuple[int, int | None]:
    """Up to where the rows of a file are before the first one that is later than a time (ms).

    A number of row groups, and of the last of these so many rows; None is all.
    """
    with open_parquet(root, path) as file:
        for index in range(file.num_row_groups):
            statistics = file.metadata.row_group(index).column(0).statistics
            if statistics is not None and statistics.has_min_max and statistics.max_raw <= time:
                continue
            times = file.read_row_group(index, columns=["timestamp"])["timestamp"].cast(pa.int64())
            later: Any = pc.index(pc.greater(times, time), True).as_py()
            if later >= 0:
                return (index + 1, later) if later else (index, None)
        return file.num_row_groups, None
