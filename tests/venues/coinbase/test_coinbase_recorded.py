"""Coinbase's recorded messages: what is decoded has the recorded text's own numbers, by json and Decimal, and the
simulator's messages have the recorded form."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import ccxt
import msgspec
import pytest

from simulator.asking import connected, form, get
from support.simulated import simulated
from tickwire.exchange.ccxt_trades import trade as trade_of
from tickwire.model.feeds import Trade
from tickwire.venues.coinbase import decode, frame_number, market_name
from tickwire.venues.dialect import BookSnapshot, Decoded, Diff
from tickwire.venues.registry import profile_of
from venues.recordings import frames, number

pytestmark = pytest.mark.golden

DECODED = {"market_trades": 1, "l2_data": 2, "ticker": 1}
"""How many recordings there are of each channel that is decoded."""
LEFT = {"candles": 1, "heartbeats": 1, "subscriptions": 1}
NOW = 1_750_000_030_500
SOCKET = "advanced-trade-ws.coinbase.com"
MARKET = "api.coinbase.com/api/v3/brokerage/market"


def ms(text: str) -> int:
    """A time, ms, cut off."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1000 + int(f"{fraction:<03}"[:3] or 0)


def of_trade(row: Any) -> Trade:
    """A trade: its side is that of the taker, the row's that of the maker."""
    side = {"BUY": "sell", "SELL": "buy"}[row["side"]]
    return Trade(
        id=row["trade_id"],
        timestamp=ms(row["time"]),
        side=side,  # type: ignore[arg-type]
        price=number(row["price"]),
        amount=number(row["size"]),
    )


def of_book(frame: Any, event: Any) -> BookSnapshot | Diff:
    """A whole book or a change of it."""
    bids, asks = (
        [(number(each["price_level"]), number(each["new_quantity"])) for each in event["updates"]
         if each["side"] == side]
        for side in ("bid", "offer")
    )  # fmt: skip
    kind = BookSnapshot if event["type"] == "snapshot" else Diff
    return kind(timestamp=ms(frame["timestamp"]), bids=bids, asks=asks)


def of_ticker(frame: Any, row: Any) -> dict[str, Any]:
    """A ticker."""
    names = {
        "last": "price",
        "bid": "best_bid",
        "bid_amount": "best_bid_quantity",
        "ask": "best_ask",
        "ask_amount": "best_ask_quantity",
        "high": "high_24_h",
        "low": "low_24_h",
        "volume": "volume_24_h",
    }
    return {"timestamp": ms(frame["timestamp"])} | {ours: number(row[theirs]) for ours, theirs in names.items()}


def expected(frame: Any) -> Decoded:
    """What is decoded of a frame with one event."""
    (event,) = frame["events"]
    match frame["channel"]:
        case "market_trades":
            return Decoded("trade", event["trades"][0]["product_id"], [of_trade(row) for row in event["trades"]])
        case "l2_data":
            return Decoded("book", event["product_id"], [of_book(frame, event)])
        case _:
            (row,) = event["tickers"]
            return Decoded("ticker", row["product_id"], [of_ticker(frame, row)])


def test_every_recorded_frame_is_decoded_to_the_numbers_it_has(recorded: Path) -> None:
    seen: dict[str, int] = {}
    for text in frames(recorded, "coinbase"):
        frame = json.loads(text)
        seen[frame["channel"]] = seen.get(frame["channel"], 0) + 1
        assert decode(text) == (None if frame["channel"] in LEFT else (expected(frame),))
        assert frame_number(text) == frame["sequence_num"]
    assert seen == DECODED | LEFT


def test_the_number_of_a_frame_is_read_in_any_form(recorded: Path) -> None:
    for text in frames(recorded, "coinbase"):
        frame = json.loads(text)
        for other in (json.dumps(frame), json.dumps(dict(reversed(frame.items()))), json.dumps(frame, indent=1)):
            assert frame_number(other) == frame["sequence_num"]


def trade_row(id_: int, product: str = "BTC-USD", ms_: int = 0) -> dict[str, str]:
    """A trade as the venue sends it."""
    return {"product_id": product, "trade_id": str(id_), "price": "1.5", "size": "2",
            "time": f"2026-04-07T14:30:02.{ms_:03d}456Z", "side": "SELL"}  # fmt: skip


