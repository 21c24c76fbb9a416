"""Requests to the simulated Kraken, and its answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from simulator.asking import connected, get
from support.simulated import simulated
from tickwire.simulator.server import Simulator

NOW = 1_750_000_030_500
MINUTE, HOUR = 60_000, 3_600_000
REST, SOCKET = "api.kraken.com/0/public", "ws.kraken.com/v2"
SYMBOL = "BTC/USD"


def of(recorded: Path, name: str) -> Any:
    """A recorded document."""
    return json.loads((recorded / "venues" / "kraken" / f"{name}.json").read_text())


async def public(running: Simulator, endpoint: str, **query: Any) -> Any:
    """The result of a request that is answered."""
    answer = await get(running, f"{REST}/{endpoint}", **query)
    assert answer["error"] == []
    return answer["result"]


async def asked(connection: aiohttp.ClientWebSocketResponse, method: str, count: int = 1, **params: Any) -> list[Any]:
    """The answers to a request on a socket; what else arrives before them is dropped."""
    await connection.send_json({"method": method, "params": params, "req_id": 7})
    found: list[Any] = []
    while len(found) < count:
        message = await connection.receive_json(timeout=60)
        found += [message] if message.get("req_id") == 7 else []
    return found


async def said(connection: aiohttp.ClientWebSocketResponse, channel: str, kind: str) -> Any:
    """The next message of a channel and type; numbers as their texts."""
    while True:
        message = json.loads(await connection.receive_str(timeout=60), parse_float=str)
        if (message.get("channel"), message.get("type")) == (channel, kind):
            return message


async def made(channel: str, kind: str, **params: Any) -> Any:
    """The simulator's first message of a channel and type."""
    async with (
        simulated(now=NOW, speed=1, live_rate=50) as running,
        connected(running, SOCKET) as connection,
        asyncio.timeout(100),
    ):
        message = {"method": "subscribe", "params": {"channel": channel, "symbol": [SYMBOL], **params}}
        await connection.send_json(message)
        return await said(connection, channel, kind)
