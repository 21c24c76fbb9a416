"""What one page of an exchange proves. No I/O.

A page is taken to be contiguous: it leaves out no candle between its first and its last row. So its rows prove the span
from the first to the last of them, including the holes between them. Nothing else is proven, with these rules:

- The part between the requested `since` and the first row is proven only where the profile declares that the exchange
  honours `since`, and only by two rows or more. Other exchanges answer with their newest rows whatever was asked, which
  ccxt then cuts to look like a page; and a lone row after a gap is the answer of an exchange that repeats its last one.
  Nor is it proven if the page may have been cut at its beginning (`is_cut`).
- A hole before a lone last row is proven only there, too: other exchanges may add their newest candle to any page.
- The place of a rejected row is doubtful. So is that of an absent row where the exchange has a row for each interval
  without a trade. If such an exchange honours `since`, it has no row where two answers leave it out.
- Rows of a larger timeframe prove by the same rule that nothing was traded between two of them. And where the volumes
  of smaller candles add up to that of the larger candle that contains them, nothing else was traded in it.
- An empty page proves nothing, however often it is given: it may come from a fault, a maintenance, or a window that
  ended before the next candle.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tickwire.fetcher.page_rows import PageRows
from tickwire.fetcher.paging_types import PagingFacts
from tickwire.model import timeframes
from tickwire.model.ranges import Range, merge, subtract
from tickwire.model.timeframes import Grid

_ROUNDING = 1e-11
"""The largest relative error of a sum of volumes by floating point alone: no trade is so small a part of it."""


def proven(page: PageRows, grid: Grid, asked: int | None, closed: int | None, *, honours_since: bool) -> list[Range]:
    """The ranges of which a page has all candles.

    `asked` is the `since` of its request (ms). `closed` is the open time (ms) of the candle that is still open; None
    where the exchange's clock is unknown: the last row then counts as open.
    """
    opens = page.opens
    if not opens:
        return []
    first, last = opens[0], opens[-1]
    ranges = [Range(first, last if closed is None else grid.next_open(last))]
    if len(opens) > 1:
        before = grid.next_open(opens[-2])
        if before < last and not honours_since:
            ranges = [Range(first, before), Range(last, ranges[0].until)]
    if honours_since and asked is not None:
        later = [at for at in opens if at >= asked]
        if len(later) > 1 and later[0] == first and asked < first:
            ranges.append(Range(asked, first))
    return merge(part for whole in merge(ranges) for part in subtract(whole, page.doubts))


def is_cut(page: PageRows, asked: int | None, limit: int | None, facts: PagingFacts) -> bool:
    """Whether candles at the beginning of the requested range may be absent because newer ones filled the page.

    A full page of a window of one page's time that begins later contains the end of the window, too. And an exchange
    forgets its oldest candle with each new one: the first of all that it keeps is not the first there was.
    """
    if asked is None or not page.opens or page.opens[0] <= asked:
        return False
    rows, kept = len(page.opens), facts.newest_rows
    return (facts.windowed and limit is not None and rows >= limit) or (kept is not None and rows >= kept)


def left_out(page: PageRows, grid: Grid, asked: int | None) -> list[Range]:
    """Where a page has no rows, from the `since` of its request to its last row."""
    holes = [Range(end, b) for a, b in pairwise(page.opens) if (end := grid.next_open(a)) < b]
    if page.opens and asked is not None and asked < page.opens[0]:
        holes.insert(0, Range(asked, page.opens[0]))
    return holes


def is_believable(opens: Sequence[int], timeframe: str) -> bool:
    """Whether the smallest distance between two candles is the length of their timeframe.

    In ccxt 4.5.90 some are not: bitstamp's three days are called `1w`.
    """
    nearest = min((b - a for a, b in pairwise(opens)), default=0)
    return timeframes.duration_ms(timeframe) <= nearest <= timeframes.longest_ms(timeframe)


def untraded(opens: Sequence[int], timeframe: str, grid: Grid, *, honours_since: bool) -> list[Range]:
    """Where one page of a larger timeframe proves that no candle of `grid` opens.

    `opens` are its open times (ms), ascending, on any grid.
    """
    length = timeframes.longest_ms(timeframe)
    holes = [(a + length, b) for a, b in pairwise(opens if honours_since else opens[:-1]) if a + length < b]
    return [part for since, until in holes if (part := inside(Range(since, until), grid)).since < part.until]


def untraded_before(first: int, asked: int, timeframe: str, grid: Grid) -> Range:
    """Where no candle of `grid` opens if the first candle of a larger timeframe from `asked` on opens at `first`.

    One larger candle before `first` is excluded: an exchange may leave out the one that the listing cut short.
    """
    return inside(Range(asked, first - timeframes.longest_ms(timeframe)), grid)


def inside(times: Range, grid: Grid) -> Range:
    """The opens of the candles of `grid` that lie wholly within a range of times (ms)."""
    return Range(grid.ceil_open(times.since), grid.open_of(times.until))


def accounted(
    candles: Mapping[int, float], timeframe: str, parts: Mapping[int, float], part: str, closed: int | None
) -> list[Range]:
    """The times of the candles whose volume equals the sum of the `parts` in them: nothing else was traded there.

    `candles` and `parts` are volumes by open time, of `timeframe` and of the smaller timeframe `part`. A part of volume
    0 shows that the exchange has rows for intervals without a trade; sums of volumes prove nothing about those.
    """
    length, step = timeframes.duration_ms(timeframe), timeframes.duration_ms(part)
    if length % step or length != timeframes.longest_ms(timeframe) or closed is None:
        return []
    sums: dict[int, list[float]] = {}
    opens = sorted(candles)
    for at, volume in parts.items():
        place = bisect_right(opens, at) - 1
        if place >= 0 and at - opens[place] < length:
            # A part that does not nest in the candle makes the sum useless.
            nested = (at - opens[place]) % step == 0 and volume > 0
            sums.setdefault(opens[place], []).append(volume if nested else math.nan)
    return [
        Range(at, at + length)
        for at, volumes in sorted(sums.items())
        if at + length <= closed and abs(math.fsum(volumes) - candles[at]) <= _ROUNDING * candles[at]
    ]
