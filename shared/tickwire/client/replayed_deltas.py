"""Deltas of books, as the tape had them, of archived rows. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tickwire.model.feeds import BookDelta

_Head = tuple[int, int, int, int]
"""Of the rows of a delta: received, sequence, update, is_snapshot."""


class FiledDelta(NamedTuple):
    """A delta, and when its message was received (ms)."""

    received: int
    delta: BookDelta


class FiledDeltas:
    """Makes deltas of rows, which follow update number `update` of the book; None if that is not known.

    Each change in the files continues the one before, or is of a snapshot: so the number before it is known, too.
    """

    def __init__(self, update: int | None = None) -> None:
        self._update = update
        self._head: _Head | None = None

    def take(self, table: Any) -> Iterator[FiledDelta]:
        """The deltas of a table. One of which two tables have rows is two, of which the other adds levels."""
        import numpy

        if not table.num_rows:
            return
        names = ("timestamp", "received", "sequence", "update", "is_snapshot")
        columns = [table.column(name).cast("int64").to_numpy() for name in names]
        differs = numpy.zeros(table.num_rows - 1, bool)
        for values in columns:
            differs |= values[1:] != values[:-1]
        is_bid = _is_bid(table.column("side"))
        # The bids of a delta come before its asks. A file may begin with the snapshot that the one before ends with.
        differs |= is_bid[1:] > is_bid[:-1]
        begins = numpy.flatnonzero(numpy.concatenate(([True], differs)))
        heads = list(zip(*(values[begins].tolist() for values in columns), strict=True))
        bids = numpy.add.reduceat(is_bid, begins).tolist()
        levels = list(zip(*(table.column(name).to_numpy().tolist() for name in ("price", "amount")), strict=True))
        starts = begins.tolist()
        for start, end, count, (timestamp, *head) in zip(starts, [*starts[1:], len(levels)], bids, heads, strict=True):
            yield self._delta(timestamp, tuple(head), levels[start : start + count], levels[start + count : end])

    def _delta(self, timestamp: int, head: Any, bids: list[Any], asks: list[Any]) -> FiledDelta:
        received, _, update, snapshot = head
        goes_on, self._head = head == self._head, head
        is_snapshot = bool(snapshot) and not goes_on
        first = update if update == self._update and not is_snapshot else (self._update or update - 1) + 1
        self._update = update
        if is_snapshot and not bids and not asks[0][1]:
            # A book without any level.
            asks = []
        first = update + 1 if is_snapshot else first
        delta = BookDelta(first=first, last=update, timestamp=timestamp, bids=bids, asks=asks, snapshot=is_snapshot)
        return FiledDelta(received, delta)


def _is_bid(sides: Any) -> Any:
    """Whether each row is a bid, as numbers."""
    import pyarrow.compute as pc

    return pc.fill_null(pc.equal(sides.cast("string"), "bid"), False).to_numpy().astype("int64")
