"""Symbol tokens, subjects and file stems."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tickwire.errors import BadRequest
from tickwire.model.feeds import feed
from tickwire.model.subjects import (
    Key,
    check_subject,
    file_stem,
    job,
    key_of,
    key_of_stem,
    key_path,
    ohlcv,
    symbol_of,
    token,
)

pytestmark = pytest.mark.pure

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)


def encoded(text: str) -> int:
    """How long a token is by the contract's words: three bytes for each byte that is not plain."""
    return sum(1 if each == "/" or (each.isascii() and each.isalnum()) else 3 * len(each.encode()) for each in text)


symbols = texts.filter(lambda text: encoded(text) <= 160)


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


@given(texts)
def test_a_symbol_of_64_characters_has_names_that_fit_everywhere_or_is_refused(symbol: str) -> None:
    key = Key("x" * 32, symbol, "9999m")
    if encoded(symbol) > 160:
        with pytest.raises(BadRequest, match="too long"):
            token(symbol)
        return
    assert len(ohlcv(key)) <= 512
    # The longest that the cache makes of a stem: a temporary meta file, and one that was moved aside.
    assert len(f".partition-9999.tmp-{file_stem(key)}.meta.json") <= 255
    assert len(f"{file_stem(key)}.meta.json.damaged-999") <= 255


@given(st.integers(65, 5_000), st.sampled_from("A/-\u5e01"))
def test_a_symbol_of_more_than_64_characters_is_refused(length: int, sign: str) -> None:
    symbol = sign * length
    for name in (
        lambda: token(symbol),
        lambda: ohlcv(Key("binance", symbol, "1m")),
        lambda: file_stem(Key("binance", symbol, "1m")),
        lambda: feed("trade", "binance", symbol),
    ):
        with pytest.raises(BadRequest) as refused:
            name()
        assert len(str(refused.value)) < 250
        assert refused.value.remedy


@given(st.integers(33, 5_000))
def test_an_exchange_of_more_than_32_characters_is_refused(length: int) -> None:
    with pytest.raises(BadRequest):
        ohlcv(Key("b" * length, "BTC/USDT", "1m"))


@pytest.mark.parametrize("wrong", ["", "a" * 65, "a" * 5_000, "a.b", "a b", "*", "\u5e01", "a\n"])
def test_a_job_id_that_would_not_fit_a_subject_is_refused(wrong: str) -> None:
    with pytest.raises(BadRequest):
        job(wrong)


@given(st.text(max_size=600))
def test_a_subject_has_at_most_512_bytes(subject: str) -> None:
    if len(subject.encode(errors="replace")) > 512:
        with pytest.raises(BadRequest):
            check_subject(subject)
    else:
        assert check_subject(subject) == subject


def test_the_names_of_a_key_are_those_of_the_contract() -> None:
    key = Key("binance", "BTC/USDT:USDT", "1h")
    assert ohlcv(key) == "tape.ohlcv.binance.BTC-USDT=3AUSDT.1h"
    assert file_stem(key) == "binance_BTC-USDT=3AUSDT_1h"


@pytest.mark.parametrize("exchange", ["", "Binance", "bin ance", "../etc", "a.b", "*", ">"])
def test_an_exchange_id_that_would_escape_its_subject_is_refused(exchange: str) -> None:
    with pytest.raises(BadRequest):
        ohlcv(Key(exchange, "BTC/USDT", "1m"))
