"""Crypto.com's recorded frames: what is decoded has the recorded text's own numbers, by json and Decimal, and the
simulator's frames have the recorded form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from simulator.asking import connected, form
from support.simulated import simulated
from tickwire.model.feeds import Feed, Trade
from tickwire.venues.cryptocom import decode
from tickwire.venues.dialect import BookSnapshot, Decoded, Diff
from venues.recordings import levels, number

pytestmark = pytest.mark.golden

NOW = 1_750_000_030_500
SOCKET = "stream.crypto.com/exchange/v1/market"


def recorded_messages(recorded: Path) -> list[Any]:
    """The recorded messages."""
    lines = (recorded / "venues" / "cryptocom" / "ws_samples.jsonl").read_text().splitlines()
    return [json.loads(line, parse_float=Decimal)["message"] for line in lines]


def text_of(message: Any) -> str:
    """A message as the venue sends it."""
    return json.dumps(message, separators=(",", ":"), default=float)


def of_trade(row: Any) -> Trade:
    """A trade."""
    side = {"BUY": "buy", "SELL": "sell"}[row["s"]]
    return Trade(id=str(row["d"]), timestamp=row["t"], side=side, price=number(row["p"]), amount=number(row["q"]))  # type: ignore[arg-type]


NAMES = {"last": "a", "bid": "b", "bid_amount": "bs", "ask": "k", "ask_amount": "ks", "high": "h", "low": "l",
         "volume": "v"}  # fmt: skip


def expected(result: Any) -> Decoded:
    """What is decoded of a frame."""
    rows, market = result["data"], result["instrument_name"]
    match result["channel"]:
        case "trade":
            return Decoded("trade", market, [of_trade(row) for row in reversed(rows)])
        case "ticker":
            items = [
                {"timestamp": row["t"]} | {ours: number(row[theirs]) for ours, theirs in NAMES.items() if theirs in row}
                for row in rows
            ]
            return Decoded("ticker", market, items)
        case _:
            (row,) = rows
            bids, asks = levels(row["update"]["bids"]), levels(row["update"]["asks"])
            diff = Diff(timestamp=row["t"], bids=bids, asks=asks, last=row["u"], previous=row["pu"])
            return Decoded("book", market, [diff])


def has_ended(message: Any) -> bool:
    """Whether it is of the API v2, whose books had no chain of numbers."""
    result = message.get("result", {})
    return result.get("channel", "").startswith("book") and "u" not in result["data"][0]


def frames(recorded: Path) -> Iterator[Any]:
    """The recorded market data in today's form."""
    yield from (each for each in recorded_messages(recorded) if "result" in each and not has_ended(each))


def test_every_recorded_frame_is_decoded_to_the_numbers_it_has(recorded: Path) -> None:
    seen: dict[str, int] = {}
    for message in recorded_messages(recorded):
        text, result = text_of(message), message.get("result")
        if has_ended(message):
            with pytest.raises(msgspec.DecodeError):
                decode(text)
            continue
        seen[result["channel"] if result else ""] = seen.get(result["channel"] if result else "", 0) + 1
        assert decode(text) == (None if result is None else (expected(result),))
    assert seen == {"": 1, "trade": 5, "ticker": 2, "book.update": 1}


def test_the_trades_of_one_recorded_order_have_one_id(recorded: Path) -> None:
    """Why the profile declares ids `of orders`: as ids of trades, three of these four would be repetitions."""
    (found,) = [each for each in frames(recorded) if len(each["result"]["data"]) == 4]
    rows = found["result"]["data"]
    assert len({row["d"] for row in rows}) == 1
    assert [row["q"] for row in rows] == ["0.0050", "0.1000", "0.0050", "0.0244"]


@pytest.mark.parametrize(
    ("descending", "ids"), [([3, 2, 1], ["c", "b", "a"]), ([1, 2, 3], ["a", "b", "c"]), ([1, 1, 1], ["c", "b", "a"])]
)
def test_trades_are_oldest_first_whatever_order_a_frame_has(descending: list[int], ids: list[str]) -> None:
    rows = [{"d": id_, "t": time, "p": "1", "q": "1", "s": "BUY", "i": "A_B"}
            for id_, time in zip("abc", descending, strict=True)]  # fmt: skip
    found = decode(text_of(frame("trade", rows)))
    assert found is not None
    assert [each.id for each in found[0].items] == ids


def frame(channel: str, rows: list[Any], **more: Any) -> Any:
    """A frame."""
    result = {"channel": channel, "subscription": "x", "instrument_name": "A_B", **more, "data": rows}
    return {"id": -1, "code": 0, "method": "subscribe", "result": result}


