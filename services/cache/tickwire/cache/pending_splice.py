"""Pages of a key that wait to be spliced into its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tickwire.cache.candle_rows import format_rows
from tickwire.cache.key_facts import KeyFacts
from tickwire.cache.key_files import KeyFiles
from tickwire.model.messages import CandlePage, Row, VolumeUnit
from tickwire.model.ranges import Range


@dataclass(slots=True)
class PendingSplice:
    """Lines by date and pages by stream sequence; `last` is the newest date, `unit` that of the volumes."""

    lines: dict[int, bytes] = field(default_factory=dict)
    pages: dict[int, CandlePage] = field(default_factory=dict)
    last: int = -(2**62)
    unit: VolumeUnit | None = None

    def add(self, seq: int, page: CandlePage, rows: Sequence[Row]) -> None:
        """Add a page with its rows, ascending."""
        lines = format_rows(rows).split(b"\n")
        self.lines.update((row[0], line + b"\n") for row, line in zip(rows, lines, strict=False))
        self.pages[seq] = page
        self.last = max(self.last, rows[-1][0])

    def splice_into(self, file: KeyFiles) -> None:
        """Splice the pages into the file of their key. Raises CacheFileError, OSError."""
        state, pages = file.load(), list(self.pages.values())
        facts = state.facts if state else KeyFacts()
        file.prepare(facts.before(pages), self.unit)
        file.splice(self.lines, [Range(page.since, page.until) for page in pages], self.unit)
        file.agree(facts.after(pages))
