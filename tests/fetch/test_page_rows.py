"""An exchange's answer as rows: each row is judged by itself, and all of them as one would be."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.fetcher.page_rows import BadRows, OtherGrid, parse_page
from tickwire.model.timeframes import grid

pytestmark = pytest.mark.pure

MINUTE = 60_000
DAY = 86_400_000
START = 1_717_200_000_000  # 2024-06-01 00:00 UTC

BAD: list[Any] = [
    None, "[", [], [START, 1, 2, 0.5, 1], [None] * 6, [float(START), 1, 2, 0.5, 1, 1], [START, 1, 2, None, 1, 1],
    [START, 1, 2, math.nan, 1, 1], [START, 1, math.inf, 1, 1, 1], [START, "1", 2, 0.5, 1, 1],
    [START + 1, 1, 2, 0.5, 1, 1],
    [START, 1, 0.5, 2, 1, 1], [START, 1, 2, 0.5, 1, -1], [START // 1000, 1, 2, 0.5, 1, 1], [-MINUTE, 1, 2, 0.5, 1, 1],
    [START + 10**12, 1, 2, 0.5, 1, 1], [True, 1, 2, 0.5, 1, 1], [START, True, 2, 0.5, 1, 1], [2**70, 1, 2, 0.5, 1, 1],
]  # fmt: skip


def good(minute: int, volume: float = 1.0) -> list[Any]:
    return [START + minute * MINUTE, 1.0, 2, 0.5, 1.5, volume]


@given(
    minutes=st.lists(st.integers(1, 60), max_size=30),
    bad=st.lists(st.tuples(st.integers(0, 30), st.sampled_from(BAD)), max_size=3),
)
def test_sound_rows_stay_whatever_stands_between_them(minutes: list[int], bad: list[tuple[int, Any]]) -> None:
    page: list[Any] = [good(minute, float(place)) for place, minute in enumerate(minutes)]
    for place, row in bad:
        page.insert(place, row)
    if bad and not minutes:
        with pytest.raises(BadRows):
            parse_page(page, grid("1m"), START + DAY)
        return
    found = parse_page(page, grid("1m"), START + DAY)
    # Of two of one time the later counts.
    assert dict(zip(minutes, range(len(minutes)), strict=True)) == {
        (row[0] - START) // MINUTE: row[5] for row in found.rows
    }
    assert found.opens == sorted(set(found.opens))
    assert len(found.rejected) == len(bad)


@pytest.mark.parametrize("row", BAD, ids=repr)
def test_a_page_of_nothing_but_what_is_no_candle_is_to_be_asked_again(row: Any) -> None:
    with pytest.raises(BadRows):
        parse_page([row], grid("1m"), START + DAY)


@given(sound=st.sets(st.integers(1, 40), min_size=1), bad=st.sets(st.integers(0, 41)))
def test_the_interval_of_a_rejected_row_is_doubtful_unless_a_sound_row_has_it(sound: set[int], bad: set[int]) -> None:
    page = [good(minute) for minute in sound] + [good(minute, -1.0) for minute in bad]
    found = parse_page(sorted(page), grid("1m"), START + DAY)
    doubtful = {minute for minute in range(-5, 50) for doubt in found.doubts if good(minute)[0] in range(*doubt)}
    # Nothing is proven behind the candle after the last sound row.
    assert doubtful == {minute for minute in bad - sound if minute <= max(sound) + 1}


@pytest.mark.parametrize("answer", ["[[1717", None, {}])
def test_what_is_no_list_is_to_be_asked_again(answer: object) -> None:
    with pytest.raises(BadRows):
        parse_page(answer, grid("1m"))


@pytest.mark.parametrize("hours", [-8, 1, 8, 16])
def test_days_that_all_open_elsewhere_are_another_grid(hours: int) -> None:
    page = [[START + n * DAY + hours * 3_600_000, 1, 2, 0.5, 1, 1] for n in range(5)]
    with pytest.raises(OtherGrid) as found:
        parse_page(page, grid("1d"))
    assert all(found.value.grid.opens(int(row[0])) for row in page)
    # One that is there alone is its own fault.
    with pytest.raises(BadRows):
        parse_page(page[:1], grid("1d"))


def test_minutes_have_no_other_grid() -> None:
    with pytest.raises(BadRows):
        parse_page([[START + n * MINUTE + 7_000, 1, 2, 0.5, 1, 1] for n in range(5)], grid("1m"))
