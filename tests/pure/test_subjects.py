"""Symbol tokens, subjects and file stems."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tickwire.errors import BadRequest
from tickwire.subjects import Key, file_stem, key_of, key_of_stem, key_path, ohlcv, symbol_of, token

symbols = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("BTC/USDT", "BTC-USDT"),
        ("BTC/USDT:USDT", "BTC-USDT=3AUSDT"),
        ("BTC/USDT:USDT-260327", "BTC-USDT=3AUSDT=2D260327"),
        ("1000SHIB/USD", "1000SHIB-USD"),
        ("A.B_C/D", "A=2EB=5FC-D"),
        ("币/USDT", "=E5=B8=81-USDT"),
    ],
)
def test_a_token_is_written_as_the_contract_says(symbol: str, expected: str) -> None:
    assert token(symbol) == expected


@given(symbols)
@example("-/=:._ *>")
def test_every_symbol_comes_back_from_its_token(symbol: str) -> None:
    assert symbol_of(token(symbol)) == symbol


@given(symbols, symbols)
def test_two_symbols_never_share_a_token(one: str, other: str) -> None:
    assert (token(one) == token(other)) == (one == other)


@given(symbols)
def test_a_token_is_safe_in_a_subject_a_kv_key_and_a_file_name(symbol: str) -> None:
    assert re.fullmatch(r"[-=A-Za-z0-9]+", token(symbol))


@pytest.mark.parametrize("wrong", ["", "=", "=4", "=41", "=3a", "A.B", "A_B", "=FF", "A B", "BTC/USDT"])
def test_what_is_no_token_is_refused(wrong: str) -> None:
    with pytest.raises(BadRequest):
        symbol_of(wrong)


@given(symbols)
def test_keys_come_back_from_subjects_and_file_stems(symbol: str) -> None:
    key = Key("binance", symbol, "15m")
    assert key_of(key_path(key)) == key
    assert key_of_stem(file_stem(key)) == key


def test_the_names_of_a_key_are_those_of_the_contract() -> None:
    key = Key("binance", "BTC/USDT:USDT", "1h")
    assert ohlcv(key) == "tape.ohlcv.binance.BTC-USDT=3AUSDT.1h"
    assert file_stem(key) == "binance_BTC-USDT=3AUSDT_1h"


@pytest.mark.parametrize("exchange", ["", "Binance", "bin ance", "../etc", "a.b", "*", ">"])
def test_an_exchange_id_that_would_escape_its_subject_is_refused(exchange: str) -> None:
    with pytest.raises(BadRequest):
        ohlcv(Key(exchange, "BTC/USDT", "1m"))
