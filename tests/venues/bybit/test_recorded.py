"""Bybit's recorded frames: each field of what is decoded is the recorded text's own number, by json and Decimal."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import ccxt.pro
import msgspec
import pytest

from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.venues.bybit import INTERVALS, decode, is_spot_url
from tickwire.venues.dialect import BookSnapshot, Decoded, Diff
from venues.recordings import frames, levels, number, only_candle

pytestmark = pytest.mark.golden

DECODED = {"publicTrade": 4, "orderbook.1": 5, "orderbook.50": 4, "tickers": 6, "kline.5": 1}
"""How many frames the recordings have of each channel that is decoded, counted with grep."""
INVERSE = ("BTCUSD", "BTCUSDU23")


def of_trade(row: Any) -> Trade:
    return Trade(
        id=row["i"], timestamp=row["T"], side=row["S"].lower(), price=number(row["p"]), amount=number(row["v"])
    )


def of_book(frame: Any) -> BookSnapshot | Diff:
    row, time = frame["data"], frame["ts"]
    bids, asks = levels(row["b"]), levels(row["a"])
    if frame["type"] == "snapshot":
        return BookSnapshot(timestamp=time, bids=bids, asks=asks, sequence=row["u"])
    return Diff(timestamp=time, bids=bids, asks=asks, last=row["u"])


def of_best(frame: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"timestamp": frame["ts"]}
    for name, side in (("bid", "b"), ("ask", "a")):
        # Of each side, the recorded changes have one level that is not removed.
        for price, size in levels(frame["data"][side]):
            if size:
                found |= {name: price, f"{name}_amount": size}
    return found


def of_ticker(frame: Any) -> dict[str, Any]:
    names = {"last": "lastPrice", "open": "prevPrice24h", "high": "highPrice24h", "low": "lowPrice24h"}
    if frame["data"]["symbol"] in INVERSE:
        names |= {"volume": "turnover24h", "quote_volume": "volume24h"}
    else:
        names |= {"volume": "volume24h", "quote_volume": "turnover24h"}
    row = frame["data"]
    return {"timestamp": frame["ts"]} | {ours: number(row[name]) for ours, name in names.items() if name in row}


def expected(channel: str, frame: dict[str, Any]) -> tuple[Decoded, ...]:
    market = frame["topic"].rpartition(".")[2]
    match channel:
        case "publicTrade":
            trades = [of_trade(row) for row in frame["data"]]
            return (Decoded("trade", market, tuple(trades) if len(trades) == 1 else trades),)
        case "orderbook.50":
            return (Decoded("book", market, (of_book(frame),)),)
        case "orderbook.1":
            return (Decoded("ticker", market, (of_best(frame),)),)
        case _:
            return (Decoded("ticker", market, (of_ticker(frame),)),)


def test_every_recorded_frame_is_decoded_to_the_numbers_it_has(recorded: Path) -> None:
    seen: Counter[str] = Counter()
    for text in frames(recorded, "bybit"):
        frame, found = json.loads(text), decode(text)
        channel = frame.get("topic", "").rpartition(".")[0]
        if channel not in DECODED:
            assert found is None, text
            continue
        seen[channel] += 1
        assert found is not None
        if channel != "kline.5":
            assert tuple(found) == expected(channel, frame)
    assert seen == DECODED


def test_numbers_of_recorded_books_rise_by_one(recorded: Path) -> None:
    numbers: dict[tuple[str, str], list[int]] = {}
    for text in frames(recorded, "bybit"):
        frame = json.loads(text)
        if frame.get("topic", "").startswith("orderbook.") and frame["ts"] < 1_682_000_000_000:
            numbers.setdefault((frame["topic"], str(frame["data"]["u"])[:3]), []).append(frame["data"]["u"])
    assert len(numbers) == 4
    assert all(second == first + 1 for first, second in numbers.values())


@pytest.mark.parametrize(("kind", "column"), [("spot", "volume"), ("linear", "volume"), ("inverse", "turnover")])
def test_the_volume_of_a_recorded_candle_is_in_base_currency(recorded: Path, kind: Any, column: str) -> None:
    text = (recorded / "venues" / "bybit" / "ws_kline.json").read_text()
    (row,) = json.loads(text)["data"]
    bar = only_candle(decode, text, "BTCUSDT", "5m")
    assert bar.candle(Feed("candle", "bybit", "BTC/USDT", "5m"), kind) == Candle(
        exchange="bybit",
        symbol="BTC/USDT",
        timeframe="5m",
        timestamp=row["start"],
        open=number(row["open"]),
        high=number(row["high"]),
        low=number(row["low"]),
        close=number(row["close"]),
        volume=number(row[column]),
        trades=0,
        closed=row["confirm"],
        complete=True,
        volume_unit="base",
    )


@pytest.mark.parametrize(
    "frame",
    [
        '{"success":true,"ret_msg":"","conn_id":"cejreaspqfm9se7usbrg-2xh","req_id":"1","op":"subscribe"}',
        '{"op":"pong","args":["1672916271846"],"conn_id":"cejreaspqfm9se7usbrg-2xh"}',
        '{"req_id":"1","success":true,"ret_msg":"pong","conn_id":"0970e817-426e-429a-a679-ff7f55e0b16a","op":"ping"}',
        '{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1,"data":[]}',
        '{"topic":"kline.7.BTCUSDT","data":[],"ts":1,"type":"snapshot"}',
        '{"topic":"tickers_lt.EOS3LUSDT","ts":1,"type":"snapshot","data":{"symbol":"EOS3LUSDT"}}',
        "pong",
        "",
    ],
)
def test_answers_and_other_topics_are_left_to_ccxt(frame: str) -> None:
    assert decode(frame) is None


def test_trades_of_several_markets_are_told_apart() -> None:
    row = '{"T":%d,"s":"%s","S":"Sell","v":"1","p":"2","i":"%d","BT":false}'
    rows = ",".join(row % (each, market, each) for each, market in enumerate("ABA", 1))
    found = decode(f'{{"topic":"publicTrade.BTC","ts":1,"type":"snapshot","data":[{rows}]}}')
    assert found is not None
    assert [(each.market, [item.id for item in each.items]) for each in found] == [("A", ["1", "3"]), ("B", ["2"])]


def test_a_side_of_the_best_prices_that_becomes_empty_has_no_price() -> None:
    frame = '{"topic":"orderbook.1.A","type":"%s","ts":9,"data":{"s":"A","b":%s,"a":%s,"u":1,"seq":2}}'
    for type_, bids, asks, best in (
        ("delta", "[]", '[["3","0"]]', {"ask": 0.0, "ask_amount": 0.0}),
        ("delta", '[["1","5"],["2","0"]]', "[]", {"bid": 1.0, "bid_amount": 5.0}),
        ("snapshot", '[["1","5"]]', "[]", {"bid": 1.0, "bid_amount": 5.0, "ask": 0.0, "ask_amount": 0.0}),
    ):
        assert decode(frame % (type_, bids, asks)) == (Decoded("ticker", "A", ({"timestamp": 9} | best,)),)


def test_only_tickers_of_inverse_contracts_have_volumes_in_dollars() -> None:
    frame = '{"topic":"tickers.%s","type":"%s","ts":9,"data":{"symbol":"%s","volume24h":"6","turnover24h":"3"%s}}'
    of_contract = ',"openInterest":"1"'
    for market, type_, more, volumes in (
        ("BTCUSD", "snapshot", of_contract, (3.0, 6.0)),
        ("BTCUSDH26", "delta", "", (3.0, 6.0)),
        # A spot market.
        ("BTCUSD", "snapshot", "", (6.0, 3.0)),
        ("BTCUSDT", "delta", "", (6.0, 3.0)),
        ("USDEUSDT", "snapshot", of_contract, (6.0, 3.0)),
        ("BTC-27DEC24", "snapshot", of_contract, (6.0, 3.0)),
    ):
        found = decode(frame % (market, type_, market, more))
        assert found is not None
        ((_, _, (fields,), _),) = found
        assert (fields["volume"], fields["quote_volume"]) == volumes, market


@pytest.mark.parametrize("value", ["NaN", "-1", "1e200", "x"])
def test_numbers_that_are_none_are_refused(value: str) -> None:
    for frame in (
        f'{{"topic":"publicTrade.A","data":[{{"T":1,"s":"A","S":"Buy","v":"1","p":"{value}","i":"1"}}]}}',
        f'{{"topic":"tickers.A","type":"snapshot","ts":1,"data":{{"symbol":"A","lastPrice":"{value}"}}}}',
        f'{{"topic":"orderbook.50.A","type":"delta","ts":1,"data":{{"s":"A","b":[["1","{value}"]],"a":[],"u":1}}}}',
    ):
        with pytest.raises(msgspec.DecodeError):
            decode(frame)


def test_intervals_and_sockets_are_those_of_ccxt() -> None:
    for name in ("bybit", "bybiteu"):
        plain = getattr(ccxt.pro, name)()
        assert {theirs: ours for ours, theirs in plain.timeframes.items()} == INTERVALS
        public = plain.urls["api"]["ws"]["public"]
        assert {kind for kind, url in public.items() if is_spot_url(url)} == {"spot"}
