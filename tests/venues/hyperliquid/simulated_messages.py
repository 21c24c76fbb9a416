"""Requests and messages of the simulator as Hyperliquid."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp

from simulator.asking import connected
from tickwire.simulator.server import Simulator

NOW = 1_750_000_030_500
MINUTE, DAY = 60_000, 86_400_000
SYMBOLS = ("BTC/USDC:USDC", "BTC/USDC")
COINS = {"BTC/USDC:USDC": "BTC", "BTC/USDC": "@0"}
BTC = {"symbols": [{"symbol": "BTC/USDT", "price": 60_000, "tick": "0.1", "lot": "0.001", "amount": 0.05}]}


def socket(running: Simulator) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
    return connected(running, "api.hyperliquid.xyz/ws")


async def info(running: Simulator, kind: str, **fields: Any) -> tuple[int, Any]:
    """The status and the answer to `POST /info`: a JSON value, or a text."""
    url, body = f"{running.url}/api.hyperliquid.xyz/info", {"type": kind, **fields}
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as response:
        text = await response.text()
        return response.status, text if text.startswith("Failed") else json.loads(text)


async def candles(running: Simulator, interval: str, start: int, end: int, coin: str = "BTC") -> list[Any]:
    asked = {"coin": coin, "interval": interval, "startTime": start, "endTime": end}
    status, rows = await info(running, "candleSnapshot", req=asked)
    assert status == 200
    return list(rows)


async def received(connection: aiohttp.ClientWebSocketResponse, channel: str, count: int = 1) -> list[Any]:
    """The next messages of a channel."""
    found: list[Any] = []
    while len(found) < count:
        message = await connection.receive_json(timeout=60)
        found += [message] if message.get("channel") == channel else []
    return found


async def subscribe(connection: aiohttp.ClientWebSocketResponse, method: str = "subscribe", **fields: Any) -> None:
    await connection.send_json({"method": method, "subscription": fields})


# ---- REST
