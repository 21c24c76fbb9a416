"""Candles as the replies to `cache.get`: JSON rows or MessagePack columns, in chunks by bytes; no I/O."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tickwire.bus import CHUNK_BYTES
from tickwire.cache.rows import columns, parse_rows
from tickwire.messages import CacheList, CandleColumns, Coverage
from tickwire.subjects import Key

_ROOM = CHUNK_BYTES - 4096
"""What of a chunk is left for rows beside the names of its fields."""
_COLUMN_BYTES = 6 * 8


def as_rows(key: Key, lines: bytes) -> Iterator[bytes]:
    """Lines of a data file as Candles messages; the numbers are passed on as they stand in the file.

    Raises ValueError when a line is not a row.
    """
    chunks = list(_split(lines)) or [b""]
    before: int | None = None
    for number, chunk in enumerate(chunks):
        before = _checked(chunk, before)
        rows = b"[[" + chunk[:-1].replace(b"\n", b"],[") + b"]]" if chunk else b"[]"
        yield msgspec.json.encode(
            {
                "exchange": key.exchange,
                "symbol": key.symbol,
                "timeframe": key.timeframe,
                "rows": msgspec.Raw(rows),
                "chunk": number,
                "more": number + 1 < len(chunks),
            }
        )


def as_columns(key: Key, lines: bytes) -> Iterator[bytes]:
    """Lines of a data file as CandleColumns messages. Raises ValueError when a line is not a row."""
    table = columns(lines)
    size = _ROOM // _COLUMN_BYTES
    starts = range(0, max(len(table.dates), 1), size)
    for number, start in enumerate(starts):
        dates, opens, highs, lows, closes, volumes = (column[start : start + size] for column in table)
        yield msgspec.msgpack.encode(
            CandleColumns(
                exchange=key.exchange,
                symbol=key.symbol,
                timeframe=key.timeframe,
                count=len(dates),
                dates=dates.astype("<i8").tobytes(),
                opens=opens.astype("<f8").tobytes(),
                highs=highs.astype("<f8").tobytes(),
                lows=lows.astype("<f8").tobytes(),
                closes=closes.astype("<f8").tobytes(),
                volumes=volumes.astype("<f8").tobytes(),
                chunk=number,
                more=number + 1 < len(starts),
            )
        )


def as_list(keys: list[Coverage], damaged: list[str]) -> Iterator[bytes]:
    """A listing as CacheList messages; each has one key at least."""
    parts: list[list[Coverage]] = [[]]
    size = 0
    for coverage in keys:
        length = len(msgspec.json.encode(coverage)) + 1
        if parts[-1] and size + length > _ROOM:
            parts.append([])
            size = 0
        parts[-1].append(coverage)
        size += length
    # The refused files come last, by themselves, so that they have a chunk's room.
    notes = [damaged[at : at + 500] for at in range(0, len(damaged), 500)]
    pieces = [(part, list[str]()) for part in parts if part] + [(list[Coverage](), note) for note in notes]
    for number, (part, note) in enumerate(pieces or [([], [])]):
        yield msgspec.json.encode(
            CacheList(keys=part, damaged=note, chunk=number, more=number + 1 < max(len(pieces), 1))
        )


def _checked(lines: bytes, before: int | None) -> int | None:
    """The date of the last row. Raises ValueError when a line is not a row, or not after the one before it."""
    for date, *_ in parse_rows(lines):
        if before is not None and date <= before:
            raise ValueError("rows that do not ascend")
        before = date
    return before


def _split(lines: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(lines):
        # A line takes two bytes more as a JSON array ("],[" for the line feed).
        end = len(lines) if len(lines) - start <= _ROOM // 2 else lines.rfind(b"\n", start, start + _ROOM * 4 // 5) + 1
        yield lines[start:end]
        start = end
