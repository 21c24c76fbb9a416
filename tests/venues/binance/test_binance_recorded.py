"""Binance's recorded frames: each field of what is decoded is the recorded text's own number, by json and Decimal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tickwire.model.feeds import Trade
from tickwire.venues.binance import Kline, decode
from tickwire.venues.dialect import Decoded, Diff
from venues.recordings import levels, number

pytestmark = pytest.mark.golden

RECORDINGS = {
    "BINANCE": {"aggTrade": 2, "depthUpdate": 177, "kline": 2, None: 84},
    "BINANCE_FUTURES": {"aggTrade": 91, "depthUpdate": 764, "kline": 67, "bookTicker": 613},
}
"""How many of each event a recording has, counted with grep; spot's bookTicker has no name."""


def lines(recorded: Path, name: str) -> Iterator[str]:
    """The frames of a recording, as they came."""
    for line in (recorded / "wire" / f"{name}.ws.1.0").read_text().splitlines():
        time, separator, frame = line.partition(": ")
        if separator and time.replace(".", "").isdigit():
            yield frame


def of_aggregate(data: Any) -> Decoded:
    # `m`: the buyer is the maker, so that the taker sold.
    trade = Trade(
        id=f"{data['a']}",
        timestamp=data["T"],
        side={True: "sell", False: "buy"}[data["m"]],  # type: ignore[arg-type]
        price=number(data["p"]),
        amount=number(data["q"]),
    )
    return Decoded("trade", data["s"], (trade,))


def of_depth(data: Any) -> Decoded:
    diff = Diff(
        first=data["U"],
        last=data["u"],
        timestamp=data["E"],
        bids=levels(data["b"]),
        asks=levels(data["a"]),
        previous=data.get("pu"),
    )
    return Decoded("book", data["s"], (diff,))


def of_kline(data: Any) -> Decoded:
    k = data["k"]
    kline = Kline(
        timestamp=k["t"],
        timeframe=k["i"],
        open=number(k["o"]),
        high=number(k["h"]),
        low=number(k["l"]),
        close=number(k["c"]),
        volume=number(k["v"]),
        other_volume=number(k["q"]),
        trades=k["n"],
        closed=k["x"],
    )
    return Decoded("candle", k["s"], (kline,), k["i"])


def of_best(data: Any) -> Decoded:
    said = {name: number(data[letter]) for name, letter in
            (("bid", "b"), ("bid_amount", "B"), ("ask", "a"), ("ask_amount", "A"))}  # fmt: skip
    return Decoded("ticker", data["s"], (said | ({"timestamp": data["T"]} if "T" in data else {}),))


RULES: dict[str | None, Callable[[Any], Decoded]] = {
    "aggTrade": of_aggregate,
    "depthUpdate": of_depth,
    "kline": of_kline,
    "bookTicker": of_best,
    None: of_best,
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_frame_is_decoded_to_the_numbers_it_has(recorded: Path, name: str) -> None:
    events: Counter[str | None] = Counter()
    for frame in lines(recorded, name):
        data = json.loads(frame)["data"]
        event = data.get("e")
        events[event] += 1
        assert decode(frame) == (RULES[event](data),)
    assert events == RECORDINGS[name]


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_frame_says_the_same_bare_spaced_and_in_another_order(recorded: Path, name: str) -> None:
    for frame in lines(recorded, name):
        data = json.loads(frame)["data"]
        said = decode(frame)
        assert decode(json.dumps(data, separators=(",", ":"))) == said
        if "e" in data:
            assert decode(json.dumps(data)) == said
            assert decode(json.dumps(dict(reversed(data.items())))) == said


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_frame_that_breaks_off_anywhere_is_refused_or_left_to_ccxt(recorded: Path, name: str) -> None:
    for frame in list(lines(recorded, name))[:40]:
        for end in range(len(frame)):
            with suppress(msgspec.DecodeError):
                assert decode(frame[:end]) is None


@pytest.mark.parametrize(
    "frame",
    [
        '{"result":null,"id":1}',
        '{"id":1,"result":null}',
        '{"error":{"code":2,"msg":"Invalid request"},"id":1}',
        '[{"e":"24hrMiniTicker","s":"BTCUSDT"}]',
        '{"e":"executionReport","E":1,"s":"BTCUSDT"}',
        '{"stream":"btcusdt@trade"}',
        "pong",
        "",
    ],
)
def test_answers_and_what_is_not_market_data_are_left_to_ccxt(frame: str) -> None:
    assert decode(frame) is None


def test_a_raw_trade_and_a_day_are_decoded() -> None:
    # The frames are Binance's documentation's own examples, "Trade Streams" and "Individual Symbol Ticker Streams".
    trade = (
        '{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,'
        '"m":true,"M":true}'
    )
    expected = Trade(id="12345", timestamp=1672515782136, side="sell", price=0.001, amount=100.0)
    assert decode(trade) == (Decoded("trade", "BNBBTC", (expected,)),)
    day = (
        '{"e":"24hrTicker","E":1672515782136,"s":"BNBBTC","p":"0.0015","P":"250.00","w":"0.0018","x":"0.0009",'
        '"c":"0.0025","Q":"10","b":"0.0024","B":"10","a":"0.0026","A":"100","o":"0.0010","h":"0.0025","l":"0.0010",'
        '"v":"10000","q":"18","O":0,"C":86400000,"F":0,"L":18150,"n":18151}'
    )
    said = decode(day)
    fields = {"timestamp": 1672515782136, "last": 0.0025, "open": 0.001, "high": 0.0025, "low": 0.001,
              "volume": 10000.0, "quote_volume": 18.0}  # fmt: skip
    assert said == (Decoded("ticker", "BNBBTC", (fields,)),)
    mini = (
        '{"e":"24hrMiniTicker","E":1672515782136,"s":"BNBBTC","c":"0.0025","o":"0.0010","h":"0.0025","l":"0.0010",'
        '"v":"10000","q":"18"}'
    )
    assert decode(mini) == said
