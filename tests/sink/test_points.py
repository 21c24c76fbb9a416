"""What the sink writes: expected lines are made by hand from the line protocol's reference."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.feeds import Book, Candle, Gap, Trade, Trades
from tickwire.model.messages import SinkTotals, VolumeUnit
from tickwire.sink import points, totals
from tickwire.sink.totals import CLASSES, class_of

pytestmark = pytest.mark.pure

AT = 1_700_000_000_123
CANDLE = Candle(
    exchange="binance",
    symbol="BTC/USDT",
    timeframe="1m",
    timestamp=1_700_000_040_000,
    open=1.0,
    high=2.5,
    low=0.5,
    close=2.0,
    volume=7.0,
    trades=3,
    closed=True,
    complete=True,
)


def trade(id_: str | None, price: float, amount: float, side: str | None = "buy", timestamp: int = AT) -> Trade:
    return Trade(id=id_, timestamp=timestamp, side=side, price=price, amount=amount)  # type: ignore[arg-type]


def trades(*items: Trade, gap: Gap | None = None, symbol: str = "BTC/USDT") -> Trades:
    return Trades(exchange="binance", symbol=symbol, trades=list(items), received=AT + 5, gap=gap)


def test_trades_of_one_millisecond_are_separate_points_and_each_size_class_is_one() -> None:
    message = trades(trade("1", 60000.5, 0.5), trade("2", 60000.0, 0.1, "sell"), trade("3", 60000.0, 0.05))
    before = SinkTotals(sequence=6, count=41, cvd={"0-10k": 100.0})
    lines, after = points.of_trades(message, 7, before)
    assert lines == [
        "trades,exchange=binance,side=buy,symbol=BTC/USDT "
        'amount=0.5,id="1",price=60000.5,quote=30000.25,source="live" 1700000000123000041',
        "trades,exchange=binance,side=sell,symbol=BTC/USDT "
        'amount=0.1,id="2",price=60000,quote=6000,source="live" 1700000000123000042',
        "trades,exchange=binance,side=buy,symbol=BTC/USDT "
        'amount=0.05,id="3",price=60000,quote=3000,source="live" 1700000000123000043',
        "trade_sizes,exchange=binance,size=10k-100k,symbol=BTC/USDT "
        "buy=30000.25,cvd=30000.25,sell=0,trades=1i,volume=30000.25 1700000000123000007",
        "trade_sizes,exchange=binance,size=0-10k,symbol=BTC/USDT "
        "buy=3000,cvd=-2900,sell=6000,trades=2i,volume=9000 1700000000123000007",
    ]
    assert after == SinkTotals(sequence=7, count=44, cvd={"0-10k": -2900.0, "10k-100k": 30000.25})


def test_a_gap_is_a_point_where_it_begins() -> None:
    gap = Gap(since=AT, until=AT + 9, after_id="4", before_id="9", reason='said "no"')
    lines, after = points.of_trades(trades(gap=gap), 8, SinkTotals(sequence=7, count=3))
    assert lines == [
        "gaps,exchange=binance,symbol=BTC/USDT "
        'after_id="4",before_id="9",reason="said \\"no\\"",since=1700000000123i,until=1700000000132i '
        "1700000000123000008"
    ]
    assert after == SinkTotals(sequence=8, count=3)


def test_a_trade_without_side_or_id_is_of_unknown_side_and_moves_no_delta() -> None:
    lines, after = points.of_trades(trades(trade(None, 2.0, 3.0, None)), 1, SinkTotals())
    assert lines[0] == (
        "trades,exchange=binance,side=unknown,symbol=BTC/USDT "
        'amount=3,price=2,quote=6,source="live" 1700000000123000000'
    )
    assert after.cvd == {"0-10k": 0.0}


def test_a_symbol_with_colon_comma_or_blank_is_escaped() -> None:
    (line,), _ = points.of_trades(trades(trade("1", 1.0, 1.0), symbol="A B,C/USDT:USDT=X"), 1, SinkTotals())
    assert line.startswith("trades,exchange=binance,side=buy,symbol=A\\ B\\,C/USDT:USDT\\=X ")


def contracts(*items: Trade, **units: Any) -> Trades:
    return Trades(exchange="okx", symbol="BTC/USDT:USDT", trades=list(items), received=AT, **units)


@pytest.mark.parametrize(
    ("units", "quote"),
    [
        # 300 contracts at 60,000: of 0.01 BTC, of 100 USD, of 1 USD.
        ({"multiplier": 0.01, "inverse": False}, 180_000),
        ({"multiplier": 100.0, "inverse": True}, 30_000),
        ({"multiplier": 1.0, "inverse": True}, 300),
    ],
)
def test_trades_in_contracts_are_worth_their_contract_size(units: dict[str, Any], quote: int) -> None:
    message = contracts(trade("1", 60_000.0, 300.0, "sell"), **units)
    (single, sizes), after = points.of_trades(message, 7, SinkTotals())
    size = class_of(quote)
    assert "amount=300,id=" in single
    assert f",quote={quote}," in single
    assert f"size={size}," in sizes
    assert f"buy=0,cvd={-quote},sell={quote},trades=1i,volume={quote} " in sizes
    assert after == SinkTotals(sequence=7, count=1, cvd={size: -quote}, measured=True)


@pytest.mark.parametrize("units", [{"multiplier": None}, {}])
def test_what_trades_are_worth_is_left_out_where_it_is_not_known(units: dict[str, Any]) -> None:
    before = SinkTotals(sequence=6, count=41, cvd={"0-10k": 100.0}, measured=True)
    lines, after = points.of_trades(contracts(trade("1", 60_000.0, 300.0), **units), 7, before)
    assert lines == [
        "trades,exchange=okx,side=buy,symbol=BTC/USDT:USDT "
        'amount=300,id="1",price=60000,source="live" 1700000000123000041'
    ]
    assert after == SinkTotals(sequence=7, count=42, cvd={"0-10k": 100.0}, measured=True)


def test_deltas_of_contracts_taken_for_base_currency_begin_anew() -> None:
    before = SinkTotals(sequence=6, count=41, cvd={"100m+": 9e9})
    untold, told = (contracts(trade("1", 60_000.0, 3.0), **units) for units in ({}, {"multiplier": 0.01}))
    assert not totals.restarts_cvd(before, untold)
    assert totals.restarts_cvd(before, told)
    _, after = points.of_trades(told, 7, before)
    assert after == SinkTotals(sequence=7, count=42, cvd={"0-10k": 1800.0}, measured=True)
    assert not totals.restarts_cvd(after, told)


@pytest.mark.parametrize(("unit", "written"), [("base", True), ("contracts", False), ("unknown", False), (None, False)])
def test_a_candles_volume_is_written_in_base_currency_or_not_at_all(unit: VolumeUnit | None, written: bool) -> None:
    swap = msgspec.structs.replace(CANDLE, exchange="okx", symbol="BTC/USDT:USDT", volume=3.6, volume_unit=unit)
    line = points.of_candle(swap)
    assert line is not None
    assert ("volume=3.6" in line) is written


@pytest.mark.parametrize(
    ("quote", "expected"),
    [
        (0.0, "0-10k"),
        (9_999.99, "0-10k"),
        (10_000.0, "10k-100k"),
        (99_999.99, "10k-100k"),
        (100_000.0, "100k-1m"),
        (1_000_000.0, "1m-10m"),
        (10_000_000.0, "10m-100m"),
        (99_999_999.0, "10m-100m"),
        (100_000_000.0, "100m+"),
    ],
)
def test_size_classes_include_their_lower_bound(quote: float, expected: str) -> None:
    assert class_of(quote) == expected


def book(**changes: object) -> Book:
    fields: dict[str, object] = {
        "exchange": "binance",
        "symbol": "BTC/USDT",
        "state": "live",
        "timestamp": AT,
        "received": AT + 5,
        "bids": [(100.0, 2.0), (99.0, 4.0)],
        "asks": [(101.0, 1.0), (103.0, 6.0)],
    }
    return Book(**(fields | changes))  # type: ignore[arg-type]


def test_a_book_is_its_best_prices_depth_and_imbalance() -> None:
    """Weighted by rank: bids 2/1 + 4/2 = 4, asks 1/1 + 6/2 = 4."""
    assert points.of_book(book(), 1_000_007) == (
        "books,exchange=binance,symbol=BTC/USDT ask=101,ask_amount=1,ask_depth=7,bid=100,bid_amount=2,bid_depth=6,"
        "imbalance=0,live=true,mid=100.5,spread=1 1700000000123000007"
    )


def test_a_book_that_resyncs_says_only_that() -> None:
    resyncing = book(state="resyncing", timestamp=None, bids=[], asks=[])
    assert points.of_book(resyncing, 3) == "books,exchange=binance,symbol=BTC/USDT live=false 1700000000128000003"


@pytest.mark.parametrize(
    ("bids", "asks", "expected"),
    [([(1.0, 3.0)], [(2.0, 1.0)], 0.5), ([(1.0, 1.0)], [(2.0, 3.0)], -0.5), ([(1.0, 1.0)], [], 1.0), ([], [], 0.0)],
)
def test_imbalance_goes_from_all_asks_to_all_bids(
    bids: list[tuple[float, float]], asks: list[tuple[float, float]], expected: float
) -> None:
    assert points.imbalance(bids, asks) == expected


def test_only_closed_candles_are_written_at_their_open_time() -> None:
    assert points.of_candle(CANDLE) == (
        "candles,exchange=binance,symbol=BTC/USDT,timeframe=1m "
        "close=2,complete=true,high=2.5,low=0.5,open=1,trades=3i,volume=7 1700000040000000000"
    )
    assert points.of_candle(msgspec.structs.replace(CANDLE, closed=False)) is None


some_trades = st.lists(
    st.builds(
        trade,
        st.none() | st.text("0123456789", min_size=1, max_size=4),
        st.floats(0.01, 1e6),
        st.floats(0.001, 1e4),
        st.sampled_from(["buy", "sell", None]),
        st.integers(AT, AT + 2),
    ),
    max_size=30,
)


@given(st.lists(some_trades, max_size=6))
def test_no_two_points_are_the_same_to_the_database_and_sums_are_the_trades_own(
    batches: list[list[Trade]],
) -> None:
    """And made again from the totals before them, they are the same."""
    totals = SinkTotals(count=999_990)
    lines: list[str] = []
    for sequence, batch in enumerate(batches, 1):
        made, after = points.of_trades(trades(*batch), sequence, totals)
        assert points.of_trades(trades(*batch), sequence, totals) == (made, after)
        lines += made
        totals = after
    # Measurement and tags, and the time: what InfluxDB knows a point by.
    known = [(line.split(" ")[0], line.rsplit(" ", 1)[1]) for line in lines]
    assert len(set(known)) == len(known)
    everything = [each for batch in batches for each in batch]
    assert totals.count == 999_990 + len(everything)
    for name in CLASSES:
        those = [each for each in everything if class_of(each.price * each.amount) == name]
        written = [line for line in lines if f",size={name}," in line]
        volume = sum(float(text) for line in written for text in re.findall(r"volume=([^, ]+)", line))
        assert volume == pytest.approx(sum(each.price * each.amount for each in those))
        bought = sum(each.price * each.amount for each in those if each.side == "buy")
        sold = sum(each.price * each.amount for each in those if each.side == "sell")
        assert totals.cvd.get(name, 0.0) == pytest.approx(bought - sold, abs=1e-3)
