"""Hyperliquid's recorded frames: each field that is decoded is the text's own number, by json and Decimal."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.venues.dialect import BookSnapshot, Decoded
from tickwire.venues.hyperliquid import decode, market_name
from venues.recordings import frames, number, only_candle

pytestmark = pytest.mark.golden

DECODED = {"trades": 4, "l2Book": 2, "activeAssetCtx": 1, "activeSpotAssetCtx": 1}
"""How many frames the recordings have of each channel that is decoded, counted with grep."""
FRAMES = ("hyperliquid", "ws_all*.json")
SIDES: dict[str, Any] = {"A": "sell", "B": "buy"}
CANDLE = (
    '{"channel":"candle","data":{"t":1710146280000,"T":1710146339999,"s":"BTC","i":"1m","o":"71400.0","c":"71411.0",'
    '"h":"71422.0","l":"71389.0","v":"1.20407","n":20}}'
)
"""The frame that ccxt 4.5.90's `handle_ohlcv` documents; there is no recorded one."""


def levels(side: Any) -> list[tuple[float, float]]:
    return [(number(level["px"]), number(level["sz"])) for level in side]


def of_trade(row: Any) -> Trade:
    return Trade(
        id=str(row["tid"]), timestamp=row["time"], side=SIDES[row["side"]], price=number(row["px"]),
        amount=number(row["sz"]),
    )  # fmt: skip


def of_book(data: Any) -> BookSnapshot:
    bids, asks = data["levels"]
    return BookSnapshot(timestamp=data["time"], bids=levels(bids), asks=levels(asks))


def of_context(row: Any) -> dict[str, float]:
    names = {"prevDayPx": "open", "dayNtlVlm": "quote_volume", "dayBaseVlm": "volume", "markPx": "mark", "midPx": "mid"}
    return {ours: number(row[theirs]) for theirs, ours in names.items() if row.get(theirs) is not None}


def expected(frame: dict[str, Any]) -> Decoded:
    data = frame["data"]
    if frame["channel"] == "trades":
        trades = [of_trade(row) for row in data]
        return Decoded("trade", data[0]["coin"], tuple(trades) if len(trades) == 1 else trades)
    if frame["channel"] == "l2Book":
        return Decoded("book", data["coin"], (of_book(data),))
    return Decoded("ticker", data["coin"], (of_context(data["ctx"]),))


def test_every_recorded_frame_is_decoded_to_the_numbers_it_has(recorded: Path) -> None:
    seen: Counter[str] = Counter()
    for text in frames(recorded, *FRAMES):
        frame = json.loads(text)
        found = decode(text)
        if frame["channel"] not in DECODED:
            assert found is None, text
            continue
        seen[frame["channel"]] += 1
        assert found is not None
        assert tuple(found) == (expected(frame),)
    assert seen == DECODED


def test_a_recorded_book_of_five_levels_is_decoded(recorded: Path) -> None:
    data = json.loads((recorded / "venues" / "hyperliquid" / "ws_book_data.json").read_text())
    assert decode(json.dumps({"channel": "l2Book", "data": data})) == (Decoded("book", "BTC", (of_book(data),)),)
    assert len(of_book(data).bids) == 5


def test_past_trades_that_come_newest_first_are_decoded_oldest_first(recorded: Path) -> None:
    rows = json.loads((recorded / "venues" / "hyperliquid" / "http_recent_trades_btc.json").read_text())
    assert rows[0]["time"] > rows[-1]["time"]
    for order in (rows, rows[::-1]):
        found = decode(json.dumps({"channel": "trades", "data": order}, separators=(",", ":")))
        assert found == (Decoded("trade", "BTC", [of_trade(row) for row in reversed(rows)]),)


def test_trades_of_two_coins_in_one_frame_go_to_both(recorded: Path) -> None:
    rows = [row for text in frames(recorded, *FRAMES) if '"trades"' in text for row in json.loads(text)["data"]]
    assert {row["coin"] for row in rows} == {"FXS", "BTC"}
    rows.sort(key=lambda row: row["time"])
    found = decode(json.dumps({"channel": "trades", "data": rows}))
    assert found is not None
    assert {each.market: each.items for each in found} == {
        coin: [of_trade(row) for row in rows if row["coin"] == coin] for coin in ("BTC", "FXS")
    }


def test_a_ticker_has_no_price_that_the_venue_does_not_send(recorded: Path) -> None:
    text = (recorded / "venues" / "hyperliquid" / "ws_all_dexs_asset_ctxs.json").read_text()
    contexts = [row for _, rows in json.loads(text)["data"]["ctxs"] for row in rows]
    without = [row for row in contexts if row["midPx"] is None]
    assert without
    for row in [contexts[0], *without]:
        frame = {"channel": "activeAssetCtx", "data": {"coin": "BTC", "ctx": row}}
        assert decode(json.dumps(frame)) == (Decoded("ticker", "BTC", (of_context(row),)),)


def test_a_candle_is_the_coin_s_in_base_currency_and_open() -> None:
    row, kline = json.loads(CANDLE)["data"], only_candle(decode, CANDLE, "BTC", "1m")
    assert kline.candle(Feed("candle", "hyperliquid", "BTC/USDC:USDC", "1m"), "linear") == Candle(
        exchange="hyperliquid",
        symbol="BTC/USDC:USDC",
        timeframe="1m",
        timestamp=row["t"],
        open=number(row["o"]),
        high=number(row["h"]),
        low=number(row["l"]),
        close=number(row["c"]),
        volume=number(row["v"]),
        trades=row["n"],
        closed=False,
        complete=True,
        volume_unit="base",
    )


def test_a_market_is_named_by_its_coin() -> None:
    assert market_name({"id": "0", "baseName": "BTC", "swap": True}) == "BTC"
    assert market_name({"id": "@142", "baseName": "UBTC", "swap": False}) == "@142"


def test_candles_may_come_in_a_list_as_documented() -> None:
    """ "Subscriptions" gives the data of the channel as `Candle[]`; the frame in ccxt has one candle."""
    frame = json.loads(CANDLE)
    other = frame["data"] | {"i": "5m", "n": 21}
    (single,), (second,) = decode(CANDLE) or (), decode(json.dumps(frame | {"data": other})) or ()
    assert second.items[0].n == 21
    assert decode(json.dumps(frame | {"data": [frame["data"], other]})) == [single, second]


def test_a_candle_says_the_same_spaced_and_in_another_order() -> None:
    frame, found = json.loads(CANDLE), decode(CANDLE)
    assert decode(json.dumps(frame)) == found
    assert decode(json.dumps(dict(reversed(frame.items())))) == found


@pytest.mark.parametrize(
    "text",
    ["", "pong", '{"channel":"pong"}', '{"channel":"error","data":"Already subscribed: {\\"type\\":\\"trades\\"}"}',
     '{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"trades","coin":"BTC"}}}'],
)  # fmt: skip
def test_frames_without_market_data_are_left_to_ccxt(text: str) -> None:
    assert decode(text) is None


@pytest.mark.parametrize(
    "change", [{"side": "C"}, {"px": "0"}, {"px": "NaN"}, {"sz": "-1"}, {"sz": "Infinity"}, {"time": "soon"}]
)
def test_a_trade_with_an_impossible_field_is_malformed(change: dict[str, str]) -> None:
    row = {"coin": "BTC", "side": "A", "px": "1.0", "sz": "1.0", "time": 1, "hash": "0x0", "tid": 7}
    assert decode(json.dumps({"channel": "trades", "data": [row]})) is not None
    with pytest.raises(msgspec.DecodeError):
        decode(json.dumps({"channel": "trades", "data": [row | change]}))
