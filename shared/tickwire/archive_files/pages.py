"""Pages of archived rows: the replies to `archive.trades` and `archive.rows`. Blocks: call it in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
from msgspec.structs import replace

from tickwire.archive_files.added import NO_SEQUENCE
from tickwire.archive_files.book_rows import end_at
from tickwire.archive_files.days import dates_of
from tickwire.archive_files.layout import ArchivedFeed, Through
from tickwire.archive_files.reading import START, Begin, DayFile, day_rows, removed_meanwhile
from tickwire.archive_files.removal import removed_between
from tickwire.archive_files.root import Root
from tickwire.archive_files.schema import schema_of
from tickwire.errors import BadRequest
from tickwire.model.messages.archived_trades import ArchivedRowsRequest, ArchivedTrades, ArchivedTradesRequest
from tickwire.model.ranges import Range
from tickwire.model.times import LATEST_MS

BATCH_ROWS = 4096
"""Rows of a chunk: about 260 KB, if ids are short."""
CHUNK_BYTES = 480 * 1024
"""Most bytes of a chunk's rows: a message has 512 KiB at most."""


class Position(NamedTuple):
    """Where a page begins: after so many rows of a day of this edition, in the state of the tape `through`."""

    day: date
    rows: int
    through: Through
    edition: int | None = None

    @property
    def cursor(self) -> str:
        """As text. The inverse of `position_of`."""
        through = self.through
        parts = (
            self.day.isoformat(), self.rows, through.generation, through.sequence, self.edition or 0, through.stream
        )  # fmt: skip
        return ":".join(map(str, parts))


def position_of(cursor: str) -> Position:
    """The position that a cursor names. Raises BadRequest."""
    try:
        day, *numbers = cursor.split(":")
        # Earlier versions had no edition, and no stream.
        rows, generation, sequence, edition, stream = [int(each) for each in (*numbers, "0", "0")][:5]
        return Position(date.fromisoformat(day), rows, Through(generation, sequence, stream), edition)
    except ValueError as error:
        raise BadRequest(f"{cursor!r} is not a cursor", "use that of the last chunk of the page before") from error


def chunks(root: Root, request: ArchivedTradesRequest, through: Through) -> Iterator[ArchivedTrades]:
    """The chunks of a page, the last one without rows. `through` is for requests without a cursor.

    Raises StorageError, BadRequest.
    """
    feed = feed_of(request)
    begin = position_of(request.cursor) if request.cursor is not None else Position(date.min, 0, through)
    through = begin.through
    wanted = Range(request.since, LATEST_MS if request.until is None else request.until)
    sent = number = 0
    cursor = None
    dates = dates_of(root, feed)
    if begin.rows and begin.day not in dates:
        # A part of the day was read: without its rest it would seem to be all.
        raise removed_meanwhile(feed.on(begin.day))
    # What is before it was read, or stated to be removed.
    stated = max(wanted.since, feed.on(begin.day).span.until) if begin.rows else wanted.since
    for each in dates:
        day = feed.on(each)
        if each < begin.day or day.span.until <= wanted.since or day.span.since >= wanted.until:
            continue
        first = Begin(begin.rows, begin.edition) if each == begin.day else START
        found = day_rows(root, day, wanted, min(BATCH_ROWS, request.limit), first, partial(_cut, through))
        for position, edition, meta, batch in found:
            parts = list(fitting(batch))
            after = Position(each, position, through, edition).cursor
            for part in parts:
                rows = _chunk(request, part, through, after if part is parts[-1] else None, number)
                removed = removed_between(root, feed, Range(stated, day.span.since))
                unit = {"multiplier": meta.unit.multiplier, "inverse": meta.unit.inverse}
                yield replace(rows, removed=removed, more=True, **unit)
                stated = day.span.until
                sent, number = sent + part.num_rows, number + 1
            if sent >= request.limit:
                cursor = after
                break
        if cursor is not None:
            break
    removed = [] if cursor is not None else removed_between(root, feed, Range(stated, wanted.until))
    last = replace(_chunk(request, None, through, cursor, number), removed=removed)
    if cursor is None and feed.kind == "book_delta":
        last = replace(last, book=end_at(root, feed, through.generation, through.sequence))
    yield last


def feed_of(request: ArchivedTradesRequest) -> ArchivedFeed:
    """The feed of a request."""
    kind = request.kind if isinstance(request, ArchivedRowsRequest) else "trade"
    return ArchivedFeed(kind, request.exchange, request.symbol)


def _chunk(
    request: ArchivedTradesRequest, batch: Any, through: Through, cursor: str | None, number: int
) -> ArchivedTrades:
    return ArchivedTrades(
        exchange=request.exchange,
        symbol=request.symbol,
        rows=batch.num_rows if batch is not None else 0,
        data=encoded(batch, schema_of(feed_of(request).kind)),
        sequence=through.sequence,
        stream=through.stream,
        cursor=cursor,
        chunk=number,
    )


def _cut(through: Through, file: DayFile) -> _Unfinished | None:
    """What a reader is shown of a file; None for all of it: its messages are wholly archived."""
    known = through.generation > 0
    is_later = known and any((each.generation, each.last) > through[:2] for each in file.meta.covered)
    return _Unfinished(file, through) if is_later else None


class _Unfinished:
    """Leaves out the rows of messages after `through`: those of a round that is being written, or of a later stream.

    Sequences count in each stream by themselves, so what a row's is depends on the number of rows before it.
    """

    def __init__(self, file: DayFile, through: Through) -> None:
        self._through = through
        self._seen = 0
        rows, covered = file.tape_rows, file.meta.covered
        self._is_known = rows is not None
        counts = list(zip([each.generation for each in covered], rows or [], strict=False))
        self._begin = sum(count for generation, count in counts if generation < through.generation)
        self._end = sum(count for generation, count in counts if generation <= through.generation)

    def mask(self, batch: Any) -> Any:
        """See `Cut.mask`."""
        sequences = batch.column("sequence").to_numpy()
        taped = sequences > NO_SEQUENCE
        numbers = self._seen + np.cumsum(taped) - taped
        self._seen += int(taped.sum())
        if self._is_known:
            earlier, later = numbers < self._begin, numbers >= self._end
        else:
            # A file of an earlier version: messages of earlier streams were received before this one was made.
            received = batch.column("received").cast(pa.int64()).to_numpy()
            earlier, later = received < self._through.generation, np.zeros(len(taped), bool)
        return pa.array(~taped | earlier | (~later & (sequences <= self._through.sequence)))


def fitting(batch: Any) -> Iterator[Any]:
    """A batch in parts that fit into a message; nothing for no rows."""
    if batch is None or not batch.num_rows:
        return
    if batch.nbytes <= CHUNK_BYTES or batch.num_rows == 1:
        yield batch
        return
    half = batch.num_rows // 2
    yield from fitting(batch.slice(0, half))
    yield from fitting(batch.slice(half))


def encoded(batch: Any, schema: Any) -> bytes:
    """A batch as an Arrow IPC stream; a stream without batches for None."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, schema) as writer:
        if batch is not None:
            writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data
