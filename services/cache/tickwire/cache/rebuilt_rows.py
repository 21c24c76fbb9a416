"""Compares rows of a key with those rebuilt from archived trades, and notes what was compared; no I/O but the store's.

| rows in the cache | equal to the rebuilt ones | different |
|---|---|---|
| the exchange's own | `archived` | nothing is noted: they are to be audited first |
| audited | `archived` | `archived` and `disputed`: the exchange's own row decides, and stays |
| built from the tape, unsettled, or in another unit | not compared: they are audited first | |
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from tickwire.cache import provenance
from tickwire.cache.candle_rows import Columns
from tickwire.cache.key_facts import KeyFacts
from tickwire.cache.store import Store
from tickwire.model.messages import DifferentField, Provenance, RebuiltDifference, Row, VolumeUnit
from tickwire.model.ranges import Range, common, merge, subtract
from tickwire.model.subjects import Key
from tickwire.model.timeframes import Grid

VOLUME_TOLERANCE = 1e-9
"""Relative: sums that were converted to base currency on two ways differ by roundings of floats."""
_FIELDS: tuple[DifferentField, ...] = ("open", "high", "low", "close", "volume")


class Rebuilt(NamedTuple):
    """Rows that the archive rebuilt, ascending, the ranges in which they are all rows, and what their volumes are."""

    rows: Sequence[Row]
    complete: Sequence[Range]
    volume_unit: VolumeUnit = "base"
    inverse: bool = False


class Compared(NamedTuple):
    """What was compared; `unaudited` are ranges of rows that differ and are to be audited first."""

    ranges: list[Range]
    rows: int
    differences: list[RebuiltDifference]
    unaudited: list[Range]
    volumes: bool


def comparable(key: Key, store: Store) -> list[Range]:
    """The ranges of a key that may be compared: settled, and not built from the tape. Raises like `Store.ensure`."""
    state = store.ensure(key)
    return untaped(store.coverage(key).verified, state.facts.provenance)


def untaped(verified: Iterable[Range], found: Provenance) -> list[Range]:
    """The parts of verified ranges that do not come from the tape."""
    return [part for whole in verified for part in subtract(whole, found.tape)]


def compare(key: Key, store: Store, rebuilt: Rebuilt, as_of: int = 0) -> Compared:
    """Compare what may be compared, and note the result in the meta file. For the partition's thread.

    `as_of`: the archive's certificates until then (ms) were taken into account.

    Raises like `Store.ensure`.
    """
    state = store.ensure(key)
    grid, ranges = state.facts.grid(key), common(comparable(key, store), merge(rebuilt.complete))
    volumes = state.volumes.unit == "base" == rebuilt.volume_unit and not rebuilt.inverse
    found: list[RebuiltDifference] = []
    rows = 0
    for part in ranges:
        cached = _rows(store.read(key, *part))
        rows += len(cached)
        first, end = (bisect_left(rebuilt.rows, at, key=_opens) for at in part)
        found += differences(cached, rebuilt.rows[first:end], volumes=volumes)
    different = _candles(found, grid)
    audited = common(different, state.facts.provenance.audited)
    unaudited = [part for whole in different for part in subtract(whole, audited)]
    done = [part for whole in ranges for part in subtract(whole, unaudited)]
    if done:
        store.mark(key, _marking(done, audited, as_of))
    return Compared(ranges, rows, found, unaudited, volumes)


def _marking(done: Sequence[Range], disputed: Sequence[Range], as_of: int) -> Callable[[KeyFacts], KeyFacts]:
    return lambda facts: msgspec.structs.replace(
        facts,
        provenance=provenance.compared(facts.provenance, done, disputed),
        compared_as_of=max(as_of, facts.compared_as_of),
    )


def differences(cached: Iterable[Row], rebuilt: Iterable[Row], *, volumes: bool) -> list[RebuiltDifference]:
    """The differences of two lists of rows, ascending; a row that only one of them has differs in each field.

    A row of volume 0 in the cache stands for an interval without a trade, of which nothing is rebuilt.
    """
    ours, theirs = {row[0]: row for row in cached}, {row[0]: row for row in rebuilt}
    fields = _FIELDS if volumes else _FIELDS[:-1]
    found = []
    for date in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(date), theirs.get(date)
        if other is None and one is not None and one[5] == 0:
            continue
        for index, name in enumerate(fields, 1):
            left = None if one is None else float(one[index])
            right = None if other is None else float(other[index])
            if not _equal(name, left, right):
                found.append(RebuiltDifference(timestamp=date, field=name, cached=left, rebuilt=right))
    return found


def _equal(name: DifferentField, one: float | None, other: float | None) -> bool:
    if one is None or other is None or name != "volume":
        return one == other
    return math.isclose(one, other, rel_tol=VOLUME_TOLERANCE)


def windows(grid: Grid, wanted: Iterable[Range], length: int) -> list[Range]:
    """Ranges (ascending) in parts: within a window of `length` (ms) each, or of one candle where that is longer."""
    found: list[Range] = []
    for part in wanted:
        at = part.since
        while at < part.until:
            end = max(grid.ceil_open(at - at % length + length), grid.next_open(at))
            found.append(Range(at, min(end, part.until)))
            at = found[-1].until
    return found


def whole_candles(grid: Grid, days: Iterable[Range]) -> list[Range]:
    """The candles that are wholly in these ranges, as ranges of open times."""
    found = [Range(grid.ceil_open(each.since), grid.open_of(each.until)) for each in days]
    return [each for each in found if each.since < each.until]


def uncompared(verified: Iterable[Range], found: Provenance) -> list[Range]:
    """The parts of verified ranges that are to be compared once the archive has their days."""
    return [part for whole in untaped(verified, found) for part in subtract(whole, found.archived)]


def reopened(key: Key, facts: KeyFacts, day: Range) -> KeyFacts:
    """The facts once the archive has other trades of a day: its candles are compared again, longer ones as a whole."""
    grid = facts.grid(key)
    candles = Range(grid.open_of(day.since), grid.ceil_open(day.until))
    return msgspec.structs.replace(facts, provenance=provenance.uncompared(facts.provenance, candles))


def _candles(found: Iterable[RebuiltDifference], grid: Grid) -> list[Range]:
    """The candles with a difference, as ranges."""
    return merge([Range(each.timestamp, grid.next_open(each.timestamp)) for each in found])


def _opens(row: Row) -> int:
    return row[0]


def _rows(found: Columns) -> list[Row]:
    return list(zip(*(column.tolist() for column in found), strict=True))
