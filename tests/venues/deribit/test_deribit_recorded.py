"""Deribit's recorded frames: each field of what is decoded is the recorded text's own number, by json and Decimal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.venues.deribit import PROFILE, decode
from tickwire.venues.dialect import BookSnapshot, Decoded, Diff
from venues.recordings import only_candle

pytestmark = pytest.mark.golden

DECODED = {"trades": 4, "book": 6, "ticker": 8, "quote": 2, "chart": 1}
"""How many recorded frames are decoded of each channel, counted by hand: not the grouped book, not combinations."""
COMBINATIONS = ("BTC-STRD-30SEP22-20000", "BTC-FS-30SEP22_PERP", "BTC-CSR12-16SEP22-21000_23000")


def frames(recorded: Path) -> Iterator[str]:
    """Every recorded frame, with its numbers as they were written."""
    folder = recorded / "venues" / "deribit"
    for line in (folder / "ws_samples.jsonl").read_text().splitlines():
        yield line.partition('"message":')[2].rstrip()[:-1]
    for path in sorted(folder.glob("ws_*.json")):
        yield json.dumps(json.loads(path.read_text()), separators=(",", ":"))


def exactly(text: str) -> Any:
    """A frame with each number as the decimal that it is written as."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def levels(side: Any) -> list[tuple[float, float]]:
    return [(float(price), 0.0 if action == "delete" else float(amount)) for action, price, amount in side]


def of_trade(row: Any) -> Trade:
    return Trade(id=row["trade_id"], timestamp=int(row["timestamp"]), side=row["direction"], price=float(row["price"]),
                 amount=float(row["amount"]))  # fmt: skip


def of_book(data: Any) -> BookSnapshot | Diff:
    bids, asks = levels(data["bids"]), levels(data["asks"])
    time, sequence = int(data["timestamp"]), int(data["change_id"])
    if data.get("type") == "snapshot" or ("type" not in data and "prev_change_id" not in data):
        return BookSnapshot(timestamp=time, bids=bids, asks=asks, sequence=sequence)
    return Diff(timestamp=time, bids=bids, asks=asks, last=sequence, previous=int(data["prev_change_id"]))


def of_ticker(data: Any) -> dict[str, Any]:
    stats = data.get("stats", {})
    prices: dict[str, Any] = {}
    if "stats" in data:
        prices = {"last": data["last_price"] or 0, "high": stats["high"] or 0, "low": stats["low"] or 0}
    for side in ("bid", "ask"):
        prices |= {side: data[f"best_{side}_price"] or 0, f"{side}_amount": data[f"best_{side}_amount"] or 0}
    volumes = {"volume": stats.get("volume"), "quote_volume": stats.get("volume_notional", stats.get("volume_usd"))}
    fields = {name: float(value) for name, value in (prices | volumes).items() if value is not None}
    return {"timestamp": int(data["timestamp"])} | fields


def test_every_recorded_frame_is_decoded_to_the_numbers_it_has(recorded: Path) -> None:
    seen: Counter[str] = Counter()
    for text in frames(recorded):
        params, found = exactly(text).get("params", {}), decode(text)
        channel, data = params.get("channel", ""), params.get("data", ())
        kind, _, name = channel.partition(".")
        market = name.partition(".")[0]
        is_whole_book = kind == "book" and channel.count(".") > 2
        if kind not in DECODED or is_whole_book or market in COMBINATIONS:
            assert found is None, text
            continue
        seen[kind] += 1
        assert found is not None
        (only,) = found
        match kind:
            case "trades":
                assert only[:2] == ("trade", market)
                assert list(only.items) == [of_trade(row) for row in data]
            case "book":
                assert only == Decoded("book", market, (of_book(data),))
            case "ticker" | "quote":
                assert only == Decoded("ticker", market, (of_ticker(data),))
    assert seen == DECODED


def test_a_recorded_candle_of_an_inverse_contract_has_its_volume_in_base_currency(recorded: Path) -> None:
    text = (recorded / "venues" / "deribit" / "ws_chart.json").read_text()
    data = json.loads(text, parse_float=str)["params"]["data"]
    bar = only_candle(decode, text, "BTC-PERPETUAL", "1m")
    assert bar.candle(Feed("candle", "deribit", "BTC/USD:BTC", "1m"), "inverse") == Candle(
        exchange="deribit", symbol="BTC/USD:BTC", timeframe="1m", timestamp=data["tick"], open=float(data["open"]),
        high=float(data["high"]), low=float(data["low"]), close=float(data["close"]), volume=float(data["volume"]),
        trades=0, closed=False, complete=True, volume_unit="base",
    )  # fmt: skip
    assert PROFILE.candles.live_volume["inverse"] == "base"
    # Dollars for each unit of the volume: a price within the candle.
    assert float(data["low"]) <= float(data["cost"]) / float(data["volume"]) <= float(data["high"])


