"""What the cache lacks of the candles that somebody asked for, in words. The range asked for is pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from tickwire.bus.connection import Bus
from tickwire.cli.output import render
from tickwire.errors import NotCached
from tickwire.model.messages import CandleColumns, Coverage, KeyRequest
from tickwire.model.ranges import Range, clip, subtract
from tickwire.model.subjects import Key
from tickwire.model.timeframes import Grid
from tickwire.venues.registry import grid_of, profile_of


@dataclass(frozen=True)
class Asked:
    """A range of candles (ms), and how many of them at most: the oldest, or with `last` the newest."""

    since: int | None
    until: int | None
    limit: int | None = None
    last: bool = False


@dataclass
class Given:
    """What was handed out of a key: how many candles, and where the first and the last one open (ms)."""

    count: int = 0
    first: int | None = None
    newest: int | None = None
    opens: list[bytes] = field(default_factory=list)

    def take(self, chunk: CandleColumns) -> None:
        """Count a chunk."""
        if not chunk.count:
            return
        self.count += chunk.count
        self.first = _open_at(chunk.dates, 0) if self.first is None else self.first
        self.newest = _open_at(chunk.dates, chunk.count - 1)
        self.opens.append(chunk.dates)

    def within(self, part: Range) -> int:
        """How many of them open in a range."""
        return sum(_before(dates, part.until) - _before(dates, part.since) for dates in self.opens)


def _open_at(dates: bytes, place: int) -> int:
    return int.from_bytes(dates[place * 8 : place * 8 + 8], "little", signed=True)


def _before(dates: bytes, at: int) -> int:
    """How many of ascending open times are before a time."""
    low, high = 0, len(dates) // 8
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if _open_at(dates, middle) < at else (low, middle)
    return low


def newest_final(found: Coverage, now: int) -> int:
    """Where the first candle of a key opens (ms) that is open at `now`, or that the exchange may still revise."""
    return _grid(found).open_of(now - profile_of(found.exchange).candles.settled_after_ms)


def range_of(asked: Asked, found: Coverage, given: Given, end: int) -> Range | None:
    """What of a key was asked for, given what is known and what was handed out; None where nothing is known of it.

    Without `since` it begins where the key does; without both ends, it is all that is known. The newest candles, and
    those since a time, reach to `end` (ms).
    """
    grid = _grid(found)
    begins = [each.since for each in found.verified[:1]] + ([found.first] if found.first is not None else [])
    ends = [each.until for each in found.verified[-1:]]
    ends += [grid.next_open(found.last)] if found.last is not None else []
    until = asked.until
    if until is None:
        if asked.since is None and not asked.last:
            if not ends:
                return None
            until = max(ends)
        else:
            until = end
    since = asked.since
    if asked.limit is not None and given.count >= asked.limit:
        # So many were there: what lies beyond the last one of them was not asked for.
        if asked.last:
            return Range(given.first if given.first is not None else until, until)
        until = until if given.newest is None else min(until, grid.next_open(given.newest))
    elif asked.last and asked.limit is not None and since is None:
        since = max(0, grid.advance(grid.open_of(until), -asked.limit))
    if since is None:
        if not begins:
            return None
        since = min(begins)
    return Range(since, max(since, until))


async def known(bus: Bus, key: Key, asked: Asked) -> Coverage:
    """What the cache knows of a key in a range. Raises NoSuchService when no cache runs."""
    request = KeyRequest(**key._asdict(), since=asked.since, until=asked.until)
    try:
        return await bus.service_wait.call(lambda: bus.request("cache.coverage", request, Coverage))
    except NotCached:
        return Coverage(**key._asdict())


def told(asked: Asked, found: Coverage, given: Given, end: int, *, fetched: bool) -> str | None:
    """What is missing of a key in one line, with the remedy unless it was `fetched` already; None where nothing is."""
    remedy = "" if fetched else "; have it fetched with --fetch"
    if remedy and asked.since is None and not asked.last:
        remedy += " and --since"
    whole = range_of(asked, found, given, end)
    if whole is None or (not found.verified and not given.count):
        within = "" if asked.since is None and asked.until is None else " in this range"
        return f"nothing is cached of {found.key}{within}{remedy}"
    missing = subtract(whole, clip(found.verified, whole))
    grid = _grid(found)
    absent = sum(grid.count(*each) - given.within(each) for each in missing)
    if missing and absent:
        what = f"{render.plural(absent, 'candle')} of {grid.count(*whole):,} missing"
    elif missing and any(grid.count(*each) for each in missing):
        # As those that the exchange may still revise, and those that an earlier version stored.
        what = "given, but not known to be final or complete"
    else:
        return None
    return f"{found.key}: {what}: {render.ranges(missing)}{remedy}"


def _grid(found: Coverage) -> Grid:
    return grid_of(found.exchange, found.timeframe, found.opens_at)
