"""Messages of the tape as the archive reads them, and how a test writes them in rounds."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from tickwire.archive_files import days, parts
from tickwire.archive_files.chained_rows import Part
from tickwire.archive_files.layout import ArchivedFeed, begin_of
from tickwire.archive_files.root import Root
from tickwire.model.feeds import Trade, Trades

DATE = datetime.date(2026, 3, 27)
DAY = 86_400_000
BEGIN = begin_of(DATE)
HOUR = 3_600_000
FEED = ArchivedFeed("trade", "binance", "BTC/USDT")
GENERATION = 1_700_000_000_000


def message(*times: int, feed: ArchivedFeed = FEED, **fields: Any) -> Trades:
    """A message with a trade at each of these times (ms), whose ids are the times."""
    trades = [Trade(id=str(time), timestamp=time, side="buy", price=2.5, amount=0.5) for time in times]
    received = fields.pop("received", max(times, default=BEGIN))
    return Trades(**{"exchange": feed.exchange, "symbol": feed.symbol, "trades": trades, "received": received} | fields)


Taped = tuple[Trades, int, int | None]
"""A message, its sequence, and that of the message of its feed before."""


def write_round(
    root: Root, taped: Iterable[Taped], last: int, *, done: int = 0, generation: int = GENERATION
) -> list[Part]:
    """Write the parts of a round: its messages are those after `done` up to `last`."""
    rows = parts.PartRows(generation, done)
    for each in taped:
        rows.append(*each)
    made = list(rows.parts(last))
    for part in made:
        parts.write_part(root, part)
    return made


def rows_of(root: Root, feed: ArchivedFeed = FEED, since: int = 0, until: int | None = None) -> list[dict[str, Any]]:
    """What a reader reads, times in ms."""
    found = []
    for batch in days.read_rows(root, feed, since, until, batch_rows=3):
        for row in batch.to_pylist():
            found.append(row | {name: round(row[name].timestamp() * 1000) for name in ("timestamp", "received")})
    return found


def times_of(root: Root, feed: ArchivedFeed = FEED, since: int = 0, until: int | None = None) -> list[int]:
    """The times of the rows that a reader reads."""
    return [row["timestamp"] for row in rows_of(root, feed, since, until)]


def unchecked() -> None:
    """The check of a writer that nobody fences."""
