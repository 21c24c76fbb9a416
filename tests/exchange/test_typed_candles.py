"""Pages that a typed decoder reads: the same rows as the venue's parser of ccxt makes, or the parser's rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.market_kinds import market
from tickwire.exchange import ohlcv
from tickwire.exchange.ccxt_patches import lazy_packages
from tickwire.venues.candle_forms import CandleTexts
from tickwire.venues.registry import dialect_of

pytestmark = pytest.mark.pure

lazy_packages.install()
import ccxt.async_support  # noqa: E402

from tickwire.exchange.ccxt_patches.rest_traps import with_rest_traps  # noqa: E402

START = 1_717_200_000_000
Numbers = tuple[int, str, str, str, str, str]
"""Time (ms), open, high, low, close and volume as texts."""


def _ms(n: Numbers) -> list[Any]:
    return [n[0], *n[1:], n[0] + 59_999, "17.5", 3, "9.25", "8.75", "0"]


def _ms_text(n: Numbers) -> list[Any]:
    return [str(n[0]), *n[1:], "17.5", "18.25", "1"]


def _object(n: Numbers) -> dict[str, Any]:
    return {"t": n[0], "T": n[0] + 59_999, "s": "BTC", "i": "1m", **dict(zip("ohlcv", n[1:], strict=True)), "n": 3}


def _in(*path: str, **others: Any) -> Callable[[list[Any]], Any]:
    def answer(candles: list[Any]) -> Any:
        found: Any = candles
        for name in reversed(path):
            found = {**others, name: found}
        return found

    return answer


WRITTEN: dict[str, tuple[Callable[[Numbers], Any], Callable[[list[Any]], Any]]] = {
    # As the venues' documentation and the comments of ccxt's parsers have it.
    "binance": (_ms, _in()),
    "okx": (_ms_text, _in("data", code="0", msg="")),
    "bybit": (lambda n: _ms_text(n)[:7], _in("result", "list", retCode=0, symbol="BTCUSDT")),
    "bitget": (_ms_text, _in("data", code="00000", msg="success", requestTime=1)),
    "kucoin": (
        lambda n: [str(n[0] // 1000), n[1], n[4], n[2], n[3], n[5], "17.5"],
        _in("data", code="200000"),
    ),
    "gate": (lambda n: [str(n[0] // 1000), "17.5", n[4], n[2], n[3], n[1], n[5], "true"], _in()),
    "kraken": (
        lambda n: [n[0] // 1000, *n[1:5], "17.5", n[5], 3],
        lambda candles: {"error": [], "result": {"XXBTZUSD": candles, "last": 1_717_200_000}},
    ),
    "coinbase": (
        lambda n: dict(
            zip(("start", "open", "high", "low", "close", "volume"), (str(n[0] // 1000), *n[1:]), strict=True)
        ),
        _in("candles"),
    ),
    "cryptocom": (_object, _in("result", "data", id=-1, code=0)),
    "hyperliquid": (_object, _in()),
}
CONTRACTS = {
    "binance": WRITTEN["binance"], "okx": WRITTEN["okx"], "bybit": WRITTEN["bybit"], "bitget": WRITTEN["bitget"],
    "kucoin": (lambda n: [n[0], *map(float, n[1:]), 17.5], _in("data", code="200000")),
    "gate": (lambda n: {**_object(n), "t": n[0] // 1000, "v": 17, "sum": n[5]}, _in()),
}  # fmt: skip
CASES = [
    *((exchange, "spot", *how) for exchange, how in WRITTEN.items()),
    *((exchange, kind, *how) for kind in ("linear", "inverse") for exchange, how in CONTRACTS.items()),
]


def reader(exchange: str) -> Any:
    return with_rest_traps(getattr(ccxt.async_support, exchange))({})


def candles_in(answer: Any) -> Any:
    """The list of candles in an answer."""
    if isinstance(answer, list):
        return answer
    return next(found for each in answer.values() if isinstance(each, dict | list) and (found := candles_in(each)))


def read(made: Any, kind: str, text: str) -> tuple[Any, Any]:
    """What the parser of a whole page gets of an answer, and the page that it makes."""
    with ohlcv.whole_pages(dialect_of(made.id).candles.of(kind)) as pages:  # type: ignore[arg-type]
        candles = candles_in(made.parsed(text))
        made.parse_ohlcvs(candles, market(kind))
    return candles, pages[0]


# As st.decimals(0, 10**6, places=8), which takes twice as long to make a list.
decimals = st.integers(0, 10**14).map(lambda n: str(Decimal(n).scaleb(-8)))
numbers = st.lists(st.tuples(decimals, decimals, decimals, decimals, decimals), min_size=10, max_size=16).map(
    lambda rows: [(START + place * 60_000, *row) for place, row in enumerate(rows)]
)


@pytest.fixture(scope="module")
def readers() -> list[tuple[Any, Any]]:
    """For each case, the exchange whose pages are read and ccxt's own."""
    return [(reader(exchange), getattr(ccxt.async_support, exchange)({})) for exchange, *_ in CASES]


