"""Rows that are added to a day beside the tape: history of the venue, and files that it publishes.

Each page becomes a file of the day's folder, whole and durable. Closing the day merges it (`merging.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from tickwire.archive_files.file_meta import FileMeta, Unit
from tickwire.archive_files.layout import AddedName, ArchivedFeed, FeedDay, date_of
from tickwire.archive_files.root import Root
from tickwire.archive_files.schema import ROW_GROUP, TRADES, with_meta, writing_of
from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.messages.archive import AddedRange
from tickwire.model.messages.archive_writing import TradePage
from tickwire.model.ranges import Range

NO_SEQUENCE = 0
"""The `sequence` of rows that are of no message of the tape."""
DIGEST = 16


def day_of(page: TradePage) -> FeedDay:
    """The day of a page. Raises BadRequest if it is of several, or has rows that it must not have."""
    day = ArchivedFeed("trade", page.exchange, page.symbol).on(date_of(page.since))
    span = day.span
    if not span.since <= page.since <= page.until <= span.until:
        raise BadRequest(f"the page is not within a day: {page.since} to {page.until}", "send a page for each day")
    for each in page.trades:
        if not span.since <= each.timestamp < span.until:
            raise BadRequest(f"a trade of {each.timestamp} in a page of {day}", "send a page for each day")
        if each.id is None:
            raise BadRequest("a trade without an id cannot be told from those of the tape", "send trades with ids")
    times = [each.timestamp for each in page.trades]
    if times != sorted(times):
        raise BadRequest(f"the trades of a page of {day} are not in order", "send them by time")
    return day


def write_page(root: Root, page: TradePage, check: Callable[[], None]) -> str:
    """Write the rows of a page, and the range that it proves; its path. `check` as in `Root.writing`.

    Who writes the same page again, replaces the file. Raises BadRequest, StorageError.
    """
    day = day_of(page)
    # When it was fetched does not make it another page.
    content = messages.encode(msgspec.structs.replace(page, received=0))
    name = AddedName(page.since, page.until, hashlib.sha256(content).hexdigest()[:DIGEST])
    path = f"{day.folder}/{name.file}"
    added = AddedRange(since=page.since, until=page.until, source=page.source)
    meta = FileMeta.of(day, unit=Unit(page.multiplier, page.inverse), continues=False, added=[added])
    schema = with_meta(TRADES, meta)
    with root.writing(path, check) as file, pq.ParquetWriter(file, schema, **writing_of(day.kind)) as writer:
        writer.write_table(_table(page).cast(schema), row_group_size=ROW_GROUP)
    return path


def _table(page: TradePage) -> Any:
    trades = page.trades
    columns: dict[str, list[Any]] = {
        "timestamp": [each.timestamp for each in trades],
        "received": [page.received] * len(trades),
        "id": [each.id for each in trades],
        "side": [each.side for each in trades],
        "price": [each.price for each in trades],
        "amount": [each.amount for each in trades],
        "source": [page.source] * len(trades),
        "sequence": [NO_SEQUENCE] * len(trades),
    }
    words = ("side", "source")
    arrays = [
        pa.array(columns[each.name], pa.string()).cast(each.type)
        if each.name in words
        else pa.array(columns[each.name], each.type)
        for each in TRADES
    ]
    return pa.Table.from_arrays(arrays, schema=TRADES)


def proven_of(page: TradePage) -> Range:
    """The range that a page proves, ms."""
    return Range(page.since, page.until)
