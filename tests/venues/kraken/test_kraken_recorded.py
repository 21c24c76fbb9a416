"""Kraken's recorded frames: each field of what is decoded is the recorded text's own number, by json and Decimal."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.venues.dialect import BookSnapshot, Decoded, Diff
from tickwire.venues.kraken import checksum, decode
from venues.recordings import number, only_candle

pytestmark = pytest.mark.golden

DECODED = {("trade", "snapshot"): 1, ("trade", "update"): 2, ("book", "snapshot"): 2, ("book", "update"): 2,
           ("ticker", "snapshot"): 1, ("ticker", "update"): 2, ("ohlc", "update"): 1}  # fmt: skip
"""How many frames the recordings have of each channel that is decoded, counted with grep."""
GUIDE = """{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[
{"price":45283.5,"qty":0.10000000},{"price":45283.4,"qty":1.54582015},{"price":45282.1,"qty":0.10000000},
{"price":45281.0,"qty":0.10000000},{"price":45280.3,"qty":1.54592586},{"price":45279.0,"qty":0.07990000},
{"price":45277.6,"qty":0.03310103},{"price":45277.5,"qty":0.30000000},{"price":45277.3,"qty":1.54602737},
{"price":45276.6,"qty":0.15445238}],"asks":[{"price":45285.2,"qty":0.00100000},{"price":45286.4,"qty":1.54571953},
{"price":45286.6,"qty":1.54571109},{"price":45289.6,"qty":1.54560911},{"price":45290.2,"qty":0.15890660},
{"price":45291.8,"qty":1.54553491},{"price":45294.7,"qty":0.04454749},{"price":45296.1,"qty":0.35380000},
{"price":45297.5,"qty":0.09945542},{"price":45299.5,"qty":0.18772827}],"checksum":3310070434}]}"""
"""The example of Kraken's guide "Book checksum (WebSocket v2)"."""


def frames(recorded: Path) -> Iterator[str]:
    """Every recorded frame of WebSocket v2, with the digits that its numbers have."""
    folder = recorded / "venues" / "kraken"
    for line in (folder / "ws_samples.jsonl").read_text().splitlines():
        yield line.partition('"message":')[2][:-1]
    for path in sorted(folder.glob("ws_*.json")):
        if "futures" not in path.name:
            # No text in these has a space.
            yield re.sub(r"\s", "", path.read_text())


def read(text: str) -> Any:
    """A frame by plain json, numbers as their texts."""
    return json.loads(text, parse_float=str, parse_int=str)


def ms(text: str) -> int:
    """A time, ms, cut off."""
    return int(datetime.fromisoformat(text.replace("000Z", "Z") if len(text) > 27 else text).timestamp() * 1000)


def of_trade(row: Any) -> Trade:
    price, amount = number(row["price"]), number(row["qty"])
    return Trade(id=row["trade_id"], timestamp=ms(row["timestamp"]), side=row["side"], price=price, amount=amount)


def of_book(kind: str, row: Any) -> BookSnapshot | Diff:
    texts = [[(level["price"], level["qty"]) for level in row[side]] for side in ("bids", "asks")]
    bids, asks = ([(number(price), number(amount)) for price, amount in side] for side in texts)
    made = BookSnapshot if kind == "snapshot" else Diff
    return made(
        timestamp=ms(row["timestamp"]), bids=bids, asks=asks, texts=(texts[0], texts[1]),
        checksum=int(row["checksum"]) if "checksum" in row else None,
    )  # fmt: skip


def of_ticker(row: Any) -> dict[str, Any]:
    names = {"last": "last", "bid": "bid", "bid_amount": "bid_qty", "ask": "ask", "ask_amount": "ask_qty",
             "high": "high", "low": "low", "volume": "volume"}  # fmt: skip
    # A market without any order says 0, and the time of the epoch.
    found: dict[str, Any] = {"timestamp": ms(row["timestamp"])} if number(row["bid"]) else {}
    found |= {ours: number(row[theirs]) for ours, theirs in names.items() if theirs in row}
    if "last" in row:
        found["open"] = float(Decimal(row["last"]) - Decimal(row["change"]))
        found["quote_volume"] = float(Decimal(row["volume"]) * Decimal(row["vwap"]))
    return found


def expected(frame: dict[str, Any]) -> list[Decoded]:
    channel, rows = frame["channel"], frame["data"]
    match channel:
        case "trade":
            assert len({row["symbol"] for row in rows}) == 1
            return [Decoded("trade", rows[0]["symbol"], [of_trade(row) for row in rows])]
        case "book":
            return [Decoded("book", row["symbol"], [of_book(frame["type"], row)]) for row in rows]
        case _:
            return [Decoded("ticker", row["symbol"], [of_ticker(row)]) for row in rows]


def listed(found: Any) -> list[Decoded]:
    return [each._replace(items=list(each.items)) for each in found]


def test_every_recorded_frame_is_decoded_to_the_numbers_it_has(recorded: Path) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for text in frames(recorded):
        frame, found = read(text), decode(text)
        if frame.get("channel") not in ("trade", "book", "ticker", "ohlc"):
            assert found is None, text
            continue
        seen[frame["channel"], frame["type"]] += 1
        assert found is not None
        if frame["channel"] != "ohlc":
            assert listed(found) == expected(frame)
    assert seen == DECODED


