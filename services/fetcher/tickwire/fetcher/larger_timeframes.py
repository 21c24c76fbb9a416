"""Candles of larger timeframes: what they prove where the key's own give nothing, and where to go on. No I/O.

From a place that no page proves, ever larger candles are asked for until one opens later: a page of them reaches
further. Then ever smaller ones around it, which narrow down where trading went on. A larger timeframe that the
exchange refuses, or that answers nonsense, is passed over.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from tickwire.fetcher.proof import accounted, inside, is_believable, untraded, untraded_before
from tickwire.model import timeframes
from tickwire.model.messages import Row
from tickwire.model.ranges import Range, subtract
from tickwire.model.timeframes import Grid

LADDER = ("15m", "1h", "1d", "1w", "1M")
"""Timeframes worth asking for the next trade, the smallest first."""


class Look(NamedTuple):
    """A request for `limit` candles from `since` on; without, for the newest."""

    timeframe: str
    since: int | None
    limit: int


Volumes = Mapping[int, float]
"""The volumes of candles by their open times, ascending."""
Looks = Generator[Look, Volumes | None, int | None]
"""Asks, is sent candles (None: refused), and returns where a candle opens, as near as it could be found."""


class _Lone(NamedTuple):
    """A single candle after a gap, which may be the same for whatever is asked, and what it proves if it is not."""

    asked: int
    opened: int
    untraded: Range


class LargerTimeframes:
    """The larger timeframes of a key. `taken` is what they proved meanwhile: ranges without a candle of the key's."""

    def __init__(self, grid: Grid, limit: int, offered: frozenset[str], closed: int | None, *, honoured: bool) -> None:
        length = timeframes.duration_ms(grid.timeframe)
        self.rungs = [rung for rung in LADDER if rung in offered and timeframes.duration_ms(rung) > length]
        self._grid = grid
        self._limit = limit
        self._closed = closed
        self._honoured = honoured
        self._seen: dict[str, dict[int, float]] = {}
        """The candles of each rung in this climb."""
        self._refused: set[str] = set()
        self.answered = False
        """Whether the exchange answered anything in this climb."""
        self._lone: list[_Lone] = []
        self._found: list[Range] = []

    def close(self) -> None:
        """Ask for larger timeframes no more."""
        self.rungs = []

    def taken(self) -> list[Range]:
        """What was proven since this was called last."""
        found, self._found = self._found, []
        return found

    def climb(self, at: int) -> Looks:
        """Look for the first candle after the place `at` (ms)."""
        self.answered = False
        self._lone.clear()
        self._seen.clear()
        self.rungs = [rung for rung in self.rungs if rung not in self._refused]
        for place, rung in enumerate(self.rungs):
            if self._closed is not None and timeframes.next_open(rung, at) >= self._closed:
                return None
            later = yield from self._look(rung, at, at)
            if later:
                return (yield from self._descend(place, self._past(at), later[0]))
        if not self.rungs:
            return None
        newest = yield from self._newest(at)
        return None if newest is None else (yield from self._descend(len(self.rungs) - 1, self._past(at), newest))

    def confirm(self, opens: Sequence[int], asked: int) -> None:
        """Smaller candles from `asked` on: what lone larger ones proved, if these agree; else that was wrong."""
        later = [at for at in opens if at >= asked]
        if len(later) < 2 or later[0] != opens[0]:
            return
        first = later[0]
        for lone in reversed(self._lone):
            if asked < lone.opened <= first:
                self._found.append(lone.untraded)
                # It is no repetition, so it confirms those before it in turn.
                asked, first = lone.asked, lone.opened
        self._lone.clear()

    def _descend(self, top: int, at: int, found: int) -> Looks:
        """Narrow down where trading went on after `at`; by the candle of rung `top`, at `found` or after it."""
        for place in range(top - 1, -1, -1):
            before = found - timeframes.longest_ms(self.rungs[place + 1])
            later = yield from self._look(self.rungs[place], max(at, before), at)
            at = self._past(at)
            found = later[0] if later else found
        return found

    def account(self, rows: Sequence[Row]) -> None:
        """Candles of the key: where their volumes make up larger ones, nothing else was traded."""
        if not self.rungs or self.rungs[0] not in self._seen:
            return
        rung, own = self.rungs[0], {row[0]: row[5] for row in rows}
        found = accounted(self._seen[rung], rung, own, self._grid.timeframe, self._closed)
        self._found += [inside(whole, self._grid) for whole in found]

    def around(self, at: int) -> Range | None:
        """The opens within the smallest larger candle that a place falls into; None where there is no ladder."""
        if not self.rungs:
            return None
        opened = timeframes.open_of(self.rungs[0], at)
        return inside(Range(opened, timeframes.next_open(self.rungs[0], opened)), self._grid)

    def _account(self, rung: str) -> None:
        """The same for the candles of a rung and those of its neighbours."""
        place = self.rungs.index(rung)
        for small, large in pairwise(self.rungs[max(0, place - 1) : place + 2]):
            parts, length = self._seen.get(small, {}), timeframes.duration_ms(small)
            for whole in accounted(self._seen.get(large, {}), large, parts, small, self._closed):
                there = [Range(at, at + length) for at in parts if at in range(*whole)]
                self._found += [inside(hole, self._grid) for hole in subtract(whole, there)]

    def _look(self, rung: str, place: int, at: int) -> Generator[Look, Volumes | None, list[int]]:
        """Ask for candles around a place; those that open after `at`."""
        # From before the place: exchanges open days, weeks and months at midnights of their own, and the candle that
        # the place falls into must be among the answer. Where `since` may not be honoured, from further, for a hole is
        # proven only by candles on both sides; and from where the next larger one begins, for its account.
        back = 1 if self._honoured else max(2, self._limit // 4)
        since = timeframes.advance(rung, timeframes.open_of(rung, place), -back)
        larger = self.rungs[self.rungs.index(rung) + 1 :][:1]
        begins = min([since, *(timeframes.open_of(each, place) for each in larger)])
        if timeframes.count(rung, begins, place) < self._limit // 2:
            since = begins
        since = max(0, since)
        answer = yield Look(rung, since, self._limit)
        if answer is None:
            self._refused.add(rung)
            return []
        self.answered = True
        if not answer:
            return []
        opens = list(answer)
        if is_believable(opens, rung):
            self._seen.setdefault(rung, {}).update(answer)
            self._account(rung)
            self._found += untraded(opens, rung, self._grid, honoured=self._honoured)
        later = [each for each in opens if each >= since]
        if self._honoured and later and later[0] == opens[0]:
            before = untraded_before(later[0], since, rung, self._grid)
            if len(later) > 1:
                self._found.append(before)
                self.confirm(opens, since)
            else:
                self._lone.append(_Lone(since, later[0], before))
        return [each for each in later if each > at]

    def _newest(self, at: int) -> Looks:
        """Some exchanges answer empty to a `since` before the listing date: see what they have at all."""
        rung = self.rungs[-1]
        opens = list((yield Look(rung, None, self._limit)) or [])
        if not opens or opens[0] <= at:
            return None
        if self._honoured and 1 < len(opens) < self._limit:
            # Not even a page earlier is there anything before the oldest?
            since = max(timeframes.open_of(rung, at), timeframes.advance(rung, opens[0], 1 - self._limit))
            again = list((yield Look(rung, since, self._limit)) or [])
            if len(again) > 1 and again[0] == opens[0]:
                self._found.append(untraded_before(opens[0], at, rung, self._grid))
        return opens[0]

    def _past(self, at: int) -> int:
        """The end of what is proven from a place on."""
        return max([at, *(found.until for found in self._found if found.since <= at)])
