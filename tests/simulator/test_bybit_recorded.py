"""Frames and answers of the simulator as Bybit beside recorded ones: the same keys, types and forms of numbers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from simulator.asking import RECORDED, connected, form, get, samples
from support.simulated import simulated

FOLDER = RECORDED / "bybit"
pytestmark = [
    pytest.mark.golden,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the recorded messages are not there"),
]

NOW = 1_750_000_030_500
SOCKETS = "stream.bybit.com/v5/public"
IDS = {"spot": "BTCUSDT", "linear": "BTCUSDT", "inverse": "BTCUSD"}


def recorded(topic: str, kind: str, symbol: str, session: str = "bybit") -> Any:
    """The first recorded message of a topic, of this type, about a symbol."""
    return next(
        message for each in samples("bybit")
        if (message := each["message"]).get("topic") == f"{topic}.{symbol}" and message.get("type") == kind
        and each["session"] == session
    )  # fmt: skip


async def made(category: str, topic: str, kind: str) -> Any:
    """The simulator's first message of a topic and type."""
    async with (
        simulated(now=NOW, speed=1, live_rate=50) as running,
        connected(running, f"{SOCKETS}/{category}") as connection,
    ):
        await connection.send_json({"op": "subscribe", "args": [topic]})
        async with asyncio.timeout(100):
            while (message := await connection.receive_json()).get("topic") != topic or message["type"] != kind:
                pass
    return message


@pytest.mark.parametrize(
    ("category", "session", "symbol"), [("inverse", "bybit", "BTCUSD"), ("linear", "bybit", "LTCUSDT"),
                                        ("spot", "bybit spot", "BTCUSDT")],
)  # fmt: skip
async def test_trade_messages_have_the_recorded_form(category: str, session: str, symbol: str) -> None:
    theirs = recorded("publicTrade", "snapshot", symbol, session)
    ours = await made(category, f"publicTrade.{IDS[category]}", "snapshot")
    assert form(ours) == form(theirs)
    assert list(ours["data"][0]) == list(theirs["data"][0])
    assert ours["data"][0].get("L", "PlusTick") in ("PlusTick", "ZeroPlusTick", "MinusTick", "ZeroMinusTick")


@pytest.mark.parametrize("kind", ["snapshot", "delta"])
async def test_book_messages_have_the_recorded_form(kind: str) -> None:
    theirs = recorded("orderbook.50", kind, "BTCPERP")
    ours = await made("linear", "orderbook.50.BTCUSDT", kind)
    levels = [*ours["data"]["b"], *ours["data"]["a"]]
    assert levels
    assert form(ours | {"data": ours["data"] | {"b": levels, "a": levels}}) == form(theirs)
    decimals = {len(price.partition(".")[2]) for price, _ in levels}
    assert decimals == {2} == {len(price.partition(".")[2]) for price, _ in theirs["data"]["b"]}


@pytest.mark.parametrize(("category", "symbol"), [("inverse", "BTCUSD"), ("linear", "BTCUSDT")])
async def test_tickers_of_contracts_have_the_recorded_form(category: str, symbol: str) -> None:
    theirs = recorded("tickers", "snapshot", symbol)
    ours = await made(category, f"tickers.{symbol}", "snapshot")
    assert form(ours) == form(theirs)
    delta = await made(category, f"tickers.{symbol}", "delta")
    assert {*delta} == {*theirs}
    assert {*delta["data"]} <= {*theirs["data"]}


async def test_candles_and_acknowledgements_have_the_recorded_form() -> None:
    theirs = json.loads((FOLDER / "ws_kline.json").read_text())
    ours = await made("linear", "kline.5.BTCUSDT", "snapshot")
    assert form(ours) == form(theirs)
    assert list(ours["data"][0]) == list(theirs["data"][0])
    async with simulated(now=NOW) as running, connected(running, f"{SOCKETS}/linear") as connection:
        await connection.send_json({"op": "subscribe", "args": ["orderbook.1.BTCUSDT"], "req_id": "sub-orderbook-1"})
        await connection.send_json({"op": "subscribe", "args": ["invalid.topic.BTCUSDT"]})
        acknowledged, _, refused = [await connection.receive_json(timeout=60) for _ in range(3)]
    assert acknowledged == json.loads((FOLDER / "ws_subscription_ack.json").read_text())
    assert refused == json.loads((FOLDER / "ws_subscription_failure.json").read_text())


@pytest.mark.parametrize(
    ("file", "endpoint", "query"),
    [
        ("http_get_instruments_spot", "instruments-info", {"category": "spot"}),
        ("http_get_instruments_linear", "instruments-info", {"category": "linear"}),
        ("http_get_instruments_inverse", "instruments-info", {"category": "inverse"}),
        ("http_get_klines_linear", "kline", {"category": "linear", "symbol": "BTCUSDT", "interval": "1"}),
        ("http_get_trades_recent", "recent-trade", {"category": "linear", "symbol": "BTCUSDT"}),
    ],
)
async def test_rest_answers_have_the_recorded_form(file: str, endpoint: str, query: dict[str, str]) -> None:
    theirs = json.loads((FOLDER / f"{file}.json").read_text())
    async with simulated(now=NOW) as running:
        ours = await get(running, f"api.bybit.com/v5/market/{endpoint}", **query)
    assert {*theirs} <= {*ours}
    row = form(ours["result"]["list"][0])
    assert {*theirs["result"]} - {*ours["result"]} == set()
    other = form(theirs["result"]["list"][0])
    if isinstance(row, dict) and "deliveryFeeRate" in row:
        # Empty for contracts that are never delivered.
        row["deliveryFeeRate"] = other["deliveryFeeRate"]
    assert row == other
