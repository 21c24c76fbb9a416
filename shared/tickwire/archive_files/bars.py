"""Candles rebuilt from the trades of certified days: the replies to `archive.bars`. Blocks: call it in a thread.

Only the bars are in memory, and one batch of trades; where trades are not in the order of time (late ones are behind
those that were archived before), a day of times, prices and amounts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple

import numpy
import pyarrow as pa

from tickwire.archive_files.days import dates_of, days
from tickwire.archive_files.file_meta import Unit
from tickwire.archive_files.layout import DAY_MS, ArchivedFeed, begin_of, date_of
from tickwire.archive_files.reading import day_rows
from tickwire.archive_files.root import Root
from tickwire.bars import Fold, TimeRule
from tickwire.errors import BadRequest
from tickwire.model.messages import Row, VolumeUnit
from tickwire.model.messages.archived_trades import ArchivedBars, ArchivedBarsRequest
from tickwire.model.ranges import Range, clip, merge
from tickwire.model.timeframes import Grid
from tickwire.venues.registry import grid_of
from tickwire.venues.units import BASE, stated_measure

MOST_BARS = 50_000
MOST_DAYS = 400
"""Most candles and days of a request. A day of a busy market takes about a second."""
CHUNK_ROWS = 4_000
"""Rows of a chunk: at most 480 KiB of JSON, with numbers of 17 digits."""
BATCH_ROWS = 65_536


class _Disordered(Exception):
    """Trades are not in the order of time."""


class Rebuilt(NamedTuple):
    """Candles of a range, and what their volumes are."""

    rows: list[Row]
    volume_unit: VolumeUnit
    inverse: bool


def chunks(root: Root, request: ArchivedBarsRequest) -> Iterator[ArchivedBars]:
    """The chunks of the reply. Raises BadRequest, UnsupportedTimeframe, StorageError."""
    grid = grid_of(request.exchange, request.timeframe, request.opens_at)
    feed = ArchivedFeed("trade", request.exchange, request.symbol)
    if request.until - request.since > MOST_DAYS * DAY_MS or grid.count(request.since, request.until) > MOST_BARS:
        raise BadRequest(f"more than {MOST_BARS:,} candles or {MOST_DAYS} days", "request a shorter range")
    wanted = Range(grid.ceil_open(request.since), grid.ceil_open(request.until))
    complete = list[Range]()
    unit: VolumeUnit = "base"
    number, inverse = 0, False
    for span in _certified(root, feed, wanted, grid):
        found = _rebuilt(root, feed, span, grid)
        if not any(each.since <= span.since and span.until <= each.until for each in _complete(root, feed, span)):
            # Late trades came while it was read.
            continue
        complete.append(span)
        inverse = inverse or found.inverse
        if found.volume_unit != "base":
            unit = found.volume_unit
        for start in range(0, len(found.rows), CHUNK_ROWS):
            rows = found.rows[start : start + CHUNK_ROWS]
            yield _chunk(request, rows=rows, volume_unit=unit, inverse=inverse, chunk=number, more=True)
            number += 1
    yield _chunk(request, complete=complete, volume_unit=unit, inverse=inverse, chunk=number)


def _chunk(request: ArchivedBarsRequest, **fields: Any) -> ArchivedBars:
    return ArchivedBars(exchange=request.exchange, symbol=request.symbol, timeframe=request.timeframe, **fields)


def _certified(root: Root, feed: ArchivedFeed, wanted: Range, grid: Grid) -> list[Range]:
    """The candles of which all days are complete, as ranges of open times."""
    found = []
    for run in _complete(root, feed, wanted):
        since, until = grid.ceil_open(max(run.since, wanted.since)), grid.open_of(min(run.until, wanted.until))
        if since < until:
            found.append(Range(since, until))
    return found


def _complete(root: Root, feed: ArchivedFeed, wanted: Range) -> list[Range]:
    """The days with a time in a range that are certified as complete, joined."""
    dates = dates_of(root, feed)
    if not dates:
        return []
    kept = clip([wanted], Range(begin_of(dates[0]), begin_of(dates[-1]) + DAY_MS))
    found = [
        begin_of(date.fromisoformat(day.date))
        for part in kept
        for day in days(root, feed, *part)
        if day.condition == "complete"
    ]
    return merge([Range(begin, begin + DAY_MS) for begin in found])


def _rebuilt(root: Root, feed: ArchivedFeed, span: Range, grid: Grid) -> Rebuilt:
    try:
        return _folded(root, feed, span, grid, in_order=True)
    except _Disordered:
        return _folded(root, feed, span, grid, in_order=False)


def _folded(root: Root, feed: ArchivedFeed, span: Range, grid: Grid, *, in_order: bool) -> Rebuilt:
    fold = Fold(TimeRule(grid))
    unit: VolumeUnit = "base"
    inverse, newest = False, span.since
    first, last = date_of(span.since), date_of(span.until - 1)
    for number in range((last - first).days + 1):
        batches = _batches(root, feed, date_of(span.since + number * DAY_MS), span)
        for stated, columns in batches if in_order else _by_time(batches):
            times = columns[0]
            if times[0] < newest or (times[1:] < times[:-1]).any():
                raise _Disordered
            newest = int(times[-1])
            measure = stated_measure(feed.symbol, stated.multiplier, stated.inverse)
            unit = unit if measure is not None else "unknown"
            fold.measure = measure or BASE
            inverse = inverse or fold.measure.inverse
            fold.take(*columns)
    bars = fold.result()
    columns = (bars.timestamp, bars.open, bars.high, bars.low, bars.close, bars.volume)
    return Rebuilt(list(zip(*(each.tolist() for each in columns), strict=True)), unit, inverse)


def _batches(root: Root, feed: ArchivedFeed, day: date, span: Range) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The unit, and times (ms), prices and amounts, of the rows of a day within a range."""
    for each in day_rows(root, feed.on(day), span, BATCH_ROWS):
        if each.batch is not None and each.batch.num_rows:
            times = each.batch.column("timestamp").cast(pa.int64()).to_numpy()
            yield each.meta.unit, (times, *(each.batch.column(name).to_numpy() for name in ("price", "amount")))


def _by_time(batches: Iterator[tuple[Any, tuple[Any, ...]]]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """The rows of a day, of which the unit is one, in the order of time; those of one time in that of the tape."""
    found = list(batches)
    if not found:
        return
    columns = [numpy.concatenate(parts) for parts in zip(*(columns for _, columns in found), strict=True)]
    order = numpy.argsort(columns[0], kind="stable")
    units = {unit for unit, _ in found}
    yield (found[0][0] if len(units) == 1 else Unit(None), tuple(each[order] for each in columns))
