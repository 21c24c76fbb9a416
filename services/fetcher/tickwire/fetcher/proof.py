"""What one answer of an exchange proves. No I/O.

One answer is taken to be contiguous: between its first and its last row it leaves nothing out. So rows prove the span
from the first to the last of them, holes included. Nothing else does:

- What lies between the place asked and the first row is proven only where the venue's profile says that it honours
  `since`: other venues answer with their newest rows whatever was asked, which ccxt then cuts to look like a page. And
  only by two rows or more: a lone one after a gap is what an exchange answers that repeats its last one.
- A hole before a lone last row is proven only there, too: other venues may add their newest candle to any page.
- A rejected row leaves its place in doubt. So does an absent one where the venue has a row for each interval without a
  trade: it is no quiet interval. Such a venue does not have it when two answers leave it out, if it honours `since`.
- Rows of a larger timeframe prove by the same rule that nothing was traded between two of them. And where the volumes
  of smaller candles add up to that of the larger one that they lie in, nothing else was traded in it.
- An empty answer proves nothing, however often it is given: it may be a fault, a maintenance, or a window that ended
  before the next candle.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tickwire.fetcher.page_rows import Answer
from tickwire.model import timeframes
from tickwire.model.ranges import Range, merge, subtract
from tickwire.model.timeframes import Grid

_ROUNDING = 1e-11
"""How far a sum of volumes may be off, relatively, by floating point alone: no trade is so small a part of it."""


def proven(answer: Answer, grid: Grid, asked: int | None, closed: int | None, *, honoured: bool) -> list[Range]:
    """The ranges of which an answer has all candles.

    `asked` is the `since` of the request. `closed` is the open time of the open candle, None where the exchange's
    clock is unknown: the last row then counts as open.
    """
    opens = answer.opens
    if not opens:
        return []
    first, last = opens[0], opens[-1]
    ranges = [Range(first, last if closed is None else grid.next_open(last))]
    if len(opens) > 1:
        before = grid.next_open(opens[-2])
        if before < last and not honoured:
            ranges = [Range(first, before), Range(last, ranges[0].until)]
    if honoured and asked is not None:
        later = [at for at in opens if at >= asked]
        if len(later) > 1 and later[0] == first and asked < first:
            ranges.append(Range(asked, first))
    return merge(part for whole in merge(ranges) for part in subtract(whole, answer.doubts))


def left_out(answer: Answer, grid: Grid, asked: int | None) -> list[Range]:
    """Where an answer has no rows, from the place asked to its last one."""
    holes = [Range(end, b) for a, b in pairwise(answer.opens) if (end := grid.next_open(a)) < b]
    if answer.opens and asked is not None and asked < answer.opens[0]:
        holes.insert(0, Range(asked, answer.opens[0]))
    return holes


def is_believable(opens: Sequence[int], timeframe: str) -> bool:
    """Whether candles have the length of their timeframe: the nearest two of them are one after the other.

    ccxt has some that do not: 4.5.90 calls bitstamp's three days `1w`.
    """
    nearest = min((b - a for a, b in pairwise(opens)), default=0)
    return timeframes.duration_ms(timeframe) <= nearest <= timeframes.longest_ms(timeframe)


def untraded(opens: Sequence[int], timeframe: str, grid: Grid, *, honoured: bool) -> list[Range]:
    """Where, by the candles of a larger timeframe in one answer, none of `grid` opens.

    `opens` are their open times, ascending, on whatever grid they are.
    """
    length = timeframes.longest_ms(timeframe)
    holes = [(a + length, b) for a, b in pairwise(opens if honoured else opens[:-1]) if a + length < b]
    return [part for since, until in holes if (part := inside(Range(since, until), grid)).since < part.until]


def untraded_before(first: int, asked: int, timeframe: str, grid: Grid) -> Range:
    """Where no candle of `grid` opens, when the first of a larger timeframe at or after `asked` opens at `first`.

    One candle is kept back, because an exchange may leave out one that was cut short by the listing.
    """
    return inside(Range(asked, first - timeframes.longest_ms(timeframe)), grid)


def inside(times: Range, grid: Grid) -> Range:
    """The opens of the candles of `grid` that lie wholly within a range of times."""
    return Range(grid.ceil_open(times.since), grid.open_of(times.until))


def accounted(
    candles: Mapping[int, float], timeframe: str, parts: Mapping[int, float], part: str, closed: int | None
) -> list[Range]:
    """The times of the candles whose volume the `parts` in them make up: nothing else was traded there.

    `candles` and `parts` are volumes by open time, of `timeframe` and of the smaller timeframe `part`. Where a part has
    volume 0, the venue has candles in which nothing was traded, of which volumes say nothing.
    """
    length, step = timeframes.duration_ms(timeframe), timeframes.duration_ms(part)
    if length % step or length != timeframes.longest_ms(timeframe) or closed is None:
        return []
    sums: dict[int, list[float]] = {}
    opens = sorted(candles)
    for at, volume in parts.items():
        place = bisect_right(opens, at) - 1
        if place >= 0 and at - opens[place] < length:
            # One that is no whole part of the candle spoils the sum.
            nested = (at - opens[place]) % step == 0 and volume > 0
            sums.setdefault(opens[place], []).append(volume if nested else math.nan)
    return [
        Range(at, at + length)
        for at, volumes in sorted(sums.items())
        if at + length <= closed and abs(math.fsum(volumes) - candles[at]) <= _ROUNDING * candles[at]
    ]
