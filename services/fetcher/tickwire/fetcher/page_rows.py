"""Parses an exchange's answer into rows, and finds the places that rejected rows leave doubtful. No I/O.

A row that cannot be a candle (nulls, NaN, off the grid, in the future) is rejected by itself, with the reason; the rows
around it are kept. The interval that it may have stood for is doubtful: nothing is proven there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import TypeAlias, TypeGuard

import msgspec

from tickwire.model import timeframes
from tickwire.model.messages import Row
from tickwire.model.numbers import LARGEST
from tickwire.model.plausibility import FIRST_MS, implausible
from tickwire.model.ranges import Range, merge
from tickwire.model.timeframes import Grid

_NO_LIMIT = 1 << 62
_SHIFTED = 3_600_000
"""Timeframes of this length (ms) and longer open on another grid at some exchanges: at another zone's midnight."""
_ZONES = 900_000
"""The offsets of time zones are multiples of a quarter of an hour (ms)."""
_NAMED = 60
"""Characters of a rejected row that its reason shows."""

Volumes: TypeAlias = dict[int, float]
"""Candles of a larger timeframe: volumes by open time (ms), ascending; NaN where the answer has no volume."""


class BadRows(ValueError):
    """An answer that cannot be candles of the timeframe; another attempt may be sound."""


class OtherGrid(Exception):
    """All rows of an answer open on one grid, which is not the expected one."""

    def __init__(self, grid: Grid, opens_at: int) -> None:
        super().__init__(f"candles of {grid.timeframe} open at {opens_at}")
        self.grid = grid
        self.opens_at = opens_at


@dataclass(frozen=True, slots=True)
class PageRows:
    """The rows of one answer, ascending, one for each open time. Rejected rows may belong in the ranges `doubts`."""

    rows: list[Row]
    doubts: list[Range] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    """The reason of each rejection."""

    @property
    def opens(self) -> list[int]:
        """The open times, ascending."""
        return [row[0] for row in self.rows]


def parse(answer: object, timeframe: str, grid: Grid, latest: int | None = None) -> PageRows | Volumes:
    """Parse a page of `timeframe`, which is that of `grid` or a larger one. Raises BadRows, OtherGrid."""
    if timeframe == grid.timeframe:
        return parse_page(answer, grid, latest)
    return parse_volumes(answer, latest)


def parse_page(answer: object, grid: Grid, latest: int | None = None) -> PageRows:
    """Parse the rows of a page of `grid`. No candle opens after `latest` (ms), by the exchange's clock.

    Of two rows with one open time the later in the answer is kept. Raises BadRows when the answer is no list or has
    rows of which none is a candle, OtherGrid when all rows are candles of another grid.
    """
    if not isinstance(answer, list):
        raise BadRows(f"a page of candles is a list, and this is {type(answer).__name__}")
    if (all_sound := _all_sound(answer, grid, _NO_LIMIT if latest is None else latest)) is not None:
        return PageRows(all_sound)
    checked = [_checked(row, latest) for row in answer]
    opens = [row[0] for row in checked if not isinstance(row, str)]
    if opens and not any(grid.opens(at) for at in opens):
        _refuse_other_grid(grid, opens)
    checked = [
        row if isinstance(row, str) or grid.opens(row[0]) else f"no {grid.timeframe} candle opens at {row[0]}"
        for row in checked
    ]
    rows = _once([row for row in checked if not isinstance(row, str)])
    rejected = [row for row in checked if isinstance(row, str)]
    if answer and not rows:
        raise BadRows(rejected[0])
    return PageRows(rows, _doubts(checked, answer, grid, rows) if rejected else [], rejected)


def parse_volumes(answer: object, latest: int | None = None) -> Volumes:
    """Parse the opens and volumes of a page of a larger timeframe, on any grid.

    No candle opens after `latest` (ms). Raises BadRows if a single row is bad: without it the other rows would prove
    that nothing was traded in its interval.
    """
    if not isinstance(answer, list):
        raise BadRows(f"a page of candles is a list, and this is {type(answer).__name__}")
    found: dict[int, float] = {}
    for each in answer:
        if not isinstance(each, list | tuple) or not each or not _is_time(each[0]):
            raise BadRows(f"{_name(each)} is not a candle")
        wrong = implausible(each[0], _NO_LIMIT if latest is None else latest)
        if wrong is not None:
            raise BadRows(f"{_name(each)}: {wrong.reason}")
        volume = each[5] if len(each) == 6 else None
        found[each[0]] = float(volume) if isinstance(volume, int | float) else math.nan
    return dict(sorted(found.items()))


