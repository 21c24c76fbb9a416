"""Pages of a key that wait for a splice; no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tickwire.cache.candle_rows import format_rows
from tickwire.model.messages import CandlePage, Row, VolumeUnit


@dataclass(slots=True)
class Pending:
    """What waits: lines by date, pages by sequence; `last` is the newest date among them."""

    lines: dict[int, bytes] = field(default_factory=dict)
    pages: dict[int, CandlePage] = field(default_factory=dict)
    last: int = -(2**62)
    unit: VolumeUnit | None = None

    def add(self, seq: int, page: CandlePage, rows: Sequence[Row]) -> None:
        """One more page, with its rows in order."""
        lines = format_rows(rows).split(b"\n")
        self.lines.update((row[0], line + b"\n") for row, line in zip(rows, lines, strict=False))
        self.pages[seq] = page
        self.last = max(self.last, rows[-1][0])