# To make a page takes ten times as long as to read it: each is read by every exchange.
@settings(max_examples=300)
@given(rows=numbers)
def test_a_page_is_read_as_the_parser_of_ccxt_reads_each_candle(
    readers: list[tuple[Any, Any]], rows: list[Numbers]
) -> None:
    for (exchange, kind, candle, answer), (made, plain) in zip(CASES, readers, strict=True):
        written = [candle(each) for each in rows]
        candles, page = read(made, kind, json.dumps(answer(written)))
        assert isinstance(candles, CandleTexts), (exchange, kind)
        assert page is candles.rows, f"the parser had to read it: {exchange} {kind}"
        expected = [plain.parse_ohlcv(each, market(kind)) for each in written]
        assert [list(each) for each in page] == expected, (exchange, kind)
        assert all(type(each) is float for row in page for each in row[1:]), (exchange, kind)
        assert all(type(row[0]) is int for row in page), (exchange, kind)


def usual(count: int) -> list[Numbers]:
    return [(START + n * 60_000, f"{n}.5", f"{n}.75", f"{n}.25", f"{n}.625", f"{n}.125") for n in range(count)]


@pytest.mark.parametrize("exchange", WRITTEN)
@pytest.mark.parametrize("place", [7, 10])
@pytest.mark.parametrize("broken", [None, "1_0", True])
def test_a_page_with_a_candle_of_another_form_is_read_by_the_parser(exchange: str, place: int, broken: Any) -> None:
    made = reader(exchange)
    candle, answer = WRITTEN[exchange]
    written = [candle(each) for each in usual(20)]
    for name in list(written[place]) if isinstance(written[place], dict) else range(len(written[place])):
        changed = json.loads(json.dumps(written))
        changed[place][name] = broken
        _, page = read(made, "spot", json.dumps(answer(changed)))
        with ohlcv.whole_pages() as pages:
            made.parse_ohlcvs(candles_in(made.parsed(json.dumps(answer(changed)))), market("spot"))
        assert [list(row) if isinstance(row, tuple) else row for row in page] == pages[0]


@pytest.mark.parametrize("exchange", ["binance", "okx", "bybit", "bitget", "kucoin", "gate"])
def test_columns_of_another_kind_of_market_are_never_trusted(exchange: str) -> None:
    """All volumes are 0 here: real rows alone would not show which column is read."""
    made = reader(exchange)
    for kind, (candle, answer), other in (
        ("spot", WRITTEN[exchange], "inverse"),
        ("inverse", CONTRACTS[exchange], "spot"),
    ):
        text = json.dumps(answer([candle((*each[:5], "0")) for each in usual(20)])).replace("17.5", "0")
        form = dialect_of(exchange).candles.of(other)  # type: ignore[arg-type]
        with ohlcv.whole_pages(form) as pages:
            candles = candles_in(made.parsed(text))
            made.parse_ohlcvs(candles, market(kind))
        plain = getattr(ccxt.async_support, exchange)({})
        assert not isinstance(candles, CandleTexts) or pages[0] is not candles.rows
        assert [list(row) for row in pages[0]] == [
            plain.parse_ohlcv(each, market(kind)) for each in candles_in(json.loads(text))
        ]


@pytest.mark.parametrize("time", ["17172000000", "1717200000000"])
def test_times_of_another_length_are_read_by_the_parser(time: str) -> None:
    """ccxt's parser of kucoin takes longer times for ms, and the columns for those of futures."""
    made = reader("kucoin")
    candles, page = read(made, "spot", json.dumps({"code": "200000", "data": [[time, "1", "2", "3", "4", "5"]] * 20}))
    assert page is not candles.rows
    assert page[0] == [int(time), 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("exchange", WRITTEN)
def test_answers_without_candles_and_short_pages_are_left_to_ccxt(exchange: str) -> None:
    made, (candle, answer) = reader(exchange), WRITTEN[exchange]
    plain = json.dumps(answer([candle(each) for each in usual(9)]))
    for text in (plain, json.dumps(answer([])), "{}", "[]", '{"code":"50011","msg":"x"}', '{"result":{}}', '"x"', "5"):
        with ohlcv.whole_pages(dialect_of(exchange).candles.spot):
            assert made.parsed(text) == json.loads(text)
