"""Charts of candles: holes are empty columns, prices are plain digits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.cli.feeds.feed_screens import CandleScreen
from tickwire.cli.output import chart
from tickwire.model.feeds import Candle
from tickwire.model.messages import Row

pytestmark = pytest.mark.pure

AT = 1_767_225_600_000
"""2026-01-01."""


@pytest.fixture(autouse=True, scope="module")
def _terminal() -> Iterator[None]:
    """A large terminal: nothing is drawn that is larger than it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        patch.setenv("LINES", "60")
        yield


def row(number: int, low: float = 1.0, high: float = 2.0) -> Row:
    return (AT + number * 60_000, low, high, low, high, 1.0)


def columns(picture: str) -> list[str]:
    """The columns of the plot, between its borders."""
    lines = [line for line in picture.splitlines() if line.rstrip().endswith("│")]
    start = max(line.index("│") if "┤" not in line else line.index("┤") for line in lines) + 1
    return ["".join(line[at] for line in lines) for at in range(start, min(map(len, map(str.rstrip, lines))) - 1)]


@given(st.sets(st.integers(0, 39), min_size=1), st.integers(60, 130))
def test_an_interval_without_a_candle_is_an_empty_column(there: set[int], width: int) -> None:
    picture = chart.candles("", [row(number) for number in sorted(there)], width, timeframe="1m")
    drawn = [bool(each.strip()) for each in columns(picture)]
    last = max(there)
    newest_at = len(drawn) - 1 - chart.RIGHT_CELLS
    assert {last - (newest_at - at) for at, there_ in enumerate(drawn) if there_} == there


def test_candles_before_a_hole_that_is_wider_than_the_chart_are_not_drawn() -> None:
    picture = chart.candles("", [row(0, 1, 9), row(500), row(501)], 60, timeframe="1m")
    assert sum(bool(each.strip()) for each in columns(picture)) == 2
    assert "9" not in "".join(line.partition("┤")[0] for line in picture.splitlines() if "┤" in line)


def test_months_have_several_lengths_and_are_drawn_side_by_side() -> None:
    months = [(AT + number * 86_400_000, 1.0, 2.0, 1.0, 2.0, 1.0) for number in (0, 31, 59, 90)]
    picture = chart.candles("", months, 60, timeframe="1M")
    assert sum(bool(each.strip()) for each in columns(picture)) == 4
    assert picture.rstrip().endswith("04-01 00:00")


prices = st.floats(1e-9, 1e9)


@given(prices, prices)
def test_prices_of_the_axis_are_plain_digits_that_differ(one: float, other: float) -> None:
    low, high = sorted((one, other))
    places, labels = chart.axis(low, high, 5)
    assert all(re.fullmatch(r"[\d,]+(\.\d+)?", label) for label in labels)
    assert len(places) == len(labels)
    if (high - low) / high > 1e-9:
        assert len(set(labels)) == 5
        step = (high - low) / 4
        for place, label in zip(places, labels, strict=True):
            assert math.isclose(float(label.replace(",", "")), place, abs_tol=step / 2)


def test_a_market_that_did_not_move_has_one_price_on_its_axis() -> None:
    assert chart.axis(0.00001234, 0.00001234, 5) == ([0.00001234], ["0.00001234"])
    assert chart.candles("", [row(0, 5.0, 5.0)], 60, timeframe="1m")


@given(st.integers(30, 200), st.integers(8, 40))
def test_a_chart_is_as_large_as_it_may_be(width: int, height: int) -> None:
    picture = chart.candles("title", [row(number, 1e-7, 3e-7) for number in range(300)], width, height, timeframe="1m")
    lines = picture.splitlines()
    assert (len(lines), max(map(len, lines))) == (height, width)


def test_history_that_was_fetched_meanwhile_fills_the_hole_before_the_live_candle() -> None:
    screen = CandleScreen([row(0)], "1m")
    live = Candle(
        exchange="okx", symbol="A/B", timeframe="1m", timestamp=AT + 180_000, open=5, high=5, low=5, close=5, volume=1,
        trades=1, closed=False, complete=False,
    )  # fmt: skip
    screen.take(live)
    screen.add_history([row(number) for number in range(5)])
    assert [each[0] for each in screen.rows] == [AT + number * 60_000 for number in range(4)]
    assert screen.rows[-1][4] == 5
