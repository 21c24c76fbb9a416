"""Bars folded from columns are those that a plain loop makes of the same trades, one by one and in decimals."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import chain
from typing import NamedTuple

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.bars import Bars, Fold, QuoteRule, Rule, TickRule, TimeRule, VolumeRule
from tickwire.model.timeframes import Grid, grid
from tickwire.venues.units import Measure

pytestmark = pytest.mark.pure

START = 1_700_006_400_000
"""A midnight (UTC): 2023-11-15."""
GRIDS = [
    grid("1s"),
    grid("1m"),
    grid("1h"),
    grid("1d"),
    grid("1d", 57_600_000),
    grid("1w"),
    grid("1w", 0),
    grid("1M"),
    grid("3M", 2_678_400_000),
    grid("1y"),
]


class Row(NamedTuple):
    """A trade."""

    timestamp: int
    price: float
    amount: float


class Bar(NamedTuple):
    """What is known of a bar."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: int
    last: int


def decimals(most: int, places: int) -> st.SearchStrategy[float]:
    """Positive numbers with so many digits after the point, as exchanges state them."""
    return st.integers(1, most).map(lambda number: float(Decimal(number).scaleb(-places)))


rows = st.builds(
    Row,
    timestamp=st.one_of(st.integers(0, 10**6), st.integers(0, 40 * 86_400_000)).map(START.__add__),
    price=decimals(9_999_999, 2),
    amount=decimals(99_999_999, 6),
)
batches = st.lists(st.lists(rows, max_size=12), max_size=6)


def built(rule: Rule, taken: Iterable[list[Row]], measure: Measure | None = None) -> list[Bar]:
    """The bars of batches of trades."""
    return listed(folded(rule, taken, measure))


def folded(rule: Rule, taken: Iterable[list[Row]], measure: Measure | None = None) -> Bars:
    fold = Fold(rule) if measure is None else Fold(rule, measure)
    for batch in taken:
        times, prices, amounts = zip(*batch, strict=True) if batch else ((), (), ())
        fold.take(numpy.array(times, numpy.int64), numpy.array(prices, float), numpy.array(amounts, float))
    return fold.result()


def listed(bars: Bars) -> list[Bar]:
    """The rows of columns."""
    return [Bar(*row) for row in zip(*(getattr(bars, name).tolist() for name in Bar._fields), strict=True)]


def decimal(number: float) -> Decimal:
    return Decimal(repr(number))


def plain(timestamp: int, trades: list[Row], size: Decimal = Decimal(1)) -> Bar:
    """The bar of some trades, by the definition of each value."""
    prices = [each.price for each in trades]
    volume = sum((decimal(each.amount) * size for each in trades), Decimal(0))
    quote = sum((decimal(each.price) * decimal(each.amount) * size for each in trades), Decimal(0))
    return Bar(
        timestamp,
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        float(volume),
        float(quote),
        len(trades),
        trades[-1].timestamp,
    )


def split(trades: list[Row], size: Decimal, of: Callable[[Row], Decimal]) -> list[list[Row]]:
    """The trades of each bar that ends once its sum reaches `size`."""
    found: list[list[Row]] = []
    held = size
    for each in trades:
        if held >= size:
            found.append([])
            held = Decimal(0)
        found[-1].append(each)
        held += of(each)
    return found


@given(batches, st.sampled_from(GRIDS))
def test_time_bars_have_the_trades_of_their_interval_in_tape_order(taken: list[list[Row]], of: Grid) -> None:
    expected: dict[int, list[Row]] = {}
    for each in list(chain(*taken)):
        expected.setdefault(of.open_of(each.timestamp), []).append(each)
    assert built(TimeRule(of), taken) == [plain(opened, expected[opened]) for opened in sorted(expected)]


@given(batches, st.integers(1, 9))
def test_tick_bars_have_so_many_trades_each(taken: list[list[Row]], size: int) -> None:
    trades = list(chain(*taken))
    expected = [trades[start : start + size] for start in range(0, len(trades), size)]
    bars = folded(TickRule(size), taken)
    assert listed(bars) == [plain(each[0].timestamp, each) for each in expected]
    assert bars.is_open == (len(trades) % size > 0)


@given(batches, decimals(300_000_000, 6))
def test_volume_bars_end_with_the_trade_that_fills_them(taken: list[list[Row]], size: float) -> None:
    expected = split(list(chain(*taken)), decimal(size), lambda each: decimal(each.amount))
    bars = folded(VolumeRule(size), taken)
    assert listed(bars) == [plain(each[0].timestamp, each) for each in expected]
    filled = not expected or sum(decimal(each.amount) for each in expected[-1]) >= decimal(size)
    assert bars.is_open != filled


@given(batches, decimals(10_000_000, 0))
def test_quote_bars_end_with_the_trade_that_fills_them(taken: list[list[Row]], size: float) -> None:
    expected = split(list(chain(*taken)), decimal(size), lambda each: decimal(each.price) * decimal(each.amount))
    assert built(QuoteRule(size), taken) == [plain(each[0].timestamp, each) for each in expected]


@given(batches, st.integers(1, 999), st.integers(-3, 4))
def test_amounts_in_contracts_become_base_currency(taken: list[list[Row]], digits: int, exponent: int) -> None:
    size = Decimal(digits).scaleb(exponent)
    expected = split(list(chain(*taken)), Decimal(1000), lambda each: decimal(each.amount) * size)
    found = built(VolumeRule(1000), taken, Measure(size))
    assert found == [plain(each[0].timestamp, each, size) for each in expected]


@given(st.lists(rows, min_size=1, max_size=12))
def test_contracts_of_inverse_markets_are_quote_currency(trades: list[Row]) -> None:
    [bar] = built(TickRule(100), [trades], Measure(Decimal(10), inverse=True))
    assert bar.quote_volume == float(sum(decimal(each.amount) * 10 for each in trades))
    assert bar.volume == pytest.approx(
        float(sum(decimal(each.amount) * 10 / decimal(each.price) for each in trades)), rel=1e-13
    )


@given(st.lists(st.builds(Row, st.just(START), st.floats(1e-9, 1e9), st.floats(0, 1e15)), min_size=1, max_size=30))
def test_numbers_of_any_size_are_summed_to_the_precision_of_a_double(trades: list[Row]) -> None:
    """Where the total has more digits than 63 bits hold, the sum is rounded."""
    [bar] = built(TickRule(100), [[each] for each in trades])
    assert bar.volume == pytest.approx(float(sum(decimal(each.amount) for each in trades)), rel=1e-14, abs=1e-14)
    quote = float(sum(decimal(each.price) * decimal(each.amount) for each in trades))
    assert bar.quote_volume == pytest.approx(quote, rel=1e-14, abs=1e-14)


def test_no_trade_makes_no_bar() -> None:
    assert built(TimeRule(grid("1m")), []) == built(VolumeRule(1), [[], []]) == []


def test_negative_prices_fill_bars_of_quote_currency() -> None:
    """As crude oil had them in April 2020."""
    bars = built(QuoteRule(70), [[Row(START, -37.5, 1.0), Row(START, -37.25, 1.0), Row(START, 10.0, 1.0)]])
    assert [(bar.low, bar.quote_volume, bar.trades) for bar in bars] == [(-37.5, 74.75, 2), (10.0, 10.0, 1)]
