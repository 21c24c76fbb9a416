"""KuCoin's recorded and documented frames: each field that is decoded is the text's own number, by json and Decimal."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.venues.dialect import Decoded, Diff
from tickwire.venues.kucoin import INTERVALS, decode, stream_params
from venues.recordings import frames, number, only_candle

pytestmark = pytest.mark.golden

DECODED = {"/market/match": 3, "/market/ticker": 1, "/market/level2": 8, "/contractMarket/execution": 2,
           "/contractMarket/level2": 4}  # fmt: skip
"""How many frames the recordings have of each topic that is decoded, counted with grep."""
# Examples of KuCoin's documentation, "Klines", "Symbol Snapshot" and "Orderbook - Level1" of spot markets (2024).
CANDLE = """{"topic": "/market/candles:BTC-USDT_1hour", "type": "message", "subject": "trade.candles.update",
 "data": {"symbol": "BTC-USDT", "candles": ["1729839600", "67644.9", "67437.6", "67724.8", "67243.8", "44.88321441",
 "3027558.991928447"], "time": 1729842192785164840}}"""
SNAPSHOT = """{"topic": "/market/snapshot:BTC-USDT", "type": "message", "subject": "trade.snapshot",
 "data": {"sequence": "14691517895", "data": {"askSize": 1.15955795, "averagePrice": 66867.89967612,
 "bidSize": 0.81772627, "buy": 67158.1, "changeRate": 0.0047, "close": 67158.1, "datetime": 1729758286011,
 "high": 67611.80000000000000000000, "lastTradedPrice": 67158.1, "low": 65257.10000000000000000000,
 "markets": ["USDS", "PoW"], "open": 66842.90000000000000000000, "sell": null, "symbol": "BTC-USDT",
 "vol": 2227.69895852000000000000, "volValue": 147972941.07857507300000000000}}}"""
BEST = """{"topic": "/spotMarket/level1:BTC-USDT", "type": "message", "subject": "level1",
 "data": {"asks": ["68145.8", "0.51987471"], "bids": ["68145.7", "1.29267802"], "timestamp": 1729816058766}}"""


def levels(side: Any) -> list[tuple[float, float]]:
    return [(number(price), number(size)) for price, size, *_ in side if Decimal(price)]


def of_trade(data: Any, time: str) -> Trade:
    at = int(Decimal(data[time]) // 1_000_000)
    price, size = number(data["price"]), number(data["size"])
    return Trade(id=data["tradeId"], timestamp=at, side=data["side"], price=price, amount=size)


def of_step(data: Any) -> Diff:
    price, side, size = data["change"].split(",")
    change = levels([[price, size]])
    bids, asks = (change, []) if side == "buy" else ([], change)
    at = data["sequence"]
    return Diff(timestamp=data["timestamp"], bids=bids, asks=asks, first=at, last=at)


def expected(frame: dict[str, Any]) -> Decoded:
    topic, _, market = frame["topic"].partition(":")
    data = frame["data"]
    match topic:
        case "/market/match":
            return Decoded("trade", market, (of_trade(data, "time"),))
        case "/contractMarket/execution":
            return Decoded("trade", market, (of_trade(data, "ts"),))
        case "/contractMarket/level2":
            return Decoded("book", market, (of_step(data),))
        case "/market/level2":
            bids, asks = (levels(data["changes"][side]) for side in ("bids", "asks"))
            first, last = data["sequenceStart"], data["sequenceEnd"]
            diff = Diff(timestamp=data.get("time"), bids=bids, asks=asks, first=first, last=last)
            return Decoded("book", market, (diff,))
        case _:
            names = {"last": "price", "bid": "bestBid", "bid_amount": "bestBidSize", "ask": "bestAsk",
                     "ask_amount": "bestAskSize"}  # fmt: skip
            item = {ours: number(data[theirs]) for ours, theirs in names.items()}
            return Decoded("ticker", market, (item | {"timestamp": data["time"]},))


def test_every_recorded_frame_is_decoded_to_the_numbers_it_has(recorded: Path) -> None:
    seen: Counter[str] = Counter()
    for text in (text for venue in ("kucoin", "kucoinfutures") for text in frames(recorded, venue)):
        frame = json.loads(text)
        topic = frame.get("topic", "").partition(":")[0]
        found = decode(text)
        if topic not in DECODED:
            assert found is None, text
            continue
        seen[topic] += 1
        assert found == (expected(frame),)
    assert seen == DECODED


def test_a_change_without_an_effect_leaves_its_number() -> None:
    text = (
        '{"type":"message","topic":"/market/level2:A-B","subject":"trade.l2update","data":{"sequenceStart":7,"symbol":'
        '"A-B","changes":{"asks":[["0","0","7"]],"bids":[["1","0","8"]]},"sequenceEnd":8}}'
    )
    assert decode(text) == (
        Decoded("book", "A-B", (Diff(timestamp=None, bids=[(1.0, 0.0)], asks=[], first=7, last=8),)),
    )


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_documented_candle_has_seconds_and_its_close_before_high_and_low(interval: str) -> None:
    bar = only_candle(decode, CANDLE.replace("1hour", interval), "BTC-USDT", INTERVALS[interval])
    assert bar.candle(Feed("candle", "kucoin", "BTC/USDT", "1h"), "spot") == Candle(
        exchange="kucoin",
        symbol="BTC/USDT",
        timeframe="1h",
        timestamp=1_729_839_600_000,
        open=67644.9,
        high=67724.8,
        low=67243.8,
        close=67437.6,
        volume=44.88321441,
        trades=0,
        closed=False,
        complete=True,
        volume_unit="base",
    )


def test_documented_tickers_have_the_fields_that_are_stated() -> None:
    day = {"timestamp": 1729758286011, "last": 67158.1, "bid": 67158.1, "bid_amount": 0.81772627,
           "ask_amount": 1.15955795, "open": 66842.9, "high": 67611.8, "low": 65257.1, "volume": 2227.69895852,
           "quote_volume": 147972941.078575073}  # fmt: skip
    assert decode(SNAPSHOT) == [Decoded("ticker", "BTC-USDT", (day,))]
    best = {"timestamp": 1729816058766, "bid": 68145.7, "bid_amount": 1.29267802, "ask": 68145.8,
            "ask_amount": 0.51987471}  # fmt: skip
    assert decode(BEST) == (Decoded("ticker", "BTC-USDT", (best,)),)
    one_sided = BEST.replace('["68145.7", "1.29267802"]', "[]")
    best |= {"bid": 0.0, "bid_amount": 0.0}
    assert decode(one_sided) == (Decoded("ticker", "BTC-USDT", (best,)),)


@pytest.mark.parametrize(
    "frame",
    [
        '{"id":"hQvf8jkno","type":"welcome"}',
        '{"id":"1","type":"ack"}',
        '{"id":"1","type":"pong","timestamp":1729816058766}',
        '{"id":"1","type":"error","code":404,"data":"topic /market/match:A-B is not found"}',
        '{"type":"message","topic":"/market/ticker:all","subject":"A-B","data":{"price":"1","time":1}}',
        '{"topic":"/spotMarket/level2Depth50:A-B","type":"message","subject":"level2","data":{"asks":[],"bids":[]}}',
        '{"topic":"/contractMarket/limitCandle:XBTUSDTM_1min","type":"message","data":{"symbol":"XBTUSDTM"}}',
        '{"topic":"/market/match:A-B","type":"ack"}',
        '{"T":"trade.SPOT","P":"1774624848680504909","d":{"s":"BTC-USDT"}}',
        "pong",
        "",
    ],
)
def test_answers_and_other_topics_are_left_to_ccxt(frame: str) -> None:
    assert decode(frame) is None


@pytest.mark.parametrize("value", ["NaN", "-1", "1e200", "x"])
def test_numbers_that_are_none_are_refused(value: str) -> None:
    for frame in (
        f'{{"topic":"/market/match:A","data":{{"symbol":"A","tradeId":"1","price":"{value}","size":"1","side":"buy","time":"1"}}}}',
        f'{{"topic":"/market/ticker:A","data":{{"price":"{value}","time":1}}}}',
        f'{{"topic":"/market/level2:A","data":{{"symbol":"A","sequenceStart":1,"sequenceEnd":1,"changes":{{"asks":[["1","{value}","1"]],"bids":[]}}}}}}',
        f'{{"topic":"/contractMarket/level2:A","data":{{"sequence":1,"change":"1,buy,{value}","timestamp":1}}}}',
    ):
        with pytest.raises(msgspec.DecodeError):
            decode(frame)


@pytest.mark.parametrize(
    ("chosen", "params"),
    [
        ({}, {}),
        ({"spotMethod": "/market/level2"}, {}),
        ({"spotMethod": "/spotMarket/level2Depth50"}, {"spotMethod": "/market/level2"}),
        ({"contractMethod": "/contractMarket/level2Depth5"}, {"contractMethod": "/contractMarket/level2"}),
        ({"uta": True}, {"uta": False}),
    ],
)
def test_the_topic_of_books_is_one_that_is_decoded(chosen: dict[str, Any], params: dict[str, Any]) -> None:
    assert stream_params({"watchOrderBook": chosen}, "watchOrderBook") == params
    assert stream_params({"watchTrades": chosen}, "watchTrades") == {}
