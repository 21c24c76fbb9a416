"""Which audits are due, and when they are requested again."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.cache import audit_windows
from tickwire.model import timeframes
from tickwire.model.messages import FetchRequest
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.venues.profile import CandleFacts

pytestmark = pytest.mark.pure

HOUR = 3_600_000
DAY = 24 * HOUR
FIRST = 19_875 * DAY  # 2024-06-01
SETTLED = CandleFacts(settle_ms=5_000)


def due(timeframe: str, tape: list[Range], now: int, facts: CandleFacts = SETTLED) -> list[FetchRequest]:
    key = Key("binance", "BTC/USDT", timeframe)
    return audit_windows.due(key, timeframes.grid(timeframe), tape, facts, now)


def test_a_day_is_due_once_it_has_ended_and_settled() -> None:
    tape = [Range(FIRST + HOUR, FIRST + 2 * HOUR), Range(FIRST + 3 * HOUR, FIRST + 4 * HOUR)]
    assert due("1m", tape, FIRST + DAY + 4_999) == []
    (request,) = due("1m", tape, FIRST + DAY + 5_000)
    assert (request.since, request.until) == (FIRST, FIRST + DAY)
    assert (request.audit, request.background, request.refresh) == (True, True, True)


def test_candles_longer_than_a_day_are_due_one_by_one() -> None:
    monday = 19_877 * DAY
    (request,) = due("1w", [Range(monday, monday + 7 * DAY)], monday + 8 * DAY)
    assert (request.since, request.until) == (monday, monday + 7 * DAY)
    assert len(due("1d", [Range(FIRST, FIRST + 3 * DAY)], FIRST + 2 * DAY + HOUR)) == 2


def test_windows_are_shorter_where_the_exchange_keeps_only_its_newest_candles() -> None:
    facts = CandleFacts(settle_ms=0, newest_rows=720)
    found = due("1m", [Range(FIRST, FIRST + DAY)], FIRST + 13 * HOUR, facts)
    assert [(each.until or 0) - each.since for each in found] == [6 * HOUR, 6 * HOUR]


def test_an_audit_that_does_not_succeed_is_requested_again_ever_more_seldom() -> None:
    ids: list[str | None] = []
    for minutes in range(0, 60 * 24 * 30, 10):
        (request,) = due("1m", [Range(FIRST, FIRST + HOUR)], FIRST + DAY + 5_000 + minutes * 60_000)
        if request.id not in ids:
            ids.append(request.id)
    assert len(ids) == 10


@given(
    st.sampled_from(["1m", "5m", "1h", "8h", "1d", "3d", "1w", "1M"]),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 2000)), max_size=4),
    st.none() | st.integers(2, 2000),
)
def test_every_candle_built_from_the_tape_is_in_one_window(
    timeframe: str, parts: list[tuple[int, int]], newest: int | None
) -> None:
    grid = timeframes.grid(timeframe)
    start = grid.ceil_open(FIRST)
    tape = [Range(grid.advance(start, first), grid.advance(start, first + count)) for first, count in parts]
    # After the last of 4,000 months.
    found = due(timeframe, tape, FIRST + 2 * 10**13, CandleFacts(newest_rows=newest))
    windows = sorted(Range(each.since, each.until or 0) for each in found)
    assert len({each.id for each in found}) == len(found)
    assert all(one.until <= other.since for one, other in itertools.pairwise(windows))
    for part in tape:
        for at in (part.since, grid.open_of(part.until - 1)):
            assert sum(each.since <= at < each.until for each in windows) == 1
    assert all(any(one.since < part.until and part.since < one.until for part in tape) for one in windows)
