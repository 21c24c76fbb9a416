"""Plans a splice: which bytes of the old file are kept, and which lines go between them; no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tickwire.cache.csv_bytes import START, bisect, date_at, line_end
from tickwire.cache.disk import Buffer

Piece = tuple[int, int] | bytes
"""Bytes `[start, end)` of the old file, or new lines."""


@dataclass(slots=True)
class SplicePlan:
    """The contents of the new file after the header, and how many rows are added, changed and removed."""

    pieces: list[Piece] = field(default_factory=list)
    added: int = 0
    changed: int = 0
    removed: int = 0


def plan(view: Buffer, end: int, rows: Iterable[tuple[int, bytes]]) -> SplicePlan:
    """Merge ascending (date, line) pairs into the rows of `view[:end]`; a pair replaces the row of its date.

    A pair with an empty line removes that row.

    Reads only lines near the pairs. Raises MalformedLine when one of them is not a row.
    """
    result = SplicePlan()
    fresh: list[bytes] = []
    kept_from = at = START
    next_date = date_at(view, at) if at < end else None

    for date, line in rows:
        if next_date is not None and next_date < date:
            # Often it is the next line; only else is the rest searched.
            at = line_end(view, at, end)
            if at < end and date_at(view, at) < date:
                at = bisect(view, date, at, end)
            next_date = date_at(view, at) if at < end else None
        replaced = at
        if next_date == date:
            replaced = line_end(view, at, end)
            next_date = date_at(view, replaced) if replaced < end else None
            if view[at:replaced] == line:
                at = replaced
                continue
            if line:
                result.changed += 1
            else:
                result.removed += 1
        elif line:
            result.added += 1
        else:
            continue
        if at > kept_from:
            _emit(result, fresh, (kept_from, at))
        fresh.append(line)
        kept_from = at = replaced
    _emit(result, fresh, (kept_from, end) if end > kept_from else None)
    return result


def _emit(result: SplicePlan, fresh: list[bytes], kept: tuple[int, int] | None) -> None:
    """Emit the new lines collected so far, then the bytes that are kept."""
    if fresh:
        result.pieces.append(b"".join(fresh))
        fresh.clear()
    if kept:
        result.pieces.append(kept)
