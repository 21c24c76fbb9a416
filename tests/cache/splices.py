"""Pages that each go before the last one, so that the file of their key is replaced again and again."""

from __future__ import annotations

from collections.abc import Iterator

from tickwire.model.messages import CandlePage, Row
from tickwire.model.subjects import Key

MINUTE = 60_000
KEY = Key("binance", "BTC/USDT", "1m")
FIRST = 1_700_000_040_000 // MINUTE
NEWEST = FIRST + 100_000
ROWS = 40
"""Rows that each page adds before those that are there."""


def row_at(minute: int, version: int) -> Row:
    # Lines of unlike length, so that an old size never ends a line of the new file by chance.
    return (minute * MINUTE, 1.5, 2.0 + version, 0.5, 10.0 ** (minute % 7) / 3, float(minute % 1000))


def page(minutes: range, version: int, key: Key = KEY) -> CandlePage:
    return CandlePage(
        **key._asdict(),
        since=minutes.start * MINUTE,
        until=minutes.stop * MINUTE,
        rows=[row_at(minute, version) for minute in minutes],
    )


def backwards(pages: int) -> Iterator[tuple[CandlePage, list[Row]]]:
    """Pages that each go before the last one and change its first ten rows, and all rows there are after each."""
    rows: dict[int, Row] = {}
    for version in range(pages):
        start = NEWEST - (version + 1) * ROWS
        one = page(range(start, start + ROWS + (10 if version else 0)), version)
        rows |= {row[0]: row for row in one.rows}
        yield one, [rows[date] for date in sorted(rows)]


def as_lines(rows: list[Row]) -> bytes:
    """By Python's own formatting."""
    return "".join(f"{row[0]}," + ",".join(map(repr, row[1:])) + "\n" for row in rows).encode()
