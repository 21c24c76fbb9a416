"""Integers that ccxt reads: times in nanoseconds, numbers of updates. All of their digits count."""

from __future__ import annotations

from functools import cache
from typing import Any

import ccxt.async_support
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.exchange.ccxt_patches.rest_traps import with_rest_traps

pytestmark = pytest.mark.pure

NS = 1_750_000_035_266_000_000
"""A whole millisecond; the nearest double is less."""
IDS = {"kucoin": "BTC-USDT", "bitget": "BTCUSDT"}


def market(exchange: str) -> dict[str, Any]:
    return {"id": IDS[exchange], "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "baseId": "BTC",
            "quoteId": "USDT", "type": "spot", "spot": True, "active": True}  # fmt: skip


@cache
def plain(exchange: str) -> Any:
    return getattr(ccxt.async_support, exchange)()


@cache
def patched(exchange: str) -> Any:
    return with_rest_traps(getattr(ccxt.async_support, exchange))({})


def test_a_time_in_nanoseconds_is_the_millisecond_that_it_is_in() -> None:
    row = {"sequence": "1", "side": "sell", "size": "1", "price": "1", "time": NS}
    for time in (NS, str(NS)):
        exchange = patched("kucoin")
        trade = exchange.parse_trade({**row, "time": time}, exchange.safe_market_structure(market("kucoin")))
        assert trade["timestamp"] == NS // 1_000_000
    # ccxt by itself: the patch can go when it does so, too.
    exchange = plain("kucoin")
    trade = exchange.parse_trade(row, exchange.safe_market_structure(market("kucoin")))
    assert trade["timestamp"] == NS // 1_000_000 - 1


def test_the_number_of_a_book_keeps_its_digits() -> None:
    number = 2**53 + 1
    book = {"seq": str(number), "asks": [["2", "1"]], "bids": [["1", "1"]]}
    assert patched("bitget").safe_integer(book, "seq") == number
    assert plain("bitget").safe_integer(book, "seq") == number - 1


@given(st.integers(0, 2**70), st.sampled_from([0.001, 0.000001, 0.000000001]), st.booleans())
def test_every_integer_and_every_fraction_of_one_is_exact(value: int, factor: float, is_text: bool) -> None:
    exchange, found = patched("kucoin"), {"a": str(value) if is_text else value}
    read = (
        exchange.safe_integer(found, "a"),
        exchange.safe_integer_2(found, "b", "a"),
        exchange.safe_integer_n(found, ["b", "a"]),
    )
    assert read == (value,) * 3
    parts = (
        exchange.safe_integer_product(found, "a", factor),
        exchange.safe_integer_product_2(found, "b", "a", factor),
        exchange.safe_integer_product_n(found, ["b", "a"], factor),
    )
    assert parts == (value // round(1 / factor),) * 3


VALUES: list[Any] = [
    None,
    "",
    "x",
    "1.5",
    1.5,
    "1e3",
    "-3",
    True,
    [],
    {},
    "100.0",
    "٣",
    float("nan"),
    "inf",
    0,
    "0",
    12,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("default", [None, 0, 7])
def test_all_other_values_are_read_as_ccxt_reads_them(value: Any, default: Any) -> None:
    theirs, ours = plain("kucoin"), patched("kucoin")
    for found in ({"a": value}, {}, None):
        for name, arguments in (
            ("safe_integer", ("a",)),
            ("safe_integer_2", ("b", "a")),
            ("safe_integer_product", ("a", 1000)),
            ("safe_integer_product", ("a", 0.001)),
            ("safe_integer_product_2", ("b", "a", 1000)),
        ):
            assert getattr(ours, name)(found, *arguments, default) == getattr(theirs, name)(found, *arguments, default)
