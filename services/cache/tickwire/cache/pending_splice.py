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
    """Lines by date and pages by stream sequence; `last` is the newest date of the ranges, `unit` that of the volumes.

    Rows up to `last` wait, too: appended at once, they would be removed or described by the earlier pages. Within
    `whole`, rows of the file that have no line here are removed.
    """

    lines: dict[int, bytes] = field(default_factory=dict)
    pages: dict[int, CandlePage] = field(default_factory=dict)
    last: int = -(2**62)
    unit: VolumeUnit | None = None
    whole: list[Range] = field(default_factory=list)

    def add(self, seq: int, page: CandlePage, rows: Sequence[Row]) -> None:
        """Add a page with its rows, ascending."""
        if (whole := replaced(page)) is not None:
            self.lines = {date: line for date, line in self.lines.items() if not whole.since <= date < whole.until}
            self.whole.append(whole)
        lines = format_rows(rows).split(b"\n")
        self.lines.update((row[0], line + b"\n") for row, line in zip(rows, lines, strict=False))
        self.pages[seq] = page
        self.last = max(self.last, page.until - 1)

    def splice_into(self, file: KeyFiles) -> None:
        """Splice the pages into the file of their key. Raises CacheFileError, OSError."""
        # In the order of the stream: after a failure, pages of the same batch were added again.
        state, pages = file.load(), [page for _, page in sorted(self.pages.items())]
        facts = state.facts if state else KeyFacts()
        file.prepare(facts.before(pages), self.unit)
        gone = {date: b"" for part in self.whole for date in file.dates(part)}
        file.splice(gone | self.lines, [Range(page.since, page.until) for page in pages], self.unit)
        file.agree(facts.after(pages, file.dates))


def replaced(page: CandlePage) -> Range | None:
    """The range whose rows in the file this page replaces as a whole: the final part of an audited one."""
    if page.origin != "audited":
        return None
    return Range(page.since, page.until if page.settled is None else min(page.until, max(page.since, page.settled)))
