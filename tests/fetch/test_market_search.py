"""Markets that an exchange lists, found by what a person writes."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.fetcher.market_search import find
from tickwire.model.messages import ListedMarket

pytestmark = pytest.mark.pure


def listed(symbol: str, *, active: bool = True) -> ListedMarket:
    base, _, quote = symbol.partition(":")[0].partition("/")
    return ListedMarket(
        symbol=symbol,
        kind="linear" if ":" in symbol else "spot",
        base=base,
        quote=quote,
        active=active,
        market_id=f"{base}_{quote}" if ":" in symbol else f"X{base}",
    )


MARKETS = [
    listed(each)
    for each in ("1000BTC/USDT", "BTC/EUR", "BTC/USDT", "BTC/USDT:USDT", "ETH/BTC", "ETH/USDT", "WBTC/USDT", "SOL/USDT")
]


def symbols(search: str) -> list[str]:
    return [each.symbol for each in find(MARKETS, search).markets]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("btc/usdt", ["BTC/USDT", "BTC/USDT:USDT", "WBTC/USDT", "1000BTC/USDT"]),
        ("BTCUSDT", ["BTC/USDT", "BTC/USDT:USDT", "WBTC/USDT", "1000BTC/USDT"]),
        ("usdt  btc", ["BTC/USDT", "WBTC/USDT", "1000BTC/USDT", "BTC/USDT:USDT"]),
        ("btc_usdt", ["BTC/USDT:USDT"]),
        ("xsol", ["SOL/USDT"]),
        (" ", [each.symbol for each in MARKETS]),
    ],
)
def test_words_are_found_whatever_their_signs_and_the_best_come_first(search: str, expected: list[str]) -> None:
    assert symbols(search) == expected


def test_the_base_that_was_written_comes_before_others_and_what_does_not_trade_last() -> None:
    markets = [listed("ETH/BTC"), listed("BTC/A", active=False), listed("BTC/USDT")]
    assert [each.symbol for each in find(markets, "btc").markets] == ["BTC/USDT", "BTC/A", "ETH/BTC"]


@pytest.mark.parametrize(("search", "near"), [("BCT/USDT", "BTC/USDT"), ("SOLL", "SOL/USDT"), ("ETH/USTD", "ETH/USDT")])
def test_a_misspelt_name_suggests_the_nearest(search: str, near: str) -> None:
    found = find(MARKETS, search)
    assert list(found.markets) == []
    assert found.near[0] == near


@given(st.text(string.ascii_letters + "/:-_ <\x00é", max_size=12))
def test_each_market_that_is_found_has_each_word_and_no_other_is_left_out(search: str) -> None:
    found = set(symbols(search))
    for each in MARKETS:
        texts = (each.symbol.lower(), "".join(filter(str.isalnum, each.symbol)).lower(), str(each.market_id).lower())
        assert (each.symbol in found) == all(any(word in text for text in texts) for word in search.lower().split())
