"""Which of the requested candles the cache lacks. Pure, apart from `coverage_of`."""

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
class Requested:
    """A range of candles (ms), and at most how many of them: the oldest, or with `last` the newest."""

    since: int | None
    until: int | None
    limit: int | None = None
    last: bool = False


@dataclass
class ReadRows:
    """What was read of a key: how many candles, and when the first and the newest open (ms)."""

    count: int = 0
    first: int | None = None
    newest: int | None = None
    opens: list[bytes] = field(default_factory=list)

    def add(self, chunk: CandleColumns) -> None:
        """Count a chunk."""
        if not chunk.count:
            return
        self.count += chunk.count
        self.first = _open_at(chunk.dates, 0) if self.first is None else self.first
        self.newest = _open_at(chunk.dates, chunk.count - 1)
        self.opens.append(chunk.dates)

    def within(self, part: Range) -> int:
        """Return how many of the candles open in a range."""
        return sum(_before(dates, part.until) - _before(dates, part.since) for dates in self.opens)


def _open_at(dates: bytes, place: int) -> int:
    return int.from_bytes(dates[place * 8 : place * 8 + 8], "little", signed=True)


def _before(dates: bytes, at: int) -> int:
    """Return how many of the ascending open times are before a time."""
    low, high = 0, len(dates) // 8
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if _open_at(dates, middle) < at else (low, middle)
    return low


def newest_final(found: Coverage, now: int) -> int:
    """Return the open time (ms) of a key's first candle that is open at `now` or may still be revised."""
    return _grid(found).open_of(now - profile_of(found.exchange).candles.settled_after_ms)


def range_of(requested: Requested, found: Coverage, read: ReadRows, end: int) -> Range | None:
    """Return the range of a key that was requested; None where nothing is known of the key.

    Without `since` it begins where the key does; without both ends it is everything known. With `since` or `last` and
    without `until` it reaches to `end` (ms).
    """
    grid = _grid(found)
    begins = [each.since for each in found.verified[:1]] + ([found.first] if found.first is not None else [])
    ends = [each.until for each in found.verified[-1:]]
    ends += [grid.next_open(found.last)] if found.last is not None else []
    until = requested.until
    if until is None:
        if requested.since is None and not requested.last:
            if not ends:
                return None
            until = max(ends)
        else:
            until = end
    since = requested.since
    if requested.limit is not None and read.count >= requested.limit:
        # The limit was reached: candles beyond the last of them were not requested.
        if requested.last:
            return Range(read.first if read.first is not None else until, until)
        until = until if read.newest is None else min(until, grid.next_open(read.newest))
    elif requested.last and requested.limit is not None and since is None:
        since = max(0, grid.advance(grid.open_of(until), -requested.limit))
    if since is None:
        if not begins:
            return None
        since = min(begins)
    return Range(since, max(since, until))


async def coverage_of(bus: Bus, key: Key, requested: Requested) -> Coverage:
    """Ask the cache what it has of a key in the range. Raises NoSuchService when no cache runs."""
    request = KeyRequest(**key._asdict(), since=requested.since, until=requested.until)
    try:
        return await bus.service_wait.call(lambda: bus.request("cache.coverage", request, Coverage))
    except NotCached:
        return Coverage(**key._asdict())


def message(requested: Requested, found: Coverage, read: ReadRows, end: int, *, fetched: bool) -> str | None:
    """Return a line about missing candles of a key, with the remedy unless just `fetched`; None where complete."""
    remedy = "" if fetched else "; fetch it with --fetch"
    if remedy and requested.since is None and not requested.last:
        remedy += " and --since"
    whole = range_of(requested, found, read, end)
    if whole is None or (not found.verified and not read.count):
        within = "" if requested.since is None and requested.until is None else " in this range"
        return f"nothing is cached of {found.key}{within}{remedy}"
    missing = subtract(whole, clip(found.verified, whole))
    grid = _grid(found)
    absent = sum(grid.count(*each) - read.within(each) for each in missing)
    if missing and absent:
        what = f"{render.plural(absent, 'candle')} of {grid.count(*whole):,} missing"
    elif missing and any(grid.count(*each) for each in missing):
        # Candles that the exchange may still revise, and candles that an earlier version stored.
        what = "present, but not known to be final or complete"
    else:
        return None
    return f"{found.key}: {what}: {render.ranges(missing)}{remedy}"


def _grid(found: Coverage) -> Grid:
    return grid_of(found.exchange, found.timeframe, found.opens_at)
