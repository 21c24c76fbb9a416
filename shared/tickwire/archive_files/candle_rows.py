"""The parts of closed candles: pages in memory for the length of a round, then one file for each market and day.

A page proves its range: its rows are all candles that open there. So a day needs no chain of messages: of each
timeframe, every interval is proven by a page, or missing. The last page of a row decides, as in the cache; what a file
has is therefore to be folded with the files before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa

from tickwire.archive_files.certificate import Watched
from tickwire.archive_files.chained_rows import Part
from tickwire.archive_files.file_meta import FileMeta, ProvenCandles
from tickwire.archive_files.layout import DAY_MS, ArchivedFeed, Sequences, date_of
from tickwire.archive_files.schema import CANDLES
from tickwire.errors import UnsupportedTimeframe
from tickwire.model import timeframes
from tickwire.model.messages.archive import ArchivedGap
from tickwire.model.messages.pages import CandlePage, VolumeUnit
from tickwire.model.ranges import Range, clip, merge, remove, subtract
from tickwire.model.timeframes import Grid

QUIET_DAYS = 31
"""So many days of a page, the newest, are noted where it has no rows: it may prove years before a market was listed."""
CandleRow = tuple[int, str, float, float, float, float, float, str, str | None, int]
"""The fields of CANDLES."""
Key = tuple[int, str]
"""Open time (ms) and timeframe."""


@dataclass
class _Timeframe:
    """What is known of the candles of one timeframe that open on one day."""

    opens_at: int | None = None
    volume_unit: VolumeUnit | None = None
    proven: list[Range] = field(default_factory=list)
    unsettled: list[Range] = field(default_factory=list)
    replaced: list[Range] = field(default_factory=list)

    def take(self, found: ProvenCandles, *, is_first: bool) -> None:
        """Take what is known later."""
        is_same = is_first or self.volume_unit == found.volume_unit
        self.volume_unit, self.opens_at = found.volume_unit if is_same else "unknown", found.opens_at
        self.proven = merge([*_without(self.proven, found.unsettled), *found.proven])
        self.unsettled = merge([*_without(self.unsettled, found.proven), *found.unsettled])
        self.replaced = merge([*self.replaced, *found.replaced])

    def meta(self) -> ProvenCandles:
        return ProvenCandles(self.proven, self.unsettled, self.replaced, self.opens_at, self.volume_unit)


class CandleDay:
    """The candles that open on one day of a market, of all timeframes; takes pages or files in their order."""

    def __init__(self) -> None:
        self.rows: dict[Key, CandleRow] = {}
        self._timeframes: dict[str, _Timeframe] = {}

    def take(self, proven: dict[str, ProvenCandles], rows: Iterable[CandleRow]) -> None:
        """Take what is later: rows replace those of the same time, and all of a range that is replaced."""
        for timeframe, found in proven.items():
            is_first = timeframe not in self._timeframes
            self._timeframes.setdefault(timeframe, _Timeframe()).take(found, is_first=is_first)
            if found.replaced:
                gone = [key for key in self.rows if key[1] == timeframe and _in(key[0], found.replaced)]
                for key in gone:
                    del self.rows[key]
        self.rows.update(((row[0], row[1]), row) for row in rows)

    def meta(self, *, whole: bool = False) -> dict[str, ProvenCandles]:
        """What is known of each timeframe; of a `whole` day, nothing is before that could be replaced."""
        found = {name: self._timeframes[name].meta() for name in sorted(self._timeframes)}
        if not whole:
            return found
        return {name: msgspec.structs.replace(each, unsettled=[], replaced=[]) for name, each in found.items()}

    def table(self) -> Any:
        """The rows as a pyarrow.Table, by time, shorter candles first."""
        lengths = {name: timeframes.duration_ms(name) for _, name in self.rows}
        rows = sorted(self.rows.values(), key=lambda row: (row[0], lengths[row[1]], row[1]))
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(CANDLES)
        arrays = []
        for each, values in zip(CANDLES, columns, strict=True):
            plain = pa.string() if pa.types.is_dictionary(each.type) else each.type
            arrays.append(pa.array(values, plain).cast(each.type))
        return pa.Table.from_arrays(arrays, schema=CANDLES)


class CandleRows:
    """The candles of one round, in memory; see `ChainedRows`."""

    message = CandlePage

    def __init__(self, generation: int, done: int) -> None:
        self.rows = 0
        self._generation = generation
        self._done = done
        self._days: dict[tuple[ArchivedFeed, int], CandleDay] = {}

    def append(self, page: CandlePage | None, sequence: int, _prev: int | None, _lost: str = "") -> None:
        """Add a page. One that the cache would refuse proves nothing."""
        if page is None or (grid := _grid_of(page)) is None:
            return
        # A page without rows is in memory, too.
        self.rows += 1 + len(page.rows)
        feed = ArchivedFeed("candle", page.exchange, page.symbol)
        rows: dict[int, list[CandleRow]] = {}
        for at, open_, high, low, close, volume in page.rows:
            row = (at, page.timeframe, open_, high, low, close, volume, page.source, page.origin, sequence)
            rows.setdefault(at // DAY_MS, []).append(row)
        for day in sorted({*rows, *_newest_days(page, grid)}):
            proven = {page.timeframe: _proven_by(page, Range(day * DAY_MS, (day + 1) * DAY_MS))}
            self._days.setdefault((feed, day), CandleDay()).take(proven, rows.get(day, ()))

    def unreadable(self, _feed: ArchivedFeed, _received: int, lost: str) -> tuple[None, str]:
        """Nothing stands for a page that cannot be read: what it would prove is missing."""
        return None, lost

    def parts(self, last: int) -> Iterator[Part]:
        """The parts of the round that ends with message `last`."""
        covered = Sequences(self._generation, self._done + 1, last)
        for (feed, day), found in self._days.items():
            of = feed.on(date_of(day * DAY_MS))
            meta = FileMeta.of(of, covered=[covered], continues=False, timeframes=found.meta())
            yield Part(of, meta, found.table())


def folded(files: Iterable[tuple[FileMeta, Any]]) -> CandleDay:
    """The candles of a day by its files, in order: what each says of itself, and its rows, a pyarrow.Table."""
    day = CandleDay()
    for meta, table in files:
        columns = []
        for each in table.columns:
            is_time = pa.types.is_timestamp(each.type)
            columns.append((each.cast(pa.int64()) if is_time else each).to_pylist())
        day.take(proven_of(meta), zip(*columns, strict=True))
    return day


def proven_of(meta: FileMeta) -> dict[str, ProvenCandles]:
    """What a file says of its timeframes."""
    return meta.timeframes if isinstance(meta.timeframes, dict) else {}


def of_day(metas: Iterable[FileMeta]) -> dict[str, ProvenCandles]:
    """What the files of a day say of its timeframes together, in order."""
    day = CandleDay()
    for meta in metas:
        day.take(proven_of(meta), ())
    return day.meta(whole=True)


def watched(files: Sequence[FileMeta], span: Range) -> Watched:
    """What the files of a day, of `span` (ms), prove: the gaps are all intervals that no page proves.

    The day was not followed before the first interval that is proven of each timeframe, nor after the last one.
    """
    gaps, beyond, is_proven = list[ArchivedGap](), list[Range](), False
    for timeframe, found in of_day(files).items():
        grid = timeframes.grid(timeframe, found.opens_at)
        missing = _openings(subtract(span, clip(found.proven, span)), grid, span)
        for each in missing:
            gaps.append(
                ArchivedGap(since=each.since - 1, until=each.until, reason=f"{timeframe}: not proven by a page")
            )
            if not grid.count(span.since, each.since) or not grid.count(each.until, span.until):
                beyond.append(Range(each.since, each.until))
        is_proven = is_proven or bool(found.proven)
    gaps.sort(key=lambda gap: (gap.since or 0, gap.until or 0, gap.reason))
    ranges = subtract(span, merge(beyond)) if is_proven else []
    return Watched(ranges, gaps, ranges, None, gaps)


def _openings(ranges: Iterable[Range], grid: Grid, span: Range) -> list[Range]:
    """The candles that open in ranges of a day, as ranges."""
    found = []
    for since, until in ranges:
        if grid.count(since, until):
            first = grid.ceil_open(since)
            found.append(Range(first, min(span.until, grid.ceil_open(until))))
    return found


def _grid_of(page: CandlePage) -> Grid | None:
    """The grid of a page; None if the page is not one that the cache stores."""
    try:
        grid = timeframes.grid(page.timeframe, page.opens_at)
    except UnsupportedTimeframe:
        return None
    times = [row[0] for row in page.rows]
    is_sound = page.since <= page.until and len(set(times)) == len(times)
    return grid if is_sound and all(page.since <= each < page.until and grid.opens(each) for each in times) else None


def _newest_days(page: CandlePage, grid: Grid) -> Iterator[int]:
    """The newest days on which a candle of a page's range opens."""
    first, last = page.since // DAY_MS, (page.until - 1) // DAY_MS
    for day in range(max(first, last - QUIET_DAYS + 1), last + 1):
        if grid.count(max(page.since, day * DAY_MS), min(page.until, (day + 1) * DAY_MS)):
            yield day


def _proven_by(page: CandlePage, day: Range) -> ProvenCandles:
    """What a page says of a day."""
    inside = Range(max(page.since, day.since), min(page.until, day.until))
    settled = inside.until if page.settled is None else min(max(page.settled, inside.since), inside.until)
    return ProvenCandles(
        proven=merge([Range(inside.since, settled)]),
        unsettled=merge([Range(settled, inside.until)]),
        replaced=[inside] if page.origin == "audited" else [],
        opens_at=page.opens_at,
        volume_unit=page.volume_unit,
    )


def _without(ranges: list[Range], gone: Iterable[Range]) -> list[Range]:
    for each in gone:
        ranges = remove(ranges, each)
    return ranges


def _in(moment: int, ranges: Sequence[Range]) -> bool:
    return any(each.since <= moment < each.until for each in ranges)
