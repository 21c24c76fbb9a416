"""Builds the replies to `cache.get` and `cache.list`: rows in JSON or columns in MessagePack, in chunks; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec

from tickwire.bus.connection import CHUNK_BYTES
from tickwire.cache import packed_columns
from tickwire.cache.candle_rows import columns
from tickwire.cache.packed_columns import Packed
from tickwire.errors import TickwireError
from tickwire.model.messages import CacheList, Coverage
from tickwire.model.subjects import Key

_ROOM = CHUNK_BYTES - 4096
"""Bytes of a chunk for rows, besides the other fields."""
_COLUMN_BYTES = 6 * 8

T = TypeVar("T")


def as_rows(key: Key, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of a data file, all of whose lines are rows, as Candles messages; the text of numbers is copied."""
    for number, (chunk, more) in enumerate(_with_more(pieces, b"")):
        rows = b"[[" + chunk[:-1].replace(b"\n", b"],[") + b"]]" if chunk else b"[]"
        yield msgspec.json.encode(
            {
                "exchange": key.exchange,
                "symbol": key.symbol,
                "timeframe": key.timeframe,
                "rows": msgspec.Raw(rows),
                "chunk": number,
                "more": more,
            }
        )


def as_columns(key: Key, tables: Iterable[Packed], *, compact: bool = False) -> Iterator[bytes]:
    """Rows as CandleColumns messages; packed if `compact`."""
    nothing = packed_columns.plain(columns(b""))
    for number, (table, more) in enumerate(_with_more(_sized(tables), nothing)):
        packed = table if compact else packed_columns.plain(table.unpacked())
        dates, opens, highs, lows, closes, volumes = map(packed_columns.as_bytes, (packed.dates, *packed.values))
        yield msgspec.msgpack.encode(
            {
                "exchange": key.exchange,
                "symbol": key.symbol,
                "timeframe": key.timeframe,
                "count": packed.rows,
                "dates": dates,
                "opens": opens,
                "highs": highs,
                "lows": lows,
                "closes": closes,
                "volumes": volumes,
                "chunk": number,
                "more": more,
                **({"step": packed.step, "decimals": packed.decimals} if compact else {}),
            }
        )


def _sized(tables: Iterable[Packed]) -> Iterator[Packed]:
    """Tables, cut where they are too long for a message."""
    most = _ROOM // _COLUMN_BYTES
    for table in tables:
        for start in range(0, table.rows, most):
            yield table.part(start, min(start + most, table.rows))


def _with_more(parts: Iterable[T], empty: T) -> Iterator[tuple[T, bool]]:
    """Each part, and whether another follows; `empty` if there is none."""
    following = iter(parts)
    part = next(following, empty)
    for another in following:
        yield part, True
        part = another
    yield part, False


def as_list(keys: list[Coverage], damaged: list[str]) -> Iterator[bytes]:
    """A listing as CacheList messages; each has at least one key.

    A key with more ranges than fit into a message is listed among the damaged, so that the others are listed.
    """
    parts: list[list[Coverage]] = [[]]
    notes = list(damaged)
    size = 0
    for coverage in keys:
        length = len(msgspec.json.encode(coverage)) + 1
        if length > _ROOM:
            notes.append(str(too_many_ranges(coverage)))
            continue
        if parts[-1] and size + length > _ROOM:
            parts.append([])
            size = 0
        parts[-1].append(coverage)
        size += length
    # Refused files come last, in chunks of their own.
    noted = [notes[at : at + 500] for at in range(0, len(notes), 500)]
    pieces = [(part, list[str]()) for part in parts if part] + [(list[Coverage](), note) for note in noted]
    for number, (part, note) in enumerate(pieces or [([], [])]):
        yield msgspec.json.encode(
            CacheList(keys=part, damaged=note, chunk=number, more=number + 1 < max(len(pieces), 1))
        )


def too_many_ranges(coverage: Coverage) -> TickwireError:
    """The error for a coverage that does not fit into one message."""
    return TickwireError(
        f"{coverage.key} has {len(coverage.verified):,} separate verified ranges, too many for one message",
        "fetch its whole range once, which merges them",
    )