def trades_frame(*events: list[dict[str, str]]) -> str:
    """A frame with these events."""
    frame = {"channel": "market_trades", "timestamp": "2026-04-07T14:30:02.789012345Z", "sequence_num": 7,
             "events": [{"type": "update", "trades": rows} for rows in events]}  # fmt: skip
    return json.dumps(frame, separators=(",", ":"))


def test_trades_of_several_events_are_oldest_first_whatever_order_an_event_has() -> None:
    newest_first = [trade_row(10, ms_=3), trade_row(9, ms_=3), trade_row(8, ms_=1)]
    oldest_first = [trade_row(11, ms_=3), trade_row(12, ms_=4)]
    found = decode(trades_frame(newest_first, oldest_first, []))
    assert found is not None
    ((_, market, items, _),) = found
    assert market == "BTC-USD"
    assert [each.id for each in items] == ["8", "9", "10", "11", "12"]


def test_trades_of_several_products_in_one_frame_are_apart() -> None:
    found = decode(trades_frame([trade_row(2), trade_row(1, "ETH-USD")], [trade_row(3), trade_row(4, "ETH-USD")]))
    assert found is not None
    assert [(each.market, {item.id for item in each.items}) for each in found] == [
        ("ETH-USD", {"1", "4"}), ("BTC-USD", {"2", "3"})]  # fmt: skip


def test_products_of_one_book_have_the_name_of_the_one_that_frames_name(recorded: Path) -> None:
    rows = json.loads((recorded / "venues" / "coinbase" / "http_products.json").read_text())["products"]
    names = {row["product_id"]: market_name({"id": row["product_id"], "info": row}) for row in rows}
    assert names == {"BTC-USD": "BTC-USD", "BTC-USDC": "BTC-USD"}
    assert market_name({"id": "A-B"}) == "A-B"


def test_a_ticker_has_no_fields_that_are_empty_but_those_of_an_empty_side() -> None:
    row = {"type": "ticker", "product_id": "A-B", "price": "1", "best_bid": "", "volume_24_h": ""}
    empty = {"type": "ticker", "product_id": "", "price": ""}
    frame = {"channel": "ticker", "timestamp": "2026-04-07T14:30:02Z", "sequence_num": 0,
             "events": [{"type": "snapshot", "tickers": [row, empty]}]}  # fmt: skip
    assert decode(json.dumps(frame)) == (
        Decoded("ticker", "A-B", [{"timestamp": ms("2026-04-07T14:30:02"), "last": 1.0, "bid": 0.0}]),
    )


@pytest.mark.parametrize(
    "frame",
    [
        '{"type":"error","message":"authentication failure"}',
        '{"channel":"subscriptions","timestamp":"2025-09-15T17:02:49.90120868Z","sequence_num":3,"events":[{"subscriptions":{}}]}',
        '{"channel":"user","client_id":"","timestamp":"2025-09-15T17:02:49Z","sequence_num":3,"events":[]}',
        '{"channel":"ticker_batch","client_id":"","events":[]}',
        '{"events":[],"channel":"status"}',
        "pong",
        "",
    ],
)
def test_answers_and_other_channels_are_left_to_ccxt(frame: str) -> None:
    assert decode(frame) is None


@pytest.mark.parametrize("value", ["NaN", "-1", "1e200", "x", ""])
def test_numbers_that_are_none_are_refused(value: str) -> None:
    bad = [trade_row(1) | {"price": value}, trade_row(1) | {"size": value}]
    update = {"side": "bid", "price_level": "1", "new_quantity": value}
    event = {"type": "update", "product_id": "A-B", "updates": [update]}
    book = {"channel": "l2_data", "timestamp": "2026-04-07T14:30:02Z", "sequence_num": 1, "events": [event]}
    for frame in (*(trades_frame([row]) for row in bad), json.dumps(book)):
        with pytest.raises(msgspec.DecodeError):
            decode(frame)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError, match="zone"):
        decode(trades_frame([trade_row(1) | {"time": "2026-04-07T14:30:02"}]))


