"""An exchange's answer as rows: which of them are candles, and which places the others leave in doubt. No I/O.

A row that cannot be a candle (nulls, NaN, off the grid, from the future) is its own fault only: it is rejected by
name, and the rows around it stay. What it may have stood for is in doubt, and proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeGuard

import msgspec

from tickwire.model import timeframes
from tickwire.model.messages import Row
from tickwire.model.numbers import LARGEST
from tickwire.model.plausibility import FIRST_MS, implausible
from tickwire.model.ranges import Range, merge
from tickwire.model.timeframes import Grid

_NO_LIMIT = 1 << 62
_SHIFTED = 3_600_000
"""Timeframes from here on (ms) open on a grid of their own at some venues: midnight is somewhere else there."""
_ZONES = 900_000
"""Midnights on Earth are multiples of a quarter of an hour apart."""
_NAMED = 60
"""How much of a rejected row its name shows."""


class BadRows(ValueError):
    """An answer that cannot be candles of this timeframe: ask again."""


class OtherGrid(Exception):
    """All rows of an answer open on one grid that is not the one that was expected."""

    def __init__(self, grid: Grid, opens_at: int) -> None:
        super().__init__(f"candles of {grid.timeframe} open at {opens_at}")
        self.grid = grid
        self.opens_at = opens_at


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of one answer, ascending, one for each open time; `doubts` are where rejected ones may belong."""

    rows: list[Row]
    doubts: list[Range] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    """Why each of the others is no candle."""

    @property
    def opens(self) -> list[int]:
        """The open times, ascending."""
        return [row[0] for row in self.rows]


def read(answer: object, grid: Grid, latest: int | None = None) -> Answer:
    """The rows of an answer. `latest`: no candle opens after it (ms), by the exchange's clock.

    Of two rows of one time the later in the answer counts. Raises BadRows for what is no list, and where no row of it
    is a candle; OtherGrid where all are candles of another grid.
    """
    if not isinstance(answer, list):
        raise BadRows(f"a page of candles is a list, and this is {type(answer).__name__}")
    if (all_sound := _all_sound(answer, grid, _NO_LIMIT if latest is None else latest)) is not None:
        return Answer(all_sound)
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
    return Answer(rows, _doubts(checked, answer, grid, rows) if rejected else [], rejected)


def volumes(answer: object, latest: int | None = None) -> dict[int, float]:
    """The open times of an answer, ascending, on whatever grid they are, each with the volume; NaN where none is told.

    No candle opens after `latest` (ms). Raises BadRows, for a single row too: without it the others would prove that
    nothing was traded where it belongs.
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
    """The rows where all are candles, an eighth of the time that `_checked` takes for each; else None."""
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
    """Ascending, of two of one time the later in the answer."""
    found = {row[0]: row for row in rows}
    return [found[at] for at in sorted(found)]


def _checked(row: object, latest: int | None) -> Row | str:
    """The row, or why it is none."""
    if not isinstance(row, list | tuple) or len(row) != 6 or not _is_time(row[0]):
        return f"{_name(row)} is not a candle"
    at, *values = row
    # A bool is an int to Python, and no price.
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
    """Raises OtherGrid where all of these open on one other grid."""
    first = min(opens)
    shifted = timeframes.grid(grid.timeframe, first)
    few = len(set(opens)) < 2 or timeframes.duration_ms(grid.timeframe) < _SHIFTED or first % _ZONES != 0
    if not few and all(shifted.opens(at) for at in opens):
        raise OtherGrid(shifted, first)


def _doubts(checked: Sequence[Row | str], answer: Sequence[object], grid: Grid, rows: Sequence[Row]) -> list[Range]:
    """Where rejected rows may belong: their own interval where they tell a time, else between their neighbours."""
    doubts = []
    times = [None if isinstance(row, str) else row[0] for row in checked]
    known = [at for at in times if at is not None]
    ordered = all(a < b for a, b in pairwise(known)) or all(a > b for a, b in pairwise(known))
    for place, row in enumerate(checked):
        if not isinstance(row, str):
            continue
        said = answer[place]
        at = said[0] if isinstance(said, list | tuple) and said else None
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
    # A sound row is never in doubt, only what lies between.
    return _between(merge(doubts), rows, grid)


def _between(doubts: list[Range], rows: Sequence[Row], grid: Grid) -> list[Range]:
    """What of `doubts` is not the interval of a sound row."""
    holes = [Range(grid.next_open(a[0]), b[0]) for a, b in pairwise(rows) if grid.next_open(a[0]) < b[0]]
    ends = [Range(-(2**62), rows[0][0]), Range(grid.next_open(rows[-1][0]), 2**62)]
    return merge(
        Range(max(doubt.since, hole.since), min(doubt.until, hole.until))
        for doubt in doubts
        for hole in [*holes, *ends]
    )
