"""Larger timeframes: what their candles prove where the key's own give nothing, and where trading resumed. No I/O.

From a place that no page proves, ever larger timeframes are requested until one has a later candle: a page of them
reaches further. Then ever smaller ones around that candle narrow down where trading resumed. A larger timeframe that
the exchange refuses, or answers with candles of another length, is skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from tickwire.fetcher.page_rows import Volumes
from tickwire.fetcher.paging_types import PageRequest, PagingFacts, RefusedRequest, Steps
from tickwire.fetcher.proof import accounted, inside, is_believable, untraded, untraded_before
from tickwire.model import timeframes
from tickwire.model.messages import Row
from tickwire.model.ranges import Range, subtract
from tickwire.model.timeframes import Grid

LARGER = ("15m", "1h", "1d", "1w", "1M")
"""Timeframes that are requested to find the next trade, the smallest first."""


class _LoneCandle(NamedTuple):
    """A single candle after a gap, and the range that it proves to be empty unless the exchange repeats it always."""

    asked: int
    opened: int
    untraded: Range


class _RefusedForGood(Exception):
    """The exchange will refuse every larger timeframe."""


class LargerTimeframes:
    """The larger timeframes of a key; collects the ranges in which they prove that no candle of the key opens."""

    def __init__(self, grid: Grid, closed: int | None, facts: PagingFacts) -> None:
        length = timeframes.duration_ms(grid.timeframe)
        self._grid = grid
        self._closed = closed
        self._facts = facts
        self._usable = [each for each in LARGER if each in facts.timeframes and timeframes.duration_ms(each) > length]
        self._refused: set[str] = set()
        self._send_until = False
        self._seen: dict[str, Volumes] = {}
        """The candles of each timeframe in the present search."""
        self.answered = False
        """Whether the exchange answered any request of the present search."""
        self._lone: list[_LoneCandle] = []
        self._proven: list[Range] = []

    def take_proven(self) -> list[Range]:
        """Return the ranges that were proven to be empty since the last call."""
        proven, self._proven = self._proven, []
        return proven

    # -- searching ------------------------------------------------------------------------------------------------

    def find_next(self, at: int, *, send_until: bool) -> Steps[int | None]:
        """Search for the first candle after `at` (ms). Returns where it opens, as near as it was found."""
        self.answered = False
        self._lone.clear()
        self._seen.clear()
        self._send_until = send_until
        self._usable = [each for each in self._usable if each not in self._refused]
        try:
            return (yield from self._widen(at))
        except _RefusedForGood:
            self._usable = []
            return None

    def _widen(self, at: int) -> Steps[int | None]:
        """Request ever larger timeframes until one has a candle after `at`, then narrow down."""
        for index, timeframe in enumerate(self._usable):
            if self._closed is not None and timeframes.next_open(timeframe, at) >= self._closed:
                return None
            later = yield from self._look(timeframe, at, at)
            if later:
                return (yield from self._narrow(index, self._end_of_proof(at), later[0]))
        if not self._usable:
            return None
        newest = yield from self._oldest_of_newest(at)
        if newest is None:
            return None
        return (yield from self._narrow(len(self._usable) - 1, self._end_of_proof(at), newest))

    def _narrow(self, index: int, at: int, found: int) -> Steps[int]:
        """Narrow down where trading resumed after `at`, by the candle `found` of the timeframe at `index`."""
        for smaller in range(index - 1, -1, -1):
            before = found - timeframes.longest_ms(self._usable[smaller + 1])
            later = yield from self._look(self._usable[smaller], max(at, before), at)
            at = self._end_of_proof(at)
            found = later[0] if later else found
        return found

    def _look(self, timeframe: str, place: int, at: int) -> Steps[list[int]]:
        """Request candles around `place`. Returns the opens of those after `at`."""
        since = self._since(timeframe, place)
        answer = yield from self._request(timeframe, since)
        if answer is None:
            self._refused.add(timeframe)
            return []
        self.answered = True
        if not answer:
            return []
        opens = list(answer)
        if is_believable(opens, timeframe):
            self._seen.setdefault(timeframe, {}).update(answer)
            self._account(timeframe)
            self._proven += untraded(opens, timeframe, self._grid, honours_since=self._facts.honours_since)
        later = [each for each in opens if each >= since]
        if self._facts.honours_since and later and later[0] == opens[0]:
            before = untraded_before(later[0], since, timeframe, self._grid)
            if len(later) > 1:
                self._proven.append(before)
                self.confirm(opens, since)
            else:
                self._lone.append(_LoneCandle(since, later[0], before))
        return [each for each in later if each > at]

    def _since(self, timeframe: str, place: int) -> int:
        """Where a request for candles around `place` begins (ms)."""
        # The candle that contains the place must be in the answer, and exchanges open days, weeks and months at
        # midnights of their own: begin one earlier. Where `since` may not be honoured begin further back, because a
        # hole is proven only by candles on both sides; and where the next larger candle begins, to account for it.
        back = 1 if self._facts.honours_since else max(2, self._facts.limit // 4)
        since = timeframes.advance(timeframe, timeframes.open_of(timeframe, place), -back)
        larger = self._usable[self._usable.index(timeframe) + 1 :][:1]
        begins = min([since, *(timeframes.open_of(each, place) for each in larger)])
        if timeframes.count(timeframe, begins, place) < self._facts.limit // 2:
            since = begins
        return max(0, since)

    def _oldest_of_newest(self, at: int) -> Steps[int | None]:
        """The first of the newest candles: some exchanges answer empty to a `since` before the listing date."""
        timeframe = self._usable[-1]
        opens = list((yield from self._request(timeframe, None)) or {})
        if not opens or opens[0] <= at:
            return None
        if self._facts.honours_since and 1 < len(opens) < self._facts.limit:
            # The oldest is the first of all, if a page that begins earlier has none before it.
            earlier = timeframes.advance(timeframe, opens[0], 1 - self._facts.limit)
            since = max(timeframes.open_of(timeframe, at), earlier)
            again = list((yield from self._request(timeframe, since)) or {})
            if len(again) > 1 and again[0] == opens[0]:
                self._proven.append(untraded_before(opens[0], at, timeframe, self._grid))
        return opens[0]

    def _request(self, timeframe: str, since: int | None) -> Steps[Volumes | None]:
        """Request a page. Returns None when it was refused; raises _RefusedForGood when all will be."""
        limit = self._facts.limit
        until = timeframes.advance(timeframe, since, limit) if self._send_until and since is not None else None
        reply = yield PageRequest(timeframe, since, limit, until)
        if isinstance(reply, RefusedRequest) and reply.for_good:
            raise _RefusedForGood
        return reply if isinstance(reply, dict) else None

    def _end_of_proof(self, at: int) -> int:
        """The end of what is proven to be empty from `at` on."""
        return max([at, *(proven.until for proven in self._proven if proven.since <= at)])

    # -- proving --------------------------------------------------------------------------------------------------

    def confirm(self, opens: Sequence[int], asked: int) -> None:
        """Keep what lone larger candles proved if the smaller candles of a page from `asked` on agree, else drop it."""
        later = [at for at in opens if at >= asked]
        if len(later) < 2 or later[0] != opens[0]:
            return
        first = later[0]
        for lone in reversed(self._lone):
            if asked < lone.opened <= first:
                self._proven.append(lone.untraded)
                # It is no repetition, so it confirms those before it in turn.
                asked, first = lone.asked, lone.opened
        self._lone.clear()

    def account_for(self, rows: Sequence[Row]) -> None:
        """Where the volumes of the key's candles add up to a larger candle's, nothing else was traded in it."""
        if not self._usable or self._usable[0] not in self._seen:
            return
        smallest, own = self._usable[0], {row[0]: row[5] for row in rows}
        found = accounted(self._seen[smallest], smallest, own, self._grid.timeframe, self._closed)
        self._proven += [inside(whole, self._grid) for whole in found]

    def _account(self, timeframe: str) -> None:
        """Do the same for the candles of a larger timeframe and those of its neighbours."""
        index = self._usable.index(timeframe)
        for small, large in pairwise(self._usable[max(0, index - 1) : index + 2]):
            parts, length = self._seen.get(small, {}), timeframes.duration_ms(small)
            for whole in accounted(self._seen.get(large, {}), large, parts, small, self._closed):
                there = [Range(at, at + length) for at in parts if at in range(*whole)]
                self._proven += [inside(hole, self._grid) for hole in subtract(whole, there)]

    def interval_around(self, at: int) -> Range | None:
        """The opens within the candle of the smallest larger timeframe that contains `at`; None without one."""
        if not self._usable:
            return None
        opened = timeframes.open_of(self._usable[0], at)
        return inside(Range(opened, timeframes.next_open(self._usable[0], opened)), self._grid)