def test_a_recorded_match_of_exchange_has_the_taker_s_side_live_and_by_rest(recorded: Path) -> None:
    """By ccxt, which inverts the one and not the other."""
    lines = (recorded / "venues" / "coinbaseexchange" / "ws_samples.jsonl").read_text().splitlines()
    (match,) = [row for line in lines if (row := json.loads(line)["message"])["type"] == "match"]
    assert match["side"] == "buy", "the maker's"
    by_rest = {name: match[name] for name in ("trade_id", "side", "size", "price", "time")}
    plain, facts = ccxt.coinbaseexchange(), profile_of("coinbaseexchange").trades
    symbol = match["product_id"].replace("-", "/")
    made = [
        trade_of(plain.parse_trade(row), symbol, side_of)
        for row, side_of in ((match, facts.live_side), (by_rest, facts.side))
    ]
    expected = Trade(id=str(match["trade_id"]), timestamp=ms(match["time"]), side="sell", price=number(match["price"]),
                     amount=number(match["size"]))  # fmt: skip
    assert made == [expected, expected]


# ---- the simulator's messages beside the recorded ones


async def made(channel: str, wanted: str, kind: str | None = None) -> Any:
    """The simulator's first message of a channel, and of a type if that is given."""
    async with (
        simulated(now=NOW, speed=1, live_rate=50) as running,
        connected(running, SOCKET) as connection,
    ):
        products = [] if channel == "heartbeats" else ["BTC-USD"]
        await connection.send_json({"type": "subscribe", "channel": channel, "product_ids": products})
        async with asyncio.timeout(100):
            while (message := await connection.receive_json())["channel"] != wanted or (
                kind is not None and message["events"][0]["type"] != kind
            ):
                pass
    return message


@pytest.mark.parametrize(
    ("file", "channel", "kind"),
    [
        ("market_trades", "market_trades", "update"),
        ("l2_data_snapshot", "level2", "snapshot"),
        ("l2_data_update", "level2", "update"),
        ("ticker", "ticker", "snapshot"),
        ("candles", "candles", "update"),
        ("heartbeats", "heartbeats", None),
    ],
)
async def test_the_simulator_s_frames_have_the_recorded_form(
    recorded: Path, file: str, channel: str, kind: str | None
) -> None:
    theirs = json.loads((recorded / "venues" / "coinbase" / f"ws_{file}.json").read_text())
    ours = await made(channel, theirs["channel"], kind)
    assert form(ours) == form(theirs)
    assert list(ours) == list(theirs)


async def test_subscriptions_are_acknowledged_in_the_recorded_form_after_their_snapshots(recorded: Path) -> None:
    theirs = json.loads((recorded / "venues" / "coinbase" / "ws_subscriptions.json").read_text())
    async with simulated(now=NOW) as running, connected(running, SOCKET) as connection:
        heard = []
        for channel, products in (("level2", ["BTC-USD"]), ("market_trades", ["BTC-USD", "ETH-USD"])):
            await connection.send_json({"type": "subscribe", "channel": channel, "product_ids": products})
            heard += [await connection.receive_json(timeout=60) for _ in range(len(products) + 1)]
    assert [each["channel"] for each in heard] == [
        "l2_data", "subscriptions", "market_trades", "market_trades", "subscriptions"]  # fmt: skip
    assert [each["sequence_num"] for each in heard] == list(range(5))
    assert heard[-1]["events"] == theirs["events"]
    assert form(heard[-1]) == form(theirs)


@pytest.mark.parametrize(
    ("file", "path", "query"),
    [
        ("products", "products", {}),
        ("product", "products/BTC-USD", {}),
        ("candles", "products/BTC-USD/candles",
         {"granularity": "ONE_HOUR", "start": NOW // 1000 - 7200, "end": NOW // 1000}),
        ("ticker", "products/BTC-USD/ticker", {"limit": 3}),
        ("product_book", "product_book", {"product_id": "BTC-USD", "limit": 5}),
    ],
)  # fmt: skip
async def test_the_simulator_s_answers_have_the_recorded_form(
    recorded: Path, file: str, path: str, query: dict[str, Any]
) -> None:
    theirs = json.loads((recorded / "venues" / "coinbase" / f"http_{file}.json").read_text())
    async with simulated(now=NOW) as running:
        ours = await get(running, f"{MARKET}/{path}", **query)
    assert form(ours) == form(theirs)
