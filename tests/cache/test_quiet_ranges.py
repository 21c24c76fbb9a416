"""Stretches without trades, compared with a look at every hour."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.cache.candle_rows import Columns
from tickwire.cache.quiet_ranges import quiet_ranges
from tickwire.model.ranges import Range, merge

pytestmark = pytest.mark.pure

HOUR, DAY = 3_600_000, 86_400_000
DAYS = 4
SINCE = 20_000 * DAY
PART = Range(SINCE, SINCE + DAYS * DAY)

hours = st.lists(st.sampled_from("-0x"), min_size=1, max_size=5).flatmap(
    lambda kinds: st.lists(st.integers(1, 40), min_size=len(kinds), max_size=len(kinds)).map(
        lambda counts: "".join(kind * count for kind, count in zip(kinds, counts, strict=True))
    )
)
"""Of each hour: no row, one of volume 0, one with trades."""


def columns(kinds: str, first: int, end: int) -> Columns:
    """The rows of some of the hours."""
    rows = [at for at in range(first, end) if kinds[at] != "-"]
    dates = np.array([SINCE + at * HOUR for at in rows], np.int64)
    volumes = np.array([0.0 if kinds[at] == "0" else 1.5 for at in rows])
    return Columns(dates, volumes, volumes, volumes, volumes, volumes)


@given(hours, st.integers(1, 24 * DAYS), st.sets(st.integers(0, DAYS - 1)))
def test_they_are_the_runs_of_known_hours_without_trades_that_are_a_day_or_longer(
    some: str, size: int, unknown: set[int]
) -> None:
    kinds = some[: 24 * DAYS].ljust(24 * DAYS, "-")
    verified = merge(Range(SINCE + day * DAY, SINCE + (day + 1) * DAY) for day in range(DAYS) if day not in unknown)
    tables = [columns(kinds, at, min(24 * DAYS, at + size)) for at in range(0, 24 * DAYS, size)]
    found = quiet_ranges([each for each in tables if each.dates.size], HOUR, PART, verified)
    quiet = [kinds[at] != "x" and at // 24 not in unknown for at in range(24 * DAYS)]
    runs = [[at for at, _ in run] for is_quiet, run in groupby(enumerate(quiet), lambda each: each[1]) if is_quiet]
    expected = [Range(SINCE + run[0] * HOUR, SINCE + (run[-1] + 1) * HOUR) for run in runs if len(run) >= 24]
    assert found == expected


def test_a_candle_that_began_before_the_part_reaches_into_it() -> None:
    dates, volumes = np.array([SINCE - 8 * HOUR], np.int64), np.array([1.0])
    table = Columns(dates, volumes, volumes, volumes, volumes, volumes)
    assert quiet_ranges([table], DAY, PART, [PART]) == [Range(SINCE + 16 * HOUR, PART.until)]
    assert quiet_ranges([table], 2 * DAY, PART, [PART]) == []
