"""The parts of tickers: a row for each message, as ChainedRows has them.

A ticker is a state, of which messages between two may be missing without a hole on the tape: while its exchange was not
connected, or no streamer ran. The first message after that says so, and a gap is noted.
"""

from __future__ import annotations

from array import array
from typing import Any

import pyarrow as pa

from tickwire.archive_files.chained_rows import UNREADABLE, ChainedRows, FeedRows, lost_until
from tickwire.archive_files.file_meta import Unit
from tickwire.archive_files.layout import DAY_MS, ArchivedFeed
from tickwire.archive_files.schema import TICKERS
from tickwire.model.feeds.tape import Ticker
from tickwire.model.messages.archive import ArchivedGap

INTERRUPTED = "the ticker was interrupted: the exchange was not connected, or no streamer ran"
VALUES = tuple(field.name for field in TICKERS if pa.types.is_floating(field.type))
"""The columns that are fields of a ticker, and may be absent."""


class _Columns:
    """Rows of a feed and day, by column."""

    def __init__(self) -> None:
        self.numbers: dict[str, array[int]] = {
            name: array("q") for name in ("timestamp", "received", "conflated", "sequence")
        }
        self.values: dict[str, list[float | None]] = {name: [] for name in VALUES}

    def table(self) -> Any:
        """The rows as a pyarrow.Table."""
        columns = []
        for each in TICKERS:
            if (numbers := self.numbers.get(each.name)) is not None:
                columns.append(pa.Array.from_buffers(each.type, len(numbers), [None, pa.py_buffer(numbers)]))
            else:
                columns.append(pa.array(self.values[each.name], each.type))
        return pa.Table.from_arrays(columns, schema=TICKERS)


class TickerRows(ChainedRows[Ticker]):
    """The tickers of one round."""

    kind = "ticker"
    message = Ticker
    columns = _Columns

    def __init__(self, generation: int, done: int) -> None:
        super().__init__(generation, done)
        self._begin: dict[tuple[str, str], int | None] = {}
        """For feeds that have nothing but repeated messages yet, what comes before the first of these."""

    def append(self, message: Ticker, sequence: int, prev: int | None, lost: str = "") -> int | None:
        """See ChainedRows. A message that repeats the last one of another streamer has nothing new."""
        feed = (message.exchange, message.symbol)
        if feed not in self._feeds:
            prev = self._begin.setdefault(feed, prev)
        if message.repeated and not message.interrupted:
            # Its time may be that of any day before. What was lost ends with the owner's next message, an interruption.
            return None
        return super().append(message, sequence, prev, lost)

    def unreadable(self, feed: ArchivedFeed, received: int, lost: str) -> tuple[Ticker, str]:
        """See ChainedRows: its values are not known."""
        stands = Ticker(
            exchange=feed.exchange,
            symbol=feed.symbol,
            timestamp=None,
            received=received,
            interrupted=True,
            repeated=True,
        )
        return stands, lost or UNREADABLE

    def add(self, feed: FeedRows, message: Ticker, sequence: int) -> int:
        """See ChainedRows."""
        if message.repeated:
            return 0
        timestamp = self.time_of(message)
        columns = self.day(feed, timestamp // DAY_MS)
        numbers = columns.numbers
        numbers["timestamp"].append(timestamp)
        numbers["received"].append(message.received)
        numbers["conflated"].append(message.conflated)
        numbers["sequence"].append(sequence)
        for name, values in columns.values.items():
            values.append(getattr(message, name))
        return 1

    def gap_of(self, message: Ticker, feed: FeedRows) -> ArchivedGap | None:
        """See ChainedRows. Before the first message of all nothing was followed."""
        is_first = feed.begins is not None and feed.until is None
        return self.missing_before(message, INTERRUPTED, feed) if message.interrupted and not is_first else None

    def missing_before(self, message: Ticker, reason: str, feed: FeedRows | None) -> ArchivedGap:
        """It ends with the message."""
        after = None if feed is None else feed.until
        until = lost_until(message.received, None) if message.repeated else self.time_of(message)
        since = None if after is None else after - 1
        return ArchivedGap(since=since, until=until if after is None else max(until, after), reason=reason)

    def until_of(self, message: Ticker) -> int | None:
        """Its time: each state is a message, and states come in the order of their times."""
        return None if message.repeated else self.time_of(message)

    def time_of(self, message: Ticker) -> int:
        """That of the exchange; of the receipt where the exchange gives none."""
        return message.received if message.timestamp is None else message.timestamp

    def unit_of(self, message: Ticker) -> Unit:
        """See ChainedRows."""
        return Unit(None)


def declared_until(message: Ticker) -> int | None:
    """The time (ms) before which every state is in a message up to this one, or in a gap; None if it tells none."""
    return TickerRows(0, 0).until_of(message)
