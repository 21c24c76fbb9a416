"""Timeframes against the calendar."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.errors import UnsupportedTimeframe
from tickwire.model import timeframes

pytestmark = pytest.mark.pure

names = st.sampled_from(["1s", "1m", "3m", "15m", "1h", "4h", "12h", "1d", "3d", "1w", "1M", "3M", "1y"])
moments = st.integers(0, 4_000_000_000_000)


def ms(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 1000  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("table", "offered"),
    [
        ({"1m": 1, "1h": 60, "1w": 10080, "2w": 21600}, ("1m", "1h", "1w")),
        ({"1m": "60", "1d": "86400", "1w": "259200"}, ("1m", "1d")),
        ({"1m": 60, "1d": 86400, "1M": 2592000}, ("1m", "1d", "1M")),
        ({"1m": "1min", "1h": "60min", "1w": "week"}, ("1m", "1h", "1w")),
        ({"1m": "1", "1h": "60", "1d": "D", "1w": None, "15": "15"}, ("1m", "1h", "1d", "1w")),
        ({}, ()),
    ],
)
def test_a_timeframe_whose_candles_have_another_length_is_not_offered(
    table: dict[str, object], offered: tuple[str, ...]
) -> None:
    assert timeframes.offered(table) == offered


@given(names, moments)
def test_a_moment_lies_in_the_candle_that_opened_last(name: str, moment: int) -> None:
    opened = timeframes.open_of(name, moment)
    assert opened <= moment < timeframes.next_open(name, opened)
    assert timeframes.open_of(name, opened) == opened
    assert timeframes.ceil_open(name, opened) == opened


@given(names, moments, st.integers(0, 500))
def test_counting_is_the_inverse_of_advancing(name: str, moment: int, candles: int) -> None:
    first = timeframes.open_of(name, moment)
    assert timeframes.count(name, first, timeframes.advance(name, first, candles)) == candles


@pytest.mark.parametrize(
    ("name", "moment", "opened", "closed"),
    [
        ("1w", ms(2024, 2, 29, 13), ms(2024, 2, 26), ms(2024, 3, 4)),  # Mondays
        ("1M", ms(2024, 2, 29, 13), ms(2024, 2, 1), ms(2024, 3, 1)),
        ("4h", ms(2024, 2, 29, 13), ms(2024, 2, 29, 12), ms(2024, 2, 29, 16)),
        ("1d", ms(2024, 12, 31, 23), ms(2024, 12, 31), ms(2025, 1, 1)),
    ],
)
def test_candles_open_where_exchanges_open_them(name: str, moment: int, opened: int, closed: int) -> None:
    assert timeframes.open_of(name, moment) == opened
    assert timeframes.next_open(name, opened) == closed


@pytest.mark.parametrize("name", ["", "m", "0m", "1", "-1m", "1x", "1.5h", "1m\n", "60", "99999m"])
def test_what_is_no_timeframe_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(UnsupportedTimeframe, match="not a timeframe"):
        timeframes.parse(name)


origins = st.integers(-14 * 4, 14 * 4).map(lambda quarters: quarters * 900_000)


@given(
    st.sampled_from(["1h", "4h", "8h", "1d", "3d", "1w", "2w", "1M", "3M", "1y"]), moments, origins, st.integers(0, 99)
)
def test_a_grid_of_another_midnight_is_one_like_the_usual(name: str, moment: int, origin: int, candles: int) -> None:
    moment += 86_400_000 * 366
    usual = timeframes.grid(name)
    shifted = timeframes.grid(name, usual.open_of(moment) + origin)
    assert shifted.opens(usual.open_of(moment) + origin)
    opened = shifted.open_of(moment)
    assert opened <= moment < shifted.next_open(opened)
    assert shifted.open_of(moment + origin) == usual.open_of(moment) + origin
    assert shifted.count(opened, shifted.advance(opened, candles)) == candles
    # The same from any other of its candles.
    assert timeframes.grid(name, shifted.advance(opened, candles)) == shifted
    assert shifted.opens_at is None or timeframes.grid(name, shifted.opens_at) == shifted


def test_weeks_may_open_on_thursday_and_months_at_a_midnight_elsewhere() -> None:
    weeks = timeframes.grid("1w", 0)
    assert weeks.open_of(ms(2024, 2, 29, 13)) == ms(2024, 2, 29)
    assert weeks.open_of(ms(2024, 2, 28, 13)) == ms(2024, 2, 22)
    months = timeframes.grid("1M", ms(2024, 1, 31, 16))
    assert months.open_of(ms(2024, 2, 29, 15)) == ms(2024, 1, 31, 16)
    assert months.open_of(ms(2024, 2, 29, 16)) == ms(2024, 2, 29, 16)
