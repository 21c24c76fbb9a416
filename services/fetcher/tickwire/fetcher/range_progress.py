"""The progress of one range: which parts are proven and which were given up. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tickwire.fetcher.paging_types import ProvenPage
from tickwire.model.messages import Row
from tickwire.model.ranges import Range, clip, merge, subtract


class RangeProgress:
    """The range `wanted`; its parts become proven or are given up until no gap is left."""

    def __init__(self, wanted: Range) -> None:
        self.wanted = wanted
        self._proven: list[Range] = []
        self._given_up: list[Range] = []
        self._pages: list[ProvenPage] = []

    @property
    def missing(self) -> list[Range]:
        """The parts that are not proven, given up or not."""
        return subtract(self.wanted, self._proven)

    @property
    def gap(self) -> Range | None:
        """The first part that is neither proven nor given up; None when none is left."""
        return next(iter(subtract(self.wanted, [*self._proven, *self._given_up])), None)

    def has_moved(self, gap: Range) -> bool:
        """Whether the start of `gap` is proven or given up by now."""
        now = self.gap
        return now is None or now.since != gap.since

    def prove(self, ranges: Iterable[Range], rows: Sequence[Row]) -> None:
        """Record that `rows` contains all candles of `ranges`."""
        found = clip(ranges, self.wanted)
        for whole in found:
            for since, until in subtract(whole, self._proven):
                self._pages.append(ProvenPage(since, until, [row for row in rows if since <= row[0] < until]))
        self._proven = merge([*self._proven, *found])

    def give_up(self, since: int, until: int) -> None:
        """Request nothing more for `[since, until)`."""
        self._given_up = merge([*self._given_up, Range(since, until)])

    def take_pages(self) -> list[ProvenPage]:
        """Return the pages proven since the last call."""
        pages, self._pages = self._pages, []
        return pages
