"""How far the fetching of one range has come: what of it is proven, and what was given up. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tickwire.fetcher.paging_types import ProvenPage
from tickwire.model.messages import Row
from tickwire.model.ranges import Range, clip, merge, subtract


class RangeProgress:
    """A range `wanted`, of which more and more is proven or given up."""

    def __init__(self, wanted: Range) -> None:
        self.wanted = wanted
        self._proven: list[Range] = []
        self._given_up: list[Range] = []
        self._made: list[ProvenPage] = []

    @property
    def missing(self) -> list[Range]:
        """What is not proven."""
        return subtract(self.wanted, self._proven)

    @property
    def gap(self) -> Range | None:
        """The first range that is neither proven nor given up."""
        return next(iter(subtract(self.wanted, [*self._proven, *self._given_up])), None)

    def has_moved(self, gap: Range) -> bool:
        """Whether the beginning of what was a gap is none any more."""
        now = self.gap
        return now is None or now.since != gap.since

    def prove(self, ranges: Iterable[Range], rows: Sequence[Row]) -> None:
        """`rows` has all candles of `ranges`."""
        found = clip(ranges, self.wanted)
        for whole in found:
            for since, until in subtract(whole, self._proven):
                self._made.append(ProvenPage(since, until, [row for row in rows if since <= row[0] < until]))
        self._proven = merge([*self._proven, *found])

    def give_up(self, since: int, until: int) -> None:
        """Try `[since, until)` no more."""
        self._given_up = merge([*self._given_up, Range(since, until)])

    def taken(self) -> list[ProvenPage]:
        """What was proven since this was called last."""
        made, self._made = self._made, []
        return made
