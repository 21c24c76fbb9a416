"""The parts of trades: rows in memory for the length of a round, then one file for each feed and day.

A round is the messages `first` to `last` of a stream. What its parts have depends on these messages alone, so whoever
writes them again writes the same files.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import UNSET, UnsetType

from tickwire.archive_files.certificate import Reached, bounded
from tickwire.archive_files.chained_rows import UNREADABLE, ChainedRows, FeedRows, Part, lost_until
from tickwire.archive_files.file_meta import Unit
from tickwire.archive_files.layout import DAY_MS, ArchivedFeed
from tickwire.archive_files.root import Root
from tickwire.archive_files.schema import ROW_GROUP, TRADES, with_meta, writing_of
from tickwire.model.feeds.tape import Gap, Trades
from tickwire.model.messages.archive import ArchivedGap, EndRow


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


class PartRows(ChainedRows[Trades]):
    """The trades of one round."""

    kind = "trade"
    message = Trades
    columns = _Columns

    def unreadable(self, feed: ArchivedFeed, received: int, lost: str) -> tuple[Trades, str]:
        """See ChainedRows: a gap."""
        gap = Gap(since=None, until=None, reason=UNREADABLE)
        return Trades(exchange=feed.exchange, symbol=feed.symbol, trades=[], received=received, gap=gap), lost

    def add(self, feed: FeedRows, message: Trades, sequence: int) -> int:
        """See ChainedRows."""
        received, source = message.received, message.source
        for trade in message.trades:
            columns = self.day(feed, trade.timestamp // DAY_MS)
            columns.timestamp.append(trade.timestamp)
            columns.received.append(received)
            columns.id.append(trade.id)
            columns.side.append(trade.side)
            columns.price.append(trade.price)
            columns.amount.append(trade.amount)
            columns.source.append(source)
            columns.sequence.append(sequence)
        if message.trades:
            last = message.trades[-1]
            feed.last = EndRow(timestamp=last.timestamp, id=last.id)
        return len(message.trades)

    def gap_of(self, message: Trades, feed: FeedRows) -> ArchivedGap | None:
        """See ChainedRows."""
        gap = message.gap
        if gap is None:
            return None
        return ArchivedGap(
            since=gap.since, until=gap.until, after_id=gap.after_id, before_id=gap.before_id, reason=gap.reason
        )

    def missing_before(self, message: Trades, reason: str, feed: FeedRows | None) -> ArchivedGap:
        """It ends with the message's first trade."""
        if message.trades:
            first = message.trades[0]
            gap = ArchivedGap(since=None, until=first.timestamp, before_id=first.id, reason=reason)
        else:
            gap = ArchivedGap(since=None, until=lost_until(message.received, message.until), reason=reason)
        return gap if feed is None else bounded(gap, Reached(feed.until, feed.last))

    def last_of(self, columns: _Columns) -> EndRow | UnsetType:
        """See ChainedRows."""
        return EndRow(timestamp=columns.timestamp[-1], id=columns.id[-1]) if columns.id else UNSET

    def until_of(self, message: Trades) -> int | None:
        """See ChainedRows."""
        return message.until

    def time_of(self, message: Trades) -> int:
        """Its first trade, else what it declares complete, else its receipt."""
        if message.trades:
            return message.trades[0].timestamp
        return message.received if message.until is None else message.until

    def unit_of(self, message: Trades) -> Unit:
        """See ChainedRows."""
        return Unit(message.multiplier, message.inverse)


def write_part(root: Root, part: Part) -> None:
    """Write a part, whole and durable; one of the same name is replaced. Raises StorageError."""
    schema = with_meta(part.rows.schema, part.meta)
    with root.writing(part.path) as file, pq.ParquetWriter(file, schema, **writing_of(part.day.kind)) as writer:
        writer.write_table(part.rows.cast(schema), row_group_size=ROW_GROUP)