def test_the_volume_of_recorded_candles_by_rest_is_in_base_currency(recorded: Path) -> None:
    rows = json.loads((recorded / "venues" / "deribit" / "http_get_tradingview_chart_data.json").read_text())["result"]
    assert PROFILE.candles.volume["inverse"] == "base"
    assert len(rows["ticks"]) > 0
    for close, cost, volume in zip(rows["close"], rows["cost"], rows["volume"], strict=True):
        # Dollars for each unit of the volume; values of this recording are edited.
        assert cost / volume == pytest.approx(close, rel=1e-3)


def test_ids_of_one_market_have_holes_and_amounts_are_dollars(recorded: Path) -> None:
    answer = json.loads((recorded / "venues" / "deribit" / "http_get_last_trades.json").read_text())["result"]
    ids = [int(row["trade_id"].removeprefix("ETH-")) for row in answer["trades"]]
    steps = {later - earlier for earlier, later in pairwise(ids)}
    assert (PROFILE.trades.ids, min(steps) > 0, max(steps) > 1) == ("opaque", True, True)
    frame = json.loads((recorded / "venues" / "deribit" / "ws_trades.json").read_text())
    # Contracts of 10 dollars.
    assert all(row["amount"] == 10 * row["contracts"] for row in frame["params"]["data"])


def notification(channel: str, data: str) -> str:
    return f'{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{channel}","data":{data}}}}}'


@pytest.mark.parametrize(
    "frame",
    [
        '{"jsonrpc":"2.0","id":2,"result":["trades.BTC-PERPETUAL.100ms"],"usIn":1,"usOut":2,"usDiff":1,"testnet":false}',
        '{"jsonrpc":"2.0","id":1,"error":{"code":10028,"message":"too_many_requests","data":null}}',
        '{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}',
        notification("trades.future.BTC.100ms", "[]"),
        notification("book.BTC-PERPETUAL.none.20.100ms", '{"bids":[],"asks":[]}'),
        notification("chart.trades.BTC-PERPETUAL.7", "{}"),
        notification("user.trades.BTC-PERPETUAL.raw", "[]"),
        notification("deribit_price_index.btc_usd", '{"price":1}'),
        "pong",
        "",
    ],
)
def test_answers_and_other_channels_are_left_to_ccxt(frame: str) -> None:
    assert decode(frame) is None


TRADE = '[{{"trade_id":"BTC-1","timestamp":1,"price":{price},"amount":{amount},"direction":"buy"}}]'
BOOK = '{{"type":"change","timestamp":1,"change_id":2,"prev_change_id":1,"bids":[["new",{price},1]],"asks":[]}}'


def test_a_price_below_zero_is_one_of_a_combination_alone() -> None:
    for channel, form in (("trades", TRADE), ("book", BOOK)):
        data = form.format(price=-7, amount=1)
        with pytest.raises(msgspec.ValidationError):
            decode(notification(f"{channel}.BTC-30SEP22.100ms", data))
        found = decode(notification(f"{channel}.BTC-FS-30SEP22_PERP.100ms", data))
        assert found is not None
        item = found[0].items[0]
        assert (item.bids[0][0] if channel == "book" else item.price) == -7


@pytest.mark.parametrize("value", ["NaN", "-1", "1e200", '"x"'])
def test_numbers_that_are_none_are_refused(value: str) -> None:
    bar = f'{{"tick":1,"open":1,"high":1,"low":1,"close":1,"volume":{value}}}'
    for channel, data in (
        ("trades.BTC-PERPETUAL.100ms", TRADE.format(price=1, amount=value)),
        ("book.BTC-PERPETUAL.100ms", BOOK.format(price=value)),
        ("ticker.BTC-PERPETUAL.100ms", f'{{"timestamp":1,"last_price":{value}}}'),
        ("chart.trades.BTC-PERPETUAL.1", bar),
    ):
        with pytest.raises(msgspec.DecodeError):
            decode(notification(channel, data))


@pytest.mark.parametrize(("resolution", "timeframe"), [("10", "10m"), ("180", "3h"), ("1D", "1d")])
def test_candles_of_timeframes_that_ccxt_misnames_have_their_own(resolution: str, timeframe: str) -> None:
    bar = '{"tick":1,"open":1,"high":1,"low":1,"close":1,"volume":0}'
    found = decode(notification(f"chart.trades.BTC_USDC-PERPETUAL.{resolution}", bar))
    assert found is not None
    assert (found[0].market, found[0].timeframe) == ("BTC_USDC-PERPETUAL", timeframe)