def _all_sound(answer: list[object], grid: Grid, latest: int) -> list[Row] | None:
    """The rows if all of them are candles, else None. Takes an eighth of the time of `_checked` for each row."""
    try:
        rows = msgspec.convert(answer, list[Row])
    except msgspec.ValidationError:
        return None
    opens = grid.opens if grid.months else None
    step, origin = grid.step, grid.origin
    for at, opened, high, low, close, volume in rows:
        # Written so that NaN fails.
        if not (
            FIRST_MS <= at <= latest
            and low <= high <= LARGEST
            and low >= -LARGEST
            and 0 <= volume <= LARGEST
            and -LARGEST <= opened <= LARGEST
            and -LARGEST <= close <= LARGEST
            and (opens(at) if opens else (at - origin) % step == 0)
        ):
            return None
    return _once(rows) if any(a[0] >= b[0] for a, b in pairwise(rows)) else rows


def _once(rows: Sequence[Row]) -> list[Row]:
    """Sort the rows; of two with one open time keep the later in the answer."""
    found = {row[0]: row for row in rows}
    return [found[at] for at in sorted(found)]


def _checked(row: object, latest: int | None) -> Row | str:
    """The row, or the reason why it is rejected."""
    if not isinstance(row, list | tuple) or len(row) != 6 or not _is_time(row[0]):
        return f"{_name(row)} is not a candle"
    at, *values = row
    # A bool is an int in Python, but no price.
    if not all(type(value) in (int, float) and -LARGEST <= value <= LARGEST for value in values):
        return f"{_name(row)} is not made of finite numbers"
    opened, high, low, close, volume = map(float, values)
    if high < low or volume < 0:
        return f"{_name(row)} cannot be: its high is below its low, or its volume below 0"
    wrong = implausible(at, _NO_LIMIT if latest is None else latest)
    if wrong is not None:
        return f"{_name(row)}: {wrong.reason}"
    return (at, opened, high, low, close, volume)


def _is_time(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _name(row: object) -> str:
    text = repr(row)
    return text if len(text) <= _NAMED else f"{text[:_NAMED]}…"


def _refuse_other_grid(grid: Grid, opens: Sequence[int]) -> None:
    """Raise OtherGrid if all of these open on one other grid."""
    first = min(opens)
    shifted = timeframes.grid(grid.timeframe, first)
    few = len(set(opens)) < 2 or timeframes.duration_ms(grid.timeframe) < _SHIFTED or first % _ZONES != 0
    if not few and all(shifted.opens(at) for at in opens):
        raise OtherGrid(shifted, first)


def _doubts(checked: Sequence[Row | str], answer: Sequence[object], grid: Grid, rows: Sequence[Row]) -> list[Range]:
    """Where rejected rows may belong: in the interval of their time if they have one, else between their neighbours."""
    doubts = []
    times = [None if isinstance(row, str) else row[0] for row in checked]
    known = [at for at in times if at is not None]
    ordered = all(a < b for a, b in pairwise(known)) or all(a > b for a, b in pairwise(known))
    for place, row in enumerate(checked):
        if not isinstance(row, str):
            continue
        raw = answer[place]
        at = raw[0] if isinstance(raw, list | tuple) and raw else None
        if _is_time(at) and FIRST_MS <= at <= rows[-1][0] + timeframes.longest_ms(grid.timeframe):
            opened = grid.open_of(at)
            doubts.append(Range(opened, grid.next_open(opened)))
            continue
        before = next((each for each in reversed(times[:place]) if each is not None), None)
        after = next((each for each in times[place + 1 :] if each is not None), None)
        if not ordered:
            doubts.append(Range(rows[0][0], grid.next_open(rows[-1][0])))
        elif before is not None and after is not None:
            doubts.append(Range(min(before, after), max(before, after)))
    # The interval of a sound row is never doubtful, only what lies between sound rows.
    return _between(merge(doubts), rows, grid)


def _between(doubts: list[Range], rows: Sequence[Row], grid: Grid) -> list[Range]:
    """The parts of `doubts` outside the intervals of sound rows."""
    holes = [Range(grid.next_open(a[0]), b[0]) for a, b in pairwise(rows) if grid.next_open(a[0]) < b[0]]
    outside = [Range(-(2**62), rows[0][0]), *holes, Range(grid.next_open(rows[-1][0]), 2**62)]
    found, place = [], 0
    # Both are ascending: a page of which every second row is rejected took 0.17 s with each compared to each.
    for doubt in doubts:
        while outside[place].until <= doubt.since:
            place += 1
        for hole in islice(outside, place, None):
            if hole.since >= doubt.until:
                break
            found.append(Range(max(doubt.since, hole.since), min(doubt.until, hole.until)))
    return merge(found)
