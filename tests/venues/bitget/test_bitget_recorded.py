"""Bitget's recorded frames: each field of what is decoded is the recorded text's own number, by json and Decimal."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import ccxt.pro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.feeds import Trade
from tickwire.model.timeframes import open_of
from tickwire.venues.bitget import PROFILE, checksum, decode, market_name
from tickwire.venues.dialect import BookSnapshot, Decoded, Diff
from venues.recordings import frames_of_channels, levels, number

pytestmark = pytest.mark.golden

DECODED = {"trade": 4, "books": 4, "ticker": 2}
"""How many frames of API v2 the recordings have of each channel that is decoded, counted with grep."""


def of_trade(row: Any) -> Trade:
    return Trade(
        id=row["tradeId"],
        timestamp=int(row["ts"]),
        side=row["side"],
        price=number(row["price"]),
        amount=number(row["size"]),
    )


def of_book(action: str, row: Any) -> BookSnapshot | Diff:
    bids, asks, time = levels(row["bids"]), levels(row["asks"]), int(row["ts"])
    texts = ([tuple(level) for level in row["bids"]], [tuple(level) for level in row["asks"]])
    if action == "snapshot":
        # The recorded snapshots have checksum 0, whatever their levels are.
        assert row["checksum"] == 0
        return BookSnapshot(timestamp=time, bids=bids, asks=asks, texts=texts)
    return Diff(timestamp=time, bids=bids, asks=asks, checksum=row["checksum"], texts=texts)


def of_ticker(row: Any) -> dict[str, Any]:
    names = {"last": "lastPr", "bid": "bidPr", "bid_amount": "bidSz", "ask": "askPr", "ask_amount": "askSz",
             "open": "open24h", "high": "high24h", "low": "low24h", "volume": "baseVolume",
             "quote_volume": "quoteVolume"}  # fmt: skip
    return {"timestamp": int(row["ts"])} | {ours: number(row[theirs]) for ours, theirs in names.items()}


def expected(frame: dict[str, Any]) -> Decoded:
    arg, rows = frame["arg"], frame["data"]
    market = f"{arg['instType']}:{arg['instId']}"
    match arg["channel"]:
        case "trade":
            trades = [of_trade(row) for row in reversed(rows)]
            return Decoded("trade", market, tuple(trades) if len(trades) == 1 else trades)
        case "books":
            return Decoded("book", market, [of_book(frame["action"], row) for row in rows])
        case _:
            return Decoded("ticker", market, [of_ticker(row) for row in rows])


def test_every_recorded_frame_is_decoded_to_the_numbers_it_has(recorded: Path) -> None:
    """Others are acknowledgements, books of other depths, and API v3."""
    for _, frame, found in frames_of_channels(recorded, "bitget", decode, DECODED):
        assert found == (expected(frame),)


def test_a_change_with_checksum_0_has_none() -> None:
    """As in the recorded snapshots; OKX once began to send 0 in each message (ccxt, pull request 30299)."""
    row = {"asks": [["1.5", "2"]], "bids": [], "checksum": 0, "ts": "1"}
    frame = {"action": "update", "arg": {"instType": "SPOT", "channel": "books", "instId": "AB"}, "data": [row]}
    (found,) = decode(json.dumps(frame)) or ()
    assert [item.checksum for item in found.items] == [None]


def test_the_reach_of_trades_was_measured_to_be_answered() -> None:
    assert PROFILE.trades.reach_ms is not None
    assert PROFILE.trades.reach_ms < 167.91 * 3_600_000


def test_trades_of_a_frame_come_oldest_first() -> None:
    rows = [{"ts": str(10 - n), "price": "1.5", "size": "2", "side": "sell", "tradeId": str(9 - n)} for n in range(3)]
    frame = {"action": "snapshot", "arg": {"instType": "SPOT", "channel": "trade", "instId": "AB"}, "data": rows}
    assert decode(json.dumps(frame)) == (Decoded("trade", "SPOT:AB", [of_trade(row) for row in rows[::-1]]),)
    assert decode(json.dumps(frame | {"data": []})) == ()


@pytest.mark.parametrize(
    "frame",
    [
        '{"event":"subscribe","arg":{"instType":"SPOT","channel":"trade","instId":"BTCUSDT"}}',
        '{"arg":{"instType":"SPOT","channel":"trade","instId":"BTCUSDT"},"event":"unsubscribe"}',
        '{"event":"error","code":30001,"msg":"instType:sp,channel:candleundefined,instId:BTCUSDT doesn\'t exist"}',
        '{"action":"snapshot","arg":{"instType":"SPOT","channel":"books5","instId":"A"},"data":[],"ts":1}',
        '{"action":"snapshot","arg":{"instType":"SPOT","channel":"candle1m","instId":"A"},"data":[],"ts":1}',
        '{"action":"snapshot","arg":{"instType":"spot","topic":"publicTrade","symbol":"A"},"data":[],"ts":1}',
        '{"action":"snapshot","arg":[],"data":[],"ts":1}',
        "pong",
        "",
    ],
)
def test_answers_and_other_channels_are_left_to_ccxt(frame: str) -> None:
    assert decode(frame) is None


@pytest.mark.parametrize("value", ["NaN", "-1", "1e200", "x"])
def test_numbers_that_are_none_are_refused(value: str) -> None:
    for channel, row in (
        ("trade", {"ts": "1", "price": value, "size": "1", "side": "buy", "tradeId": "1"}),
        ("ticker", {"ts": "1", "lastPr": value}),
        ("books", {"ts": "1", "asks": [["1", value]], "bids": [], "checksum": 1}),
    ):
        arg = {"instType": "SPOT", "channel": channel, "instId": "A"}
        with pytest.raises(msgspec.DecodeError):
            decode(json.dumps({"action": "update", "arg": arg, "data": [row], "ts": 1}))


@pytest.mark.parametrize(
    ("bids", "asks", "text"),
    [
        ([("43231.1", "4"), ("43231", "6")], [("43232.8", "9"), ("43232.9", "8")],
         "43231.1:4:43232.8:9:43231:6:43232.9:8"),
        ([("3366.1", "7")], [("3366.8", "9"), ("3368", "8"), ("3372", "8")], "3366.1:7:3366.8:9:3368:8:3372:8"),
    ],
)  # fmt: skip
def test_the_checksum_is_made_of_the_text_in_the_documentation(bids: Any, asks: Any, text: str) -> None:
    # "Depth Channel, Checksum": both examples, and the result is a signed 32-bit integer.
    assert checksum(bids, asks) & 0xFFFFFFFF == crc32(text.encode())


@cache
def plain() -> Any:
    return ccxt.pro.bitget()


_SIDE = st.lists(st.tuples(st.from_regex(r"[1-9]\d{0,4}\.\d{2}", fullmatch=True), st.just("1.50")), max_size=25)


@given(_SIDE, _SIDE)
def test_the_checksum_is_what_ccxt_compares(bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> None:
    # The payload as `handle_order_book` of ccxt 4.5.90 has it, and ccxt's own CRC.
    payload: list[str] = []
    for place in range(25):
        for side in (bids, asks):
            payload += side[place] if place < len(side) else ()
    assert checksum(bids, asks) == plain().crc32(":".join(payload), True)


@pytest.mark.parametrize(
    ("market", "name"),
    [
        ({"id": "BTCUSDT", "spot": True, "settle": None}, "SPOT:BTCUSDT"),
        ({"id": "BTCUSDT", "spot": False, "settle": "USDT"}, "USDT-FUTURES:BTCUSDT"),
        ({"id": "BTCPERP", "spot": False, "settle": "USDC"}, "USDC-FUTURES:BTCPERP"),
        ({"id": "BTCUSD", "spot": False, "settle": "BTC"}, "COIN-FUTURES:BTCUSD"),
        ({"id": "SBTCSUSDT", "spot": False, "settle": "SUSDT"}, "SUSDT-FUTURES:SBTCSUSDT"),
    ],
)
def test_markets_are_named_by_product_and_id_as_ccxt_subscribes_to_them(market: Any, name: str) -> None:
    assert market_name(market) == name
    described = {"swap": not market["spot"], "future": False, **market}
    product, _ = ccxt.pro.bitget().get_inst_type("watchTrades", described)
    assert name == f"{product}:{market['id']}"


def test_live_candles_open_where_fetched_ones_do() -> None:
    # Bars without `utc` of six hours and longer open by Hong Kong's time ("Candlestick Channel").
    venue = ccxt.pro.bitget({"options": dict(PROFILE.options)})
    fetched = venue.options["fetchOHLCV"]["timeframes"]["swap"]
    for timeframe in venue.timeframes:
        live = venue.options["timeframes"].get(timeframe)
        if timeframe == "2h":
            # No such channel: these candles are built from trades.
            assert live is None
        elif open_of(timeframe, 8 * 3_600_000) != 8 * 3_600_000 or timeframe in ("1d", "3d", "1w", "1M"):
            assert live == fetched[timeframe]
            assert live.endswith("utc")
        else:
            assert live.lower() == fetched[timeframe].lower()
