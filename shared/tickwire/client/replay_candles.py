"""The closed candles of a replay, from the cache: what the archive has of them came from its pages.

| subject | direction | what |
|---|---|---|
| `cache.coverage` | requests | what of the candles is proven |
| `cache.get` | requests | the candles |
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from tickwire.bus.connection import Bus
from tickwire.client.columns import candle_of, requested, rows_of
from tickwire.client.merging import Block
from tickwire.errors import NotArchived, NotCached
from tickwire.model.feeds import Candle, Feed, Gap
from tickwire.model.messages import CandlesRequest, Coverage, KeyRequest, Row, VolumeUnit
from tickwire.model.ranges import Range, clip, subtract
from tickwire.model.subjects import Key
from tickwire.model.timeframes import Grid
from tickwire.model.times import now_ms
from tickwire.venues.registry import grid_of, profile_of

Candles = Block[Candle | Gap]
NOT_CACHED = "not in the cache"


async def candle_pages(bus: Bus, of: Feed, since: int, until: int | None) -> AsyncGenerator[Candles, None]:
    """The candles of a feed that close in `[since, until)` (ms), and gaps, a page at a time.

    Raises NotArchived if the cache has none of the feed, NoSuchService where no cache runs.
    """
    assert of.timeframe is not None
    key = Key(of.exchange, of.symbol, of.timeframe)
    request = KeyRequest(**key._asdict())
    known = await bus.service_wait.call(lambda: bus.request("cache.coverage", request, Coverage))
    if not known.rows and not known.verified:
        remedy = f"fetch them with `tickwire candles fetch {of.exchange} {of.symbol} {of.timeframe} --since TIME`"
        raise NotArchived(f"{of} is not in the cache", remedy)
    grid = grid_of(of.exchange, of.timeframe, known.opens_at)
    settled = grid.open_of(now_ms() - profile_of(of.exchange).candles.settled_after_ms)
    # Those that close within the range: a candle is not known before.
    begin, end = max(0, grid.open_of(since - 1)), settled if until is None else grid.open_of(until - 1)
    if until is not None and end <= begin:
        return
    missing = subtract(Range(begin, min(end, settled)), known.verified)
    candles = ReplayedCandles(key, since, grid, missing, known.volume_unit)
    rows = CandlesRequest(**key._asdict(), since=begin, until=until if until is None else end, format="columns")
    try:
        async with aclosing(requested(bus, rows)) as parts:
            async for part in parts:
                yield candles.of_rows(rows_of(part))
    except NotCached:
        # Its file was made of pages without a row.
        pass
    yield candles.rest(min(end, settled))


class ReplayedCandles:
    """Candles of rows, each at the time when it closes, with gaps where some are missing. No I/O."""

    def __init__(self, key: Key, since: int, grid: Grid, missing: list[Range], unit: VolumeUnit | None) -> None:
        self._key = key
        self._grid = grid
        self._missing = missing
        self._unit = unit
        self._at = grid.open_of(since - 1)
        """Where the next candle may open."""
        self._time = since
        """Of the last item, ms."""

    def of_rows(self, rows: Iterator[Row]) -> Candles:
        """The candles of rows."""
        found: Candles = Block([], [])
        for row in rows:
            opens = row[0]
            if self._missing:
                self._gaps_before(opens, found)
            self._at = self._time = self._grid.next_open(opens)
            found.times.append(self._at)
            found.items.append(candle_of(self._key, row, self._unit))
        return found

    def rest(self, end: int) -> Candles:
        """The gaps after the last row, up to a time (ms)."""
        found: Candles = Block([], [])
        self._gaps_before(end, found)
        return found

    def _gaps_before(self, opens: int, found: Candles) -> None:
        """Add what is missing of the time since the last candle (ms)."""
        for each in clip(self._missing, Range(self._at, opens)):
            found.times.append(self._time)
            found.items.append(Gap(since=each.since - 1, until=each.until, reason=NOT_CACHED))
        self._missing = [each for each in self._missing if each.until > opens]
