"""Pages of candles as columns that a typed decoder reads: the rows that ccxt makes of them, or ccxt's rows."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.market_kinds import market
from tickwire.exchange import ohlcv
from tickwire.exchange.ccxt_patches import lazy_packages
from tickwire.venues.candle_forms import CandleColumns, CandleTexts
from tickwire.venues.registry import dialect_of

pytestmark = pytest.mark.pure

lazy_packages.install()
import ccxt.async_support  # noqa: E402

from tickwire.exchange.ccxt_patches.rest_traps import with_rest_traps  # noqa: E402

START = 1_583_916_960_000
NAMES = ("ticks", "open", "high", "low", "close", "volume")
KINDS = ["spot", "linear", "inverse"]


def answer(columns: dict[str, list[Any]]) -> dict[str, Any]:
    """As Deribit's documentation of public/get_tradingview_chart_data has it."""
    cost = [17.5] * len(columns["ticks"])
    return {"jsonrpc": "2.0", "result": {"status": "ok", "cost": cost, **columns}, "usIn": 1, "testnet": False}


def columns_of(rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: list(column) for name, column in zip(NAMES, zip(*rows, strict=True), strict=True)}


def read(kind: str, text: str, made: Any = None) -> tuple[Any, Any]:
    """What takes the place of the columns in an answer, and the page that is made of it, as by `fetch_ohlcv`."""
    made = made or with_rest_traps(ccxt.async_support.deribit)({})
    with ohlcv.whole_pages(dialect_of("deribit").candles.of(kind)) as pages:  # type: ignore[arg-type]
        result = made.parsed(text)["result"]
        made.parse_ohlcvs(made.convert_trading_view_to_ohlcv(result, *NAMES, True), market(kind))
    return result, pages[0]


def by_ccxt(kind: str, text: str) -> list[Any]:
    plain = ccxt.async_support.deribit({})
    rows = plain.convert_trading_view_to_ohlcv(json.loads(text)["result"], *NAMES, True)
    return [plain.parse_ohlcv(each, market(kind)) for each in rows]


def usual(count: int) -> list[tuple[Any, ...]]:
    return [(START + n * 60_000, n + 0.5, n + 0.75, n + 0.25, n + 0.625, n + 0.125) for n in range(count)]


numbers = st.integers(0, 10**9) | st.floats(0, 1e12)
pages = st.lists(st.tuples(numbers, numbers, numbers, numbers, numbers), min_size=10, max_size=16).map(
    lambda rows: [(START + place * 60_000, *row) for place, row in enumerate(rows)]
)


@pytest.mark.parametrize("kind", KINDS)
@given(rows=pages)
def test_columns_are_read_as_ccxt_reads_each_candle(kind: str, rows: list[tuple[Any, ...]]) -> None:
    text = json.dumps(answer(columns_of(rows)))
    result, page = read(kind, text)
    assert isinstance(result, CandleColumns)
    assert page is result.rows, "ccxt had to read them"
    assert [list(each) for each in page] == by_ccxt(kind, text)
    assert all(type(each) is float for row in page for each in row[1:])
    assert all(type(row[0]) is int for row in page)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [0, 7, 19])
@pytest.mark.parametrize("broken", [None, "1_0", True, "cut"])
def test_columns_with_a_value_of_another_form_are_read_by_ccxt(name: str, place: int, broken: Any) -> None:
    columns = columns_of(usual(20))
    if broken == "cut":
        del columns[name][place]
    else:
        columns[name][place] = broken
    text = json.dumps(answer(columns))
    _, page = read("spot", text)
    made = with_rest_traps(ccxt.async_support.deribit)({})
    with ohlcv.whole_pages() as plain:
        result = made.parsed(text)["result"]
        made.parse_ohlcvs(made.convert_trading_view_to_ohlcv(result, *NAMES, True), market("spot"))
    assert [list(row) if isinstance(row, tuple) else row for row in page] == plain[0]


def test_columns_that_ccxt_takes_otherwise_are_not_trusted() -> None:
    """All prices are the same here: real rows alone would not show which column is read."""
    text = json.dumps(answer(columns_of([(START + n * 60_000, 5, 5, 5, 5, 5) for n in range(20)])))
    made = with_rest_traps(ccxt.async_support.deribit)({})
    with ohlcv.whole_pages(dialect_of("deribit").candles.spot):
        result = made.parsed(text)["result"]
    convert = partial(made.convert_trading_view_to_ohlcv, result)
    assert isinstance(result, CandleColumns)
    assert isinstance(convert(*NAMES, True), CandleTexts)
    for others in (("ticks", "close", "high", "low", "open", "volume"), (*NAMES[:5], "cost")):
        assert not isinstance(convert(*others, True), CandleTexts)
    # Times in seconds.
    assert not isinstance(convert(*NAMES, False), CandleTexts)


def test_answers_without_candles_and_short_pages_are_left_to_ccxt() -> None:
    made = with_rest_traps(ccxt.async_support.deribit)({})
    short, none = answer(columns_of(usual(9))), {"jsonrpc": "2.0", "result": {"status": "no_data", "ticks": []}}
    answers: list[Any] = [short, none, {"error": {"code": 11044}}, {"result": {}}, {"result": []}, [], "x", 5]
    for each in answers:
        with ohlcv.whole_pages(dialect_of("deribit").candles.spot):
            found = made.parsed(json.dumps(each))
        assert found == each
        assert not (isinstance(found, dict) and isinstance(found.get("result"), CandleColumns))
