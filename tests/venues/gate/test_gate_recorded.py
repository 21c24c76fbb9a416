"""Gate's recorded frames: each field of what is decoded is the recorded text's own number, by json and Decimal.

Frames of channels without a recording, and those with sizes as text, are those of the documentation ("Spot WebSocket
v4", "Futures WebSocket v4") and of frames published in 2026.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.venues.dialect import BookSnapshot, Decoded, Diff
from tickwire.venues.gate import DIALECT, PROFILE, decode
from venues.recordings import frames, levels, number, only_candle

pytestmark = pytest.mark.golden

DECODED = {"spot.trades": 1, "spot.book_ticker": 1, "spot.obu": 2, "futures.trades": 3, "futures.tickers": 3,
           "futures.book_ticker": 2}  # fmt: skip
"""How many frames of updates the recordings have of each channel that is decoded, counted with grep."""
NESTED = '"result":[['
"""One recorded frame of tickers, of 2021, has a list in a list."""


def update(channel: str, result: Any) -> str:
    return json.dumps({"time": 1, "time_ms": 1123, "channel": channel, "event": "update", "result": result},
                      separators=(",", ":"))  # fmt: skip


def of_spot_trade(row: Any) -> Trade:
    return Trade(id=str(row["id"]), timestamp=int(Decimal(row["create_time_ms"])), side=row["side"],
                 price=number(row["price"]), amount=number(row["amount"]))  # fmt: skip


def of_contract_trade(row: Any) -> Trade:
    return Trade(id=str(row["id"]), timestamp=row.get("create_time_ms", row["create_time"] * 1000),
                 side="sell" if Decimal(row["size"]) < 0 else "buy", price=number(row["price"]),
                 amount=abs(number(row["size"])))  # fmt: skip


def of_best(row: Any) -> dict[str, float]:
    names = {"bid": "b", "bid_amount": "B", "ask": "a", "ask_amount": "A"}
    # One has empty texts as prices, no amounts, and 0 as its time: of a market without any order.
    timed = {"timestamp": row["t"]} if row["t"] else {}
    return timed | {ours: number(row[theirs] or 0) for ours, theirs in names.items()}


def of_day(row: Any) -> dict[str, float]:
    names = {"last": "last", "high": "high_24h", "low": "low_24h", "volume": "volume_24h_base",
             "quote_volume": "volume_24h_quote"}  # fmt: skip
    return {ours: number(row[theirs]) for ours, theirs in names.items() if theirs in row}


def expected(frame: dict[str, Any]) -> tuple[Decoded, ...]:
    result = frame["result"]
    rows = result if isinstance(result, list) else [result]
    match frame["channel"]:
        case "spot.trades":
            return (Decoded("trade", rows[0]["currency_pair"], (of_spot_trade(rows[0]),)),)
        case "futures.trades":
            trades = [of_contract_trade(row) for row in rows]
            return (Decoded("trade", rows[0]["contract"], tuple(trades) if len(trades) == 1 else trades),)
        case "spot.obu":
            bids, asks, market = levels(result["b"]), levels(result["a"]), result["s"].split(".")[1]
            if result.get("full"):
                whole = BookSnapshot(timestamp=result["t"], bids=bids, asks=asks, sequence=result["u"])
                return (Decoded("book", market, (whole,)),)
            diff = Diff(timestamp=result["t"], bids=bids, asks=asks, first=result["U"], last=result["u"])
            return (Decoded("book", market, (diff,)),)
        case "spot.book_ticker" | "futures.book_ticker":
            return (Decoded("ticker", result["s"], (of_best(result),)),)
        case _:
            timed = {"timestamp": frame["time_ms"]} if "time_ms" in frame else {}
            return (Decoded("ticker", rows[0]["contract"], [timed | of_day(row) for row in rows]),)


def test_every_recorded_frame_is_decoded_to_the_numbers_it_has(recorded: Path) -> None:
    seen: Counter[str] = Counter()
    for text in frames(recorded, "gate"):
        frame = json.loads(text)
        if frame.get("event") != "update" or frame["channel"] not in DECODED:
            assert decode(text) is None, text
        elif NESTED in text:
            with pytest.raises(msgspec.DecodeError):
                decode(text)
        else:
            seen[frame["channel"]] += 1
            assert decode(text) == expected(frame)
    assert seen == DECODED


def test_sizes_of_contracts_are_read_as_text_with_decimals_too() -> None:
    row = {"id": 825348721, "size": "-2.5", "create_time": 1788347173, "create_time_ms": 1788347173767,
           "price": "76520", "contract": "BTC_USDT"}  # fmt: skip
    trade = Trade(id="825348721", timestamp=1788347173767, side="sell", price=76520.0, amount=2.5)
    assert decode(update("futures.trades", [row])) == (Decoded("trade", "BTC_USDT", (trade,)),)
    book = {"t": 9, "s": "BTC_USDT", "U": 7, "u": 8, "b": [{"p": "62914.2", "s": "21129.5"}], "a": [], "l": "100"}
    diff = Diff(timestamp=9, bids=[(62914.2, 21129.5)], asks=[], first=7, last=8)
    assert decode(update("futures.order_book_update", book)) == (Decoded("book", "BTC_USDT", (diff,)),)


def test_a_book_of_contracts_that_is_whole_replaces_the_one_before() -> None:
    book = {"t": 9, "full": True, "s": "BTC_USD", "U": 1, "u": 8, "a": [{"p": "2", "s": 3}], "b": [{"p": "1", "s": 0}]}
    whole = BookSnapshot(timestamp=9, bids=[(1.0, 0.0)], asks=[(2.0, 3.0)], sequence=8)
    assert decode(update("futures.order_book_update", book)) == (Decoded("book", "BTC_USD", (whole,)),)


def test_trades_of_several_contracts_in_a_frame_are_told_apart() -> None:
    rows = [{"size": size, "id": size, "create_time": 1, "create_time_ms": 1000, "price": "1", "contract": contract}
            for size, contract in ((1, "A_USDT"), (2, "B_USDT"), (3, "A_USDT"))]  # fmt: skip
    found = decode(update("futures.trades", rows))
    assert found is not None
    assert [(each.market, [item.id for item in each.items]) for each in found] == [
        ("A_USDT", ["1", "3"]),
        ("B_USDT", ["2"]),
    ]


def test_a_spot_ticker_has_its_best_prices_and_no_volume_that_is_none() -> None:
    row = {"currency_pair": "BTC_USDT", "last": "15743.4", "lowest_ask": "15744.4", "highest_bid": "15743.5",
           "change_percentage": "-1.8254", "base_volume": "9110.473081735", "quote_volume": "nan",
           "high_24h": "16280.9", "low_24h": "15468.5"}  # fmt: skip
    fields = {"timestamp": 1123, "last": 15743.4, "bid": 15743.5, "ask": 15744.4, "high": 16280.9, "low": 15468.5,
              "volume": 9110.473081735}  # fmt: skip
    assert decode(update("spot.tickers", row)) == (Decoded("ticker", "BTC_USDT", [fields]),)


def test_a_spot_candle_is_in_base_currency_and_a_contract_s_in_contracts() -> None:
    spot = {"t": "1606292580", "v": "2362.32035", "c": "19128.1", "h": "19128.3", "l": "19127.9", "o": "19128",
            "n": "1m_BTC_USDT", "a": "3.8283", "w": True}  # fmt: skip
    bar = only_candle(decode, update("spot.candlesticks", spot), "BTC_USDT", "1m")
    candle = Candle(exchange="gate", symbol="BTC/USDT", timeframe="1m", timestamp=1606292580000, open=19128.0,
                    high=19128.3, low=19127.9, close=19128.1, volume=3.8283, trades=0, closed=True, complete=True,
                    volume_unit="base")  # fmt: skip
    assert bar.candle(Feed("candle", "gate", "BTC/USDT", "1m"), "spot") == candle
    contract = {"t": 1545129300, "v": 27525555, "c": "95.4", "h": "96.9", "l": "89.5", "o": "94.3", "n": "1m_BTC_USD",
                "a": "314732.87412"}  # fmt: skip
    found = decode(update("futures.candlesticks", [contract]))
    assert found is not None
    ((_, market, (bar,), _),) = found
    made = bar.candle(Feed("candle", "gate", "BTC/USD:BTC", "1m"), "inverse")
    assert (market, made.volume, made.volume_unit, made.closed) == ("BTC_USD", 27525555.0, None, False)
    assert PROFILE.candles.live_volume["inverse"] == "contracts"


def test_a_candle_of_seven_days_is_one_of_both_timeframes_of_ccxt() -> None:
    row = {"t": "0", "v": "1", "c": "1", "h": "1", "l": "1", "o": "1", "n": "7d_A_B", "a": "1"}
    found = decode(update("spot.candlesticks", row))
    assert found is not None
    assert [(each.market, each.timeframe) for each in found] == [("A_B", "7d"), ("A_B", "1w")]


@pytest.mark.parametrize(
    "frame",
    [
        '{"time":1788336080,"time_ms":1788336080750,"id":3,"conn_id":"b2c2b0629e0c34a3","channel":"spot.trades","event":"subscribe","payload":["BTC_USDT"],"result":{"status":"success"}}',
        '{"time":1725534679,"id":2,"channel":"spot.trades","event":"unsubscribe","payload":["LTC_USDT"],"result":{"status":"success"}}',
        '{"id":1,"channel":"spot.trades","event":"subscribe","error":{"code":2,"message":"unknown"},"result":{}}',
        '{"time":1545404023,"channel":"spot.pong","event":"","error":null,"result":null}',
        '{"time":1,"channel":"spot.orders","event":"update","result":[]}',
        '{"time":1,"channel":"spot.order_book_update","event":"update","result":{"t":1,"s":"A_B","U":1,"u":1}}',
        "pong",
        "",
    ],
)
def test_answers_and_other_channels_are_left_to_ccxt(frame: str) -> None:
    assert decode(frame) is None


@pytest.mark.parametrize("value", ["NaN", "-1", "1e200", "x"])
def test_numbers_that_are_none_are_refused(value: str) -> None:
    trade = {"id": 1, "create_time_ms": "1.0", "side": "buy", "currency_pair": "A_B", "amount": value, "price": "1"}
    for frame in (
        update("spot.trades", trade),
        update("spot.trades", trade | {"amount": "1", "create_time_ms": value.replace("-1", "")}),
        update("futures.trades", [{"id": 1, "create_time": 1, "contract": "A_B", "size": 1, "price": value}]),
        update("spot.tickers", {"currency_pair": "A_B", "last": value}),
        update("spot.obu", {"t": 1, "s": "ob.A_B.50", "U": 1, "u": 1, "b": [["1", value]], "a": []}),
        update("futures.order_book_update", {"t": 1, "s": "A_B", "u": 1, "U": 1, "b": [{"p": "1", "s": value}]}),
    ):
        with pytest.raises(msgspec.DecodeError):
            decode(frame)


def test_spot_markets_and_contracts_with_one_name_are_told_apart_by_the_socket() -> None:
    assert DIALECT.is_spot_url is not None
    assert DIALECT.is_spot_url("ws://127.0.0.1:9000/api.gateio.ws/ws/v4/")
    assert not DIALECT.is_spot_url("wss://fx-ws.gateio.ws/v4/ws/usdt")
