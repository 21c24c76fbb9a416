"""What one unit of a market's amount is worth, by the numbers of venues' own documentation and of arithmetic."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.feeds import Trade, Trades
from tickwire.model.messages import Row
from tickwire.venues import units
from tickwire.venues.registry import profile_of
from tickwire.venues.units import Measure

pytestmark = pytest.mark.pure

LINEAR = {"contract": True, "linear": True, "inverse": False}
INVERSE = {"contract": True, "linear": False, "inverse": True}
SPOT = {"contract": False, "spot": True}


@pytest.mark.parametrize(
    ("exchange", "market", "size", "amount", "price", "base"),
    [
        ("okx", LINEAR, 0.01, 3, 60_000, "0.03"),
        ("okx", INVERSE, 100, 3, 60_000, "0.005"),
        ("okx", SPOT, None, 3, 60_000, "3"),
        ("binanceusdm", LINEAR, 1, 3, 60_000, "3"),
        ("binancecoinm", INVERSE, 100, 3, 60_000, "0.005"),
        ("bybit", INVERSE, 1, 300, 60_000, "0.005"),
        # Its contract is 10 USD, but amounts are told in USD.
        ("deribit", INVERSE, 10, 300, 60_000, "0.005"),
        ("deribit", LINEAR, 0.001, 3, 60_000, "3"),
        ("gate", LINEAR, 0.0001, 3, 60_000, "0.0003"),
        ("kucoinfutures", LINEAR, 0.001, 3, 60_000, "0.003"),
    ],
)
def test_an_amount_of_a_trade_in_base_currency(
    exchange: str, market: dict[str, Any], size: float | None, amount: float, price: float, base: str
) -> None:
    known = units.units_of(profile_of(exchange), {**market, "contractSize": size})
    assert known.builds == "base"
    assert known.trades is not None
    assert known.trades.base_volume(amount, price) == Decimal(base)


@pytest.mark.parametrize(
    ("exchange", "market"),
    [
        ("phemex", {**LINEAR, "contractSize": 1}),
        ("bitget", {**INVERSE, "contractSize": 1}),
        ("okx", {**LINEAR, "contractSize": None}),
        ("okx", {**LINEAR, "contractSize": 0}),
        ("okx", {"contract": True, "option": True, "inverse": True, "contractSize": 1}),
        ("kucoinfutures", {"contract": True, "linear": False, "inverse": False, "contractSize": 1}),
    ],
)
def test_what_is_not_declared_is_unknown(exchange: str, market: dict[str, Any]) -> None:
    known = units.units_of(profile_of(exchange), market)
    assert (known.trades, known.builds, known.cacheable) == (None, "unknown", False)


def test_a_built_candle_is_cached_only_where_it_equals_the_exchanges_own_row() -> None:
    linear = units.units_of(profile_of("okx"), {**LINEAR, "contractSize": 0.01})
    inverse = units.units_of(profile_of("okx"), {**INVERSE, "contractSize": 100})
    unfetchable = units.units_of(profile_of("kucoinfutures"), {**LINEAR, "contractSize": 0.001})
    assert (linear.cacheable, inverse.cacheable, unfetchable.cacheable) == (True, False, False)


def test_fetched_contracts_become_base_currency_where_that_is_exact() -> None:
    row: Row = (0, 10.0, 12.0, 9.0, 11.0, 7.0)
    linear = units.units_of(profile_of("gate"), {**LINEAR, "contractSize": 0.0001})
    assert units.row_in_base(row, linear.candles) == (0, 10.0, 12.0, 9.0, 11.0, 0.0007)
    assert linear.fetches == "base"
    inverse = units.units_of(profile_of("gate"), {**INVERSE, "contractSize": 1})
    assert units.row_in_base(row, inverse.candles) == row
    assert inverse.fetches == "contracts"
    assert units.units_of(profile_of("phemex"), {**LINEAR, "contractSize": 1}).fetches == "unknown"


def test_what_a_message_says_of_its_amounts() -> None:
    def said(symbol: str, **more: Any) -> Measure | None:
        return units.measure_of(Trades(exchange="okx", symbol=symbol, trades=[], received=0, **more))

    assert said("BTC/USDT") == Measure()
    assert said("BTC/USDT:USDT", multiplier=0.01, inverse=False) == Measure(Decimal("0.01"))
    assert said("BTC/USD:BTC", multiplier=100.0, inverse=True) == Measure(Decimal("100.0"), inverse=True)
    assert said("BTC/USDT:USDT", multiplier=None) is None
    assert said("BTC/USDT:USDT", multiplier=0.0) is said("BTC/USDT:USDT", multiplier=float("inf")) is None
    # Of an earlier version, which did not say it.
    assert said("BTC/USDT:USDT") is None


_AMOUNTS = st.floats(min_value=1e-8, max_value=1e9)
_PRICES = st.floats(min_value=1e-6, max_value=1e7)


@given(
    st.lists(st.tuples(_AMOUNTS, _PRICES), min_size=1, max_size=20),
    st.sampled_from([0.0001, 0.01, 1.0, 10.0]),
    st.booleans(),
)
def test_totals_are_those_of_fractions(pairs: list[tuple[float, float]], size: float, inverse: bool) -> None:
    trades = [Trade(id=None, timestamp=0, side=None, price=price, amount=amount) for amount, price in pairs]
    exact = [Fraction(repr(amount)) * Fraction(repr(size)) for amount, _ in pairs]
    if inverse:
        exact = [held / Fraction(repr(price)) for held, (_, price) in zip(exact, pairs, strict=True)]
    total = Measure(Decimal(repr(size)), inverse=inverse).total(trades)
    assert abs(Fraction(total) - sum(exact)) <= (sum(exact) * Fraction(1, 10**30) if inverse else 0)


@given(_AMOUNTS, _PRICES, st.booleans())
def test_quote_is_base_times_price(amount: float, price: float, inverse: bool) -> None:
    measure = Measure(Decimal("0.01"), inverse=inverse)
    assert measure.quote_volume(amount, price) == pytest.approx(float(measure.base_volume(amount, price)) * price)
