"""OKX's recorded frames: each field of what is decoded is the recorded text's own number, by json and Decimal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.venues.dialect import BookSnapshot, Decoded, Diff
from tickwire.venues.okx import decode
from venues.recordings import frames_of_channels, levels, number, only_candle

pytestmark = pytest.mark.golden

DECODED = {"trades": 3, "trades-all": 1, "books-l2-tbt": 3, "books": 2, "tickers": 4, "bbo-tbt": 3, "candle1D": 1}
"""How many frames the recordings have of each channel that is decoded, counted with grep."""


def of_trade(row: Any) -> Trade:
    return Trade(
        id=row["tradeId"], timestamp=int(row["ts"]), side=row["side"], price=number(row["px"]), amount=number(row["sz"])
    )


def of_book(action: str, row: Any) -> BookSnapshot | Diff:
    bids, asks, time = levels(row["bids"]), levels(row["asks"]), int(row["ts"])
    if action == "snapshot":
        return BookSnapshot(timestamp=time, bids=bids, asks=asks, sequence=row.get("seqId"))
    return Diff(timestamp=time, bids=bids, asks=asks, last=row.get("seqId"), previous=row.get("prevSeqId"))


def of_best(row: Any) -> dict[str, Any]:
    (bid, bid_amount), (ask, ask_amount) = levels(row["bids"])[0], levels(row["asks"])[0]
    return {"timestamp": int(row["ts"]), "bid": bid, "bid_amount": bid_amount, "ask": ask, "ask_amount": ask_amount}


def of_ticker(row: Any) -> dict[str, Any]:
    names = {"last": "last", "bid": "bidPx", "bid_amount": "bidSz", "ask": "askPx", "ask_amount": "askSz",
             "open": "open24h", "high": "high24h", "low": "low24h"}  # fmt: skip
    if row["instType"] == "SPOT":
        names |= {"volume": "vol24h", "quote_volume": "volCcy24h"}
    else:
        names |= {"volume": "volCcy24h"}
    return {"timestamp": int(row["ts"])} | {ours: number(row[theirs]) for ours, theirs in names.items()}


def expected(frame: dict[str, Any]) -> Decoded:
    channel, market, rows = frame["arg"]["channel"], frame["arg"]["instId"], frame["data"]
    match channel:
        case "trades" | "trades-all":
            trades = [of_trade(row) for row in rows]
            return Decoded("trade", market, tuple(trades) if len(trades) == 1 else trades)
        case "books" | "books-l2-tbt":
            return Decoded("book", market, [of_book(frame["action"], row) for row in rows])
        case "bbo-tbt":
            return Decoded("ticker", market, [of_best(row) for row in rows])
        case _:
            return Decoded("ticker", market, [of_ticker(row) for row in rows])


def test_every_recorded_frame_is_decoded_to_the_numbers_it_has(recorded: Path) -> None:
    for channel, frame, found in frames_of_channels(recorded, "okx", decode, DECODED):
        if channel != "candle1D":
            assert found == (expected(frame),)


@pytest.mark.parametrize(("kind", "column"), [("spot", 5), ("linear", 6), ("inverse", 6)])
def test_the_volume_of_a_recorded_candle_is_in_base_currency(recorded: Path, kind: Any, column: int) -> None:
    text = (recorded / "venues" / "okx" / "ws_candle.json").read_text()
    (row,) = json.loads(text)["data"]
    bar = only_candle(decode, text, "BTC-USDT", "1d")
    assert bar.candle(Feed("candle", "okx", "BTC/USDT", "1d"), kind) == Candle(
        exchange="okx",
        symbol="BTC/USDT",
        timeframe="1d",
        timestamp=int(row[0]),
        open=number(row[1]),
        high=number(row[2]),
        low=number(row[3]),
        close=number(row[4]),
        volume=number(row[column]),
        trades=0,
        closed=row[8] == "1",
        complete=True,
        volume_unit="base",
    )


@pytest.mark.parametrize(
    "frame",
    [
        '{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"},"connId":"a4d3ae55"}',
        '{"arg":{"channel":"trades","instId":"BTC-USDT"},"event":"subscribe","connId":"a4d3ae55"}',
        '{"connId":"a4d3ae55","event":"unsubscribe","arg":{"channel":"books","instId":"BTC-USDT"}}',
        '{"event":"error","code":"60018","msg":"Wrong URL or channel","connId":"a4d3ae55"}',
        '{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"abcd1234"}',
        '{"arg":{"channel":"books5","instId":"BTC-USDT"},"data":[{"asks":[],"bids":[],"ts":"1","seqId":1}]}',
        '{"arg":{"channel":"candle2D","instId":"BTC-USDT"},"data":[]}',
        "pong",
        "",
    ],
)
def test_answers_and_other_channels_are_left_to_ccxt(frame: str) -> None:
    assert decode(frame) is None


def test_a_side_without_prices_has_none() -> None:
    best = '{"arg":{"channel":"bbo-tbt","instId":"A-B"},"data":[{"asks":[],"bids":[["1","2","0","1"]],"ts":"9"}]}'
    sides = {"bid": 1.0, "bid_amount": 2.0, "ask": 0.0, "ask_amount": 0.0}
    assert decode(best) == (Decoded("ticker", "A-B", [{"timestamp": 9} | sides]),)
    day = '{"arg":{"channel":"tickers","instId":"A-B"},"data":[{"instType":"SPOT","last":"1","askPx":"","ts":"9"}]}'
    assert decode(day) == (Decoded("ticker", "A-B", [{"timestamp": 9, "last": 1.0, "ask": 0.0}]),)


@pytest.mark.parametrize("value", ["NaN", "-1", "1e200", "x"])
def test_numbers_that_are_none_are_refused(value: str) -> None:
    for frame in (
        f'{{"arg":{{"channel":"trades","instId":"A"}},"data":[{{"instId":"A","tradeId":"1","px":"{value}","sz":"1","side":"buy","ts":"1"}}]}}',
        f'{{"arg":{{"channel":"tickers","instId":"A"}},"data":[{{"instType":"SPOT","last":"{value}","ts":"1"}}]}}',
        f'{{"arg":{{"channel":"books","instId":"A"}},"action":"update","data":[{{"asks":[["1","{value}"]],"bids":[],"ts":"1"}}]}}',
    ):
        with pytest.raises(msgspec.DecodeError):
            decode(frame)
