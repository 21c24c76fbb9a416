"""Pages of candles read by position are those that ccxt's own parsers make, candle by candle."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickwire.exchange import ohlcv
from tickwire.exchange.ccxt_patches import lazy_packages

pytestmark = pytest.mark.pure

lazy_packages.install()
import ccxt.async_support as ccxt  # noqa: E402

VENUES = ("binance", "binanceusdm", "binancecoinm", "okx", "bybit", "kraken", "kucoin", "gate", "bitfinex", "htx",
          "coinbase", "deribit", "hyperliquid", "bitstamp")  # fmt: skip
SPOT = {"id": "BTCUSDT", "symbol": "BTC/USDT", "inverse": False, "spot": True, "contract": False, "type": "spot"}
SWAP = SPOT | {"symbol": "BTC/USD:BTC", "inverse": True, "spot": False, "contract": True, "type": "swap"}
# Six places, from integers: `st.decimals` takes three times as long for the same texts.
price = st.integers(1, 200_000_000_000).map(lambda n: f"{n // 10**6}.{n % 10**6:06}")


def rows(columns: int) -> st.SearchStrategy[list[list[Any]]]:
    """Pages of as many columns, all texts or all numbers, their times in ms or in seconds, as exchanges have them."""
    cells = st.sampled_from([price, price.map(float)]).flatmap(
        lambda cell: st.lists(cell, min_size=columns - 1, max_size=columns - 1)
    )
    times = st.sampled_from([1, 1000]).map(lambda unit: st.integers(1_500_000_000 * unit, 1_800_000_000 * unit))
    return times.flatmap(
        lambda time: st.lists(
            st.tuples(time, st.sampled_from([int, str]), cells).map(lambda parts: [parts[1](parts[0]), *parts[2]]),
            min_size=ohlcv.WORTH_IT,
            max_size=20,
        )
    )


def test_it_reads_a_page_as_the_exchanges_parser_does_or_leaves_it_to_that() -> None:
    """To make a page takes ten times as long as to read it: each is read by every exchange."""
    exchanges = [getattr(ccxt, venue)() for venue in VENUES]
    taken = set()

    @settings(max_examples=300)
    @given(st.integers(6, 12).flatmap(rows))
    def compare(page: list[list[Any]]) -> None:
        for exchange, market in itertools.product(exchanges, (SPOT, SWAP)):
            parse = functools.partial(exchange.parse_ohlcv, market=market)
            found = ohlcv.by_position(page, parse)
            if found is not None:
                taken.add((exchange.id, market["type"]))
                assert found == [parse(row) for row in page], (exchange.id, market["type"])

    compare()
    binance = {(venue, kind) for venue in VENUES if venue.startswith("binance") for kind in ("spot", "swap")}
    assert binance <= taken, "the fast way is not taken where it pays most"


@pytest.mark.parametrize("venue", ["kucoin", "okx", "bybit", "gate"])
def test_a_page_is_read_by_position_only_where_its_own_rows_prove_it(venue: str) -> None:
    """Kucoin's columns are others when its times have ten digits, which numbers of thirteen do not show."""
    exchange = getattr(ccxt, venue)()
    for unit, text in ((1, str), (1000, str), (1, int), (1000, int)):
        page = [[text((1_717_243_200 + 60 * n) * unit), "1", "2", "4", "0.5", "7", "8", "9"] for n in range(20)]
        found = ohlcv.parsed(page, lambda row: exchange.parse_ohlcv(row, SPOT))
        assert found == [exchange.parse_ohlcv(row, SPOT) for row in page]


def test_what_a_parser_computes_is_left_to_it() -> None:
    page = [[1_600_000_000_000 + n, "1", "2", "3", "4", "5"] for n in range(20)]
    assert ohlcv.by_position(page, lambda row: [int(row[0]) * 1000, *map(float, row[1:])]) is None
    assert ohlcv.by_position(page, lambda row: [int(row[0]), *map(float, row[1:5]), float(row[5]) * 10]) is None
    assert ohlcv.by_position(page, lambda row: [int(row[0]), *map(float, row[1:5])]) is None
    assert ohlcv.by_position(page, lambda row: 1 / 0) is None


@pytest.mark.parametrize("broken", [None, "", "abc", [], {"a": 1}])
def test_a_page_with_a_value_that_is_no_number_is_left_to_the_parser(broken: object) -> None:
    page: list[Any] = [[1_600_000_000_000 + n, "1", "2", "3", "4", "5"] for n in range(20)]
    page[7] = [*page[7][:3], broken, "4", "5"]
    assert ohlcv.by_position(page, lambda row: [int(row[0]), *map(float, row[1:])]) is None
    page[7] = broken
    assert ohlcv.by_position(page, lambda row: [int(row[0]), *map(float, row[1:])]) is None


def test_the_volume_of_an_inverse_contract_is_another_column() -> None:
    exchange = ccxt.binancecoinm()
    page = [[1_600_000_000_000 + n, "1", "2", "3", "4", "5", 0, "7"] for n in range(20)]
    found = ohlcv.by_position(page, lambda row: exchange.parse_ohlcv(row, {"inverse": True}))
    assert found is not None
    assert found[0] == [1_600_000_000_000, 1.0, 2.0, 3.0, 4.0, 7.0]