def test_a_whole_book_replaces_the_one_before() -> None:
    row = {"bids": [["1.5", "2", "1"]], "asks": [["1.6", "0.5", "3"]], "t": 5, "tt": 4, "u": 78, "cs": -7}
    snapshot = BookSnapshot(timestamp=5, bids=[(1.5, 2.0)], asks=[(1.6, 0.5)], sequence=78)
    assert decode(text_of(frame("book", [row], depth=50))) == (Decoded("book", "A_B", [snapshot]),)


def test_candles_are_oldest_first_and_by_ccxt_s_timeframe() -> None:
    rows = [{"o": "1", "h": "2", "l": "0.5", "c": "1.5", "v": "3", "t": time, "ut": 9} for time in (60_000, 0)]
    found = decode(text_of(frame("candlestick", rows, interval="7D", depth=300)))
    assert found is not None
    (one,) = found
    assert (one.kind, one.timeframe) == ("candle", "1w")
    made = [each.candle(Feed("candle", "cryptocom", "A/B", "1w"), "spot") for each in one.items]
    assert [(each.timestamp, each.open, each.high, each.low, each.close, each.volume) for each in made] == [
        (time, 1.0, 2.0, 0.5, 1.5, 3.0) for time in (0, 60_000)
    ]
    assert {(each.volume_unit, each.closed) for each in made} == {("base", False)}


def test_a_ticker_says_which_side_is_empty_and_has_no_other_fields_that_are_none() -> None:
    row = {"i": "A_B", "t": 5, "a": None, "b": "1", "k": None, "ks": None}
    fields = {"timestamp": 5, "bid": 1.0, "ask": 0.0, "ask_amount": 0.0}
    assert decode(text_of(frame("ticker", [row]))) == (Decoded("ticker", "A_B", [fields]),)


@pytest.mark.parametrize(
    "text",
    [
        '{"id":1587523073344,"method":"public/heartbeat","code":0}',
        '{"id":0,"code":10004,"method":"subscribe","message":"invalid channel {\\"channels\\":[\\"trade.X\\"]}"}',
        '{"id":1,"code":0,"method":"unsubscribe"}',
        '{"id":-1,"code":0,"method":"subscribe","result":{"channel":"user.order","subscription":"x","data":[]}}',
        text_of(frame("candlestick", [], interval="3m")),
        "pong",
        "",
    ],
)
def test_answers_and_other_channels_are_left_to_ccxt(text: str) -> None:
    assert decode(text) is None


@pytest.mark.parametrize("value", ["NaN", "-1", "1e200", "x", ""])
def test_numbers_that_are_none_are_refused(value: str) -> None:
    row = {"d": "1", "t": 1, "p": "1", "q": "1", "s": "BUY", "i": "A_B"}
    book = {"bids": [[value, "1", "1"]], "asks": [], "t": 1, "u": 1}
    for bad in (frame("trade", [row | {"p": value}]), frame("trade", [row | {"q": value}]), frame("book", [book])):
        with pytest.raises(msgspec.DecodeError):
            decode(text_of(bad))


@pytest.mark.parametrize(("channel", "place"), [("trade.BTC_USDT", -2), ("ticker.BTCUSD-PERP", -4)])
async def test_the_simulator_s_frames_have_the_recorded_form(recorded: Path, channel: str, place: int) -> None:
    theirs = recorded_messages(recorded)[place]
    async with simulated(now=NOW, speed=1, live_rate=50) as running, connected(running, SOCKET) as connection:
        await connection.send_json({"id": 1, "method": "subscribe", "params": {"channels": [channel]}})
        answer, ours = [await connection.receive_json(timeout=60) for _ in range(2)]
    assert answer == recorded_messages(recorded)[0]
    assert form(ours) == form(theirs)


async def test_the_simulator_s_books_have_the_recorded_form_and_each_names_the_one_before(recorded: Path) -> None:
    theirs = recorded_messages(recorded)[-3]
    async with simulated(now=NOW, speed=1, live_rate=50) as running, connected(running, SOCKET) as connection:
        params = {"channels": ["book.DOGE_USDT.50"], "bookSubscriptionType": "SNAPSHOT_AND_UPDATE"}
        await connection.send_json({"id": 1, "method": "subscribe", "params": params})
        _, whole, *updates = [await connection.receive_json(timeout=60) for _ in range(6)]
    assert whole["result"]["channel"] == "book"
    numbers = [whole["result"]["data"][0]["u"]]
    for each in updates:
        (row,) = each["result"]["data"]
        assert row["pu"] == numbers[-1]
        numbers.append(row["u"])
        if row["update"]["asks"] and row["update"]["bids"]:
            assert form(each) == form(theirs)
    assert sorted(set(numbers)) == numbers
