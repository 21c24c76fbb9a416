"""Where the rows of a key come from, as ranges of its meta file; no I/O.

The last page of a range decides. What is in no range is unknown: it was stored by an earlier version, or by a page that
does not say. A range may be forgotten at any time, and is then unknown; but none names another origin than its rows'.
That rows were compared with the archive's trades holds until a page covers them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence

import msgspec

from tickwire.cache.candle_rows import proves
from tickwire.model import timeframes
from tickwire.model.messages import CandlePage, Origin, Provenance
from tickwire.model.ranges import Range, clip, common

MOST_RANGES = 2_000
"""Most ranges of a key, about 60 KB of its meta file; with more, the oldest become unknown."""
ORIGINS: tuple[Origin, ...] = ("exchange", "tape", "audited")
COMPARED = ("archived", "disputed")
"""Of rows of any origin."""
MOST_DISPUTED = 24
"""Most ranges of rows that differ, of one comparison; where there are more, one range has all of them."""


def ranges_of(found: Provenance, name: str) -> list[Range]:
    """The ranges of one origin, or those that were compared, ascending and apart."""
    ranges: list[Range] = getattr(found, name)
    return ranges


def compared(found: Provenance, done: Iterable[Range], disputed: Sequence[Range]) -> Provenance:
    """The provenance once these ranges were compared with the archive, of which `disputed` (ascending) differ."""
    if len(disputed) > MOST_DISPUTED:
        disputed = [Range(disputed[0].since, disputed[-1].until)]
    for part in done:
        found = _replaced(found, "archived", _with(found.archived, part))
        found = _replaced(found, "disputed", _without(found.disputed, part))
    for part in disputed:
        for each in common(found.archived, [part]):
            found = _replaced(found, "disputed", _with(found.disputed, each))
    return _bounded(found)


def uncompared(found: Provenance, part: Range) -> Provenance:
    """The provenance once rows of a range, or the archive's trades of it, are others: they are to be compared again."""
    for name in COMPARED:
        found = _replaced(found, name, _without(ranges_of(found, name), part))
    return found


def before(found: Provenance, pages: Iterable[CandlePage]) -> Provenance:
    """What is certain while the rows of these pages are being written: where they change the origin it is unknown."""
    for page in pages:
        for part, origin in _parts(page):
            for other in ORIGINS:
                if other != origin:
                    found = _replaced(found, other, _without(ranges_of(found, other), part))
            found = uncompared(found, part)
    return found


def after(found: Provenance, pages: Iterable[CandlePage], dates: Callable[[Range], Iterable[int]]) -> Provenance:
    """The provenance once the rows of these pages, in this order, are durable.

    `dates` are the open times of the file's rows in a range, then: rows that a page leaves out are kept, from wherever.
    """
    for page in pages:
        for part, origin in _parts(page):
            found = before(found, [page])
            if origin is not None:
                found = _replaced(found, origin, _with(ranges_of(found, origin), part))
        if not proves(page.rows, page):
            grid, own = timeframes.grid(page.timeframe, page.opens_at), {row[0] for row in page.rows}
            for date in dates(Range(page.since, page.until)):
                if date not in own:
                    for origin in ORIGINS:
                        left = _without(ranges_of(found, origin), Range(date, grid.next_open(date)))
                        found = _replaced(found, origin, left)
    return _bounded(found)


def within(found: Provenance, ranges: Sequence[Range]) -> Provenance:
    """The provenance of the times in `ranges` (ascending and apart) alone."""
    return Provenance(**{name: common(ranges_of(found, name), ranges) for name in (*ORIGINS, *COMPARED)})


def clipped(found: Provenance, bounds: Range) -> Provenance:
    """The provenance of the times in `bounds` alone."""
    return Provenance(**{name: clip(ranges_of(found, name), bounds) for name in (*ORIGINS, *COMPARED)})


def _parts(page: CandlePage) -> list[tuple[Range, Origin | None]]:
    """The range of a page by origin. Rows that the exchange may still revise are never audited."""
    whole = Range(page.since, page.until)
    if page.origin != "audited" or page.settled is None:
        return [(whole, page.origin)]
    settled = min(max(page.settled, page.since), page.until)
    parts: list[tuple[Range, Origin | None]] = [
        (Range(page.since, settled), "audited"),
        (Range(settled, page.until), "exchange"),
    ]
    return [(part, origin) for part, origin in parts if part.since < part.until]


def _replaced(found: Provenance, name: str, ranges: list[Range]) -> Provenance:
    if ranges is ranges_of(found, name):
        return found
    return msgspec.structs.replace(found, **{name: ranges})


def _without(ranges: list[Range], gone: Range) -> list[Range]:
    """`ranges` (ascending and apart) without `gone`: the same list where they do not meet."""
    first = bisect_right(ranges, gone.since, key=lambda each: each.until)
    end = bisect_left(ranges, gone.until, key=lambda each: each.since)
    if first >= end:
        return ranges
    edges = [Range(ranges[first].since, gone.since), Range(gone.until, ranges[end - 1].until)]
    return [*ranges[:first], *(each for each in edges if each.since < each.until), *ranges[end:]]


def _with(ranges: list[Range], new: Range) -> list[Range]:
    """`ranges` (ascending and apart) with `new`: the same list where it is in one of them."""
    first = bisect_left(ranges, new.since, key=lambda each: each.until)
    end = bisect_right(ranges, new.until, key=lambda each: each.since)
    if first >= end:
        return [*ranges[:first], new, *ranges[first:]] if new.since < new.until else ranges
    joined = Range(min(new.since, ranges[first].since), max(new.until, ranges[end - 1].until))
    return ranges if joined == ranges[first] else [*ranges[:first], joined, *ranges[end:]]


def _bounded(found: Provenance) -> Provenance:
    excess = sum(len(ranges_of(found, origin)) for origin in ORIGINS) - MOST_RANGES
    if excess > 0:
        oldest = sorted(each for origin in ORIGINS for each in ranges_of(found, origin))[excess]
        for origin in ORIGINS:
            found = _replaced(found, origin, [each for each in ranges_of(found, origin) if each >= oldest])
    if len(found.archived) + len(found.disputed) > MOST_RANGES:
        first = sorted([*found.archived, *found.disputed])[-MOST_RANGES].since
        for name in COMPARED:
            found = _replaced(found, name, _without(ranges_of(found, name), Range(0, first)))
    return found
