"""What the answers for one range have shown so far: proven parts, the newest candle, doubtful places. No I/O."""

from __future__ import annotations

from tickwire.fetcher import proof
from tickwire.fetcher.larger_timeframes import LargerTimeframes
from tickwire.fetcher.page_rows import PageRows
from tickwire.fetcher.paging_types import PagingFacts
from tickwire.fetcher.range_progress import RangeProgress
from tickwire.model.ranges import Range, merge, subtract
from tickwire.model.timeframes import Grid


class Evidence:
    """Credits pages of the key's own timeframe to the range `wanted`.

    `closed` is the open time (ms) of the candle that is still open; None where the exchange's clock is unknown.
    `newest` is the open time (ms) of the newest candle received so far, closed or not.
    """

    def __init__(
        self, grid: Grid, wanted: Range, closed: int | None, facts: PagingFacts, newest: int | None = None
    ) -> None:
        self.grid = grid
        self.closed = closed
        self.facts = facts
        self.newest = newest
        self.progress = RangeProgress(wanted)
        self.larger = LargerTimeframes(grid, closed, facts)
        self.page = PageRows([])
        """The last page of the key's own timeframe."""
        self.answered = False
        """Whether the exchange answered any request for the key's own timeframe."""
        self._left_out: list[Range] = []
        """Intervals without a row in an earlier page, where the exchange has a row for each quiet interval."""

    def credit(self, page: PageRows, asked: int | None, limit: int | None = None) -> None:
        """Record what a page proves. `asked` and `limit` are the `since` (ms) and the `limit` of its request."""
        self.page, self.answered = page, True
        if page.rows:
            self.newest = max(page.rows[-1][0], self.newest or 0)
        since = None if proof.is_cut(page, asked, limit, self.facts) else asked
        found = proof.proven(page, self.grid, since, self.closed, honours_since=self.facts.honours_since)
        if self.facts.quiet_rows:
            found = self._without_new_holes(page, asked, found)
        if asked is not None:
            self.larger.confirm(page.opens, asked)
        self.larger.account_for(page.rows)
        self.progress.prove([*self.larger.take_proven(), *found], page.rows)

    def _without_new_holes(self, page: PageRows, asked: int | None, found: list[Range]) -> list[Range]:
        """Remove from `found` the intervals that this page is the first to leave out: they are requested again."""
        holes = proof.left_out(page, self.grid, asked)
        known = self._left_out if self.facts.honours_since else []
        new = [part for hole in holes for part in subtract(hole, known)]
        self._left_out = merge([*self._left_out, *holes])
        return merge(part for whole in found for part in subtract(whole, new))

    def first_candle_from(self, at: int) -> int | None:
        """The open time of the first candle at or after `at` in the last page."""
        return next((each for each in self.page.opens if each >= at), None)

    def is_doubtful(self, at: int) -> bool:
        """Whether a rejected row of the last page may belong at `at`."""
        return any(doubt.since <= at < doubt.until for doubt in self.page.doubts)

    def give_up_doubtful(self, gap: Range) -> bool:
        """Give up the start of `gap` if a rejected row may belong there. Returns whether that was so."""
        doubt = next((each for each in self.page.doubts if each.since <= gap.since < each.until), None)
        if doubt is None:
            return False
        self.give_up(gap.since, min(doubt.until, gap.until))
        return True

    def give_up(self, since: int, until: int) -> None:
        """Request nothing more for `[since, until)`, and at least for the candle that opens at `since`."""
        self.progress.give_up(since, max(until, self.grid.next_open(since)))