def test_a_recorded_candle_is_that_of_its_interval(recorded: Path) -> None:
    text = (recorded / "venues" / "kraken" / "ws_ohlc_update.json").read_text()
    (row,) = read(text)["data"]
    bar = only_candle(decode, text, "BTC/USD", "1m")
    assert bar.candle(Feed("candle", "kraken", "BTC/USD", "1m"), "spot") == Candle(
        exchange="kraken",
        symbol="BTC/USD",
        timeframe="1m",
        timestamp=ms(row["interval_begin"]),
        open=number(row["open"]),
        high=number(row["high"]),
        low=number(row["low"]),
        close=number(row["close"]),
        volume=number(row["volume"]),
        trades=int(row["trades"]),
        closed=False,
        complete=True,
        volume_unit="base",
    )


@pytest.mark.parametrize(
    "frame",
    [
        '{"method":"subscribe","result":{"channel":"trade","snapshot":false,"symbol":"BTC/USD"},"success":true,"req_id":1}',
        '{"result":{"channel":"trade","symbol":"BTC/USD"},"method":"subscribe","channel":"trade","success":true}',
        '{"error":"Currency pair not supported XBT/USD","method":"subscribe","success":false,"symbol":"XBT/USD"}',
        '{"channel":"heartbeat"}',
        '{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2"}]}',
        '{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[]}}',
        "[]",
        "pong",
        "",
    ],
)
def test_answers_and_other_channels_are_left_to_ccxt(frame: str) -> None:
    assert decode(frame) is None


def test_trades_of_two_markets_in_one_frame_are_of_each() -> None:
    rows = [
        f'{{"symbol":"{symbol}","side":"sell","price":1.5,"qty":2,"ord_type":"market","trade_id":{id_},"timestamp":"2026-07-10T00:00:00.00{id_}999Z"}}'
        for symbol, id_ in (("BTC/USD", 1), ("ETH/USD", 7), ("BTC/USD", 2))
    ]
    found = decode(f'{{"channel":"trade","type":"update","data":[{",".join(rows)}]}}')
    start = ms("2026-07-10T00:00:00Z")

    def trade(id_: int) -> Trade:
        return Trade(id=str(id_), timestamp=start + id_, side="sell", price=1.5, amount=2.0)

    assert found is not None
    assert listed(found) == [Decoded("trade", "BTC/USD", [trade(1), trade(2)]), Decoded("trade", "ETH/USD", [trade(7)])]


def test_the_trades_of_a_snapshot_are_in_the_order_of_their_ids() -> None:
    rows = [
        f'{{"symbol":"BTC/USD","side":"buy","price":1,"qty":2,"trade_id":{id_},"timestamp":"2026-07-10T00:00:0{id_}Z"}}'
        for id_ in (3, 1, 2)
    ]
    found = decode(f'{{"channel":"trade","type":"snapshot","data":[{",".join(rows)}]}}')
    assert found is not None
    assert [each.id for each in found[0].items] == ["1", "2", "3"]


def test_candles_of_an_interval_without_a_name_are_dropped() -> None:
    row = (
        '{"symbol":"BTC/USD","interval":21600,"interval_begin":"2026-07-10T00:00:00.000000000Z",'
        '"open":1,"high":1,"low":1,"close":1,"volume":0,"trades":0}'
    )
    assert decode(f'{{"channel":"ohlc","type":"update","data":[{row}]}}') == []


def test_the_checksum_is_that_of_kraken_s_guide() -> None:
    found = decode(GUIDE)
    assert found is not None
    ((_, _, (book,), _),) = found
    assert book.checksum == 3310070434
    assert checksum(*book.texts) == 3310070434


def test_a_number_with_an_exponent_has_the_digits_of_its_decimals() -> None:
    plain = [("0.00000123", "0.00100000")]
    assert checksum([("1.23e-06", "1.00000E-3")], []) == checksum(plain, []) == zlib.crc32(b"123100000")


@pytest.mark.parametrize("value", ["NaN", '"NaN"', '"1"', "-1", "1e200", "null", "[1]"])
def test_numbers_that_are_none_are_refused(value: str) -> None:
    time = '"timestamp":"2026-07-10T00:00:00Z"'
    for frame in (
        f'{{"channel":"trade","type":"update","data":[{{"symbol":"A/B","side":"buy","price":{value},"qty":1,"trade_id":1,{time}}}]}}',
        f'{{"channel":"book","type":"update","data":[{{"symbol":"A/B","bids":[{{"price":1,"qty":{value}}}],"asks":[],{time}}}]}}',
        f'{{"channel":"ticker","type":"update","data":[{{"symbol":"A/B","bid":{value},{time}}}]}}',
    ):
        with pytest.raises(msgspec.DecodeError):
            decode(frame)


@pytest.mark.parametrize("time", ["2026-07-10T00:00:00", "1", "yesterday"])
def test_a_time_without_a_zone_is_refused(time: str) -> None:
    for row in (
        f'"channel":"trade","data":[{{"symbol":"A/B","side":"buy","price":1,"qty":1,"trade_id":1,"timestamp":"{time}"}}]',
        f'"channel":"book","type":"update","data":[{{"symbol":"A/B","timestamp":"{time}"}}]',
        f'"channel":"ohlc","data":[{{"symbol":"A/B","interval":1,"interval_begin":"{time}","open":1,"high":1,"low":1,"close":1,"volume":1}}]',
    ):
        with pytest.raises(msgspec.DecodeError):
            decode(f"{{{row}}}")
