"""The search across a gap that no page proves: by larger timeframes, then by windows further on. No I/O."""

from __future__ import annotations

from tickwire.fetcher.evidence import Evidence
from tickwire.fetcher.own_pages import OwnPages
from tickwire.fetcher.paging_types import Steps
from tickwire.model.ranges import Range

MAX_WINDOWS = 24
"""Windows searched in a row, where no larger timeframe helps, before the rest of a range is given up."""
NEAR_WINDOWS = 8
"""How many of them are adjacent; after that the distance doubles each time."""
MAX_FAILURES = 40
"""Searches in a row without a new candle or proof before the rest of a range is given up."""


class GapSearch:
    """Proves gaps that pages do not prove, or finds the next candle behind them."""

    def __init__(self, evidence: Evidence, own: OwnPages) -> None:
        self._evidence = evidence
        self._own = own
        self._grid = evidence.grid
        self._limit = evidence.facts.limit
        self._closed = evidence.closed
        self._progress = evidence.progress
        self._larger = evidence.larger
        self._failures = 0

    def reset(self) -> None:
        """Count failures from 0: something was proven."""
        self._failures = 0

    def search(self, gap: Range) -> Steps[bool]:
        """Prove the start of a gap, or give it up to the next candle found. Returns whether it was proven."""
        self._failures += 1
        seen = self._evidence.first_candle_from(gap.since)
        found = None
        if self._failures <= MAX_FAILURES and not self._may_be_open(seen):
            if seen is not None or self._exceeds_a_page(gap):
                found = yield from self._next_candle(gap)
            if self._progress.has_moved(gap):
                return True
            # Where the search found none, the last page may have had one: possibly the newest of all.
            found = seen if found is None else found
        self._evidence.give_up(gap.since, gap.until if found is None else min(gap.until, found))
        return False

    def _exceeds_a_page(self, gap: Range) -> bool:
        """Whether there are closed candles after the gap's start that one page from there does not reach."""
        return self._closed is None or self._grid.count(gap.since, self._closed) >= self._limit

    def _may_be_open(self, at: int | None) -> bool:
        """Whether the candle at `at` is the newest one, and no clock shows that it is closed."""
        return self._closed is None and at is not None and at == self._evidence.page.opens[-1]

    def _next_candle(self, gap: Range) -> Steps[int | None]:
        """Where (ms) the key has candles after the gap's start; None if nowhere, or if the gap is proven."""
        around = self._larger.interval_around(gap.since)
        if around is not None:
            # Within one candle of the smallest larger timeframe only windows show where trading resumed.
            found = yield from self._windows(gap, self._grid.count(*around) // self._limit)
            if found is not None:
                return found
        found = yield from self._by_larger_timeframes(gap)
        if self._progress.has_moved(gap):
            return None
        if found is not None:
            if (seen := self._evidence.first_candle_from(gap.since)) is not None:
                return seen
            served = yield from self._own.first_served(Range(gap.since, max(found, gap.until)))
            return found if served is None else served
        if not self._larger.answered:
            found = yield from self._windows(gap, MAX_WINDOWS)
            if found is None:
                yield from self._own.request(None, self._limit)
                found = self._evidence.first_candle_from(gap.since)
        return found

    def _by_larger_timeframes(self, gap: Range) -> Steps[int | None]:
        """Request larger timeframes, then the key's own candles around both ends of the hole that they show."""
        found = yield from self._larger.find_next(gap.since, send_until=self._own.send_until)
        self._progress.prove(self._larger.take_proven(), [])
        # The key's own candles account for the volume of the larger ones, and confirm lone ones.
        around = self._larger.interval_around(gap.since)
        if around is not None and not self._progress.has_moved(gap) and self._grid.count(*around) < self._limit:
            yield from self._own.request(self._own.before(around.since, 1), self._limit)
        if found is None:
            return None
        place = self._grid.open_of(found)
        yield from self._own.request(self._own.before(place, 1), self._limit)
        return max(place, self._grid.next_open(gap.since))

    def _windows(self, gap: Range, most: int) -> Steps[int | None]:
        """Request up to `most` windows further on. Returns where the first candle opens (ms)."""
        at, step = self._own.start_of(gap), self._limit
        end = gap.until if self._closed is None else min(gap.until, self._closed)
        for number in range(most):
            at = self._grid.advance(at, step)
            if at >= end:
                break
            yield from self._own.request(at, self._limit)
            # A candle beyond the window may be the newest one, which some exchanges add to every page.
            window_end = self._grid.advance(at, self._limit)
            opens = self._evidence.page.opens
            found = next((each for each in opens if gap.since <= each < window_end), None)
            if found is not None:
                return found
            if number >= NEAR_WINDOWS:
                step *= 2
        return None
