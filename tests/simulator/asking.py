"""Requests, orders and sockets of the simulator's tests, and the form of a message beside a recorded one."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tickwire.simulator.server import Simulator

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "venues"


async def get(running: Simulator, path: str, **query: Any) -> Any:
    """The JSON answer to `GET /path?query`."""
    async with aiohttp.ClientSession() as http, http.get(f"{running.url}/{path}", params=query) as response:
        return await response.json()


async def post(running: Simulator, path: str, *, status: int = 200, **body: Any) -> Any:
    """The JSON answer to `POST /_sim/path`, which has this status."""
    async with aiohttp.ClientSession() as http, http.post(f"{running.url}/_sim/{path}", json=body) as response:
        assert response.status == status, await response.text()
        return await response.json()


async def order(running: Simulator, *, status: int = 200, **fault: Any) -> Any:
    """Order a fault; the answer has this status."""
    return await post(running, "faults", status=status, **fault)


@asynccontextmanager
async def connected(running: Simulator, url: str, **options: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A socket at `host/path`, with options of aiohttp."""
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{running.url.replace('http', 'ws')}/{url}", **options) as connection:
            yield connection


def trades_a_minute(timeframe: str) -> int:
    """A history rate with several trades in each candle, and few in all: long candles take their time."""
    return 12 if timeframe == "1m" else 1


def form(value: Any) -> Any:
    """The form of a JSON value: keys in their order, types, and texts by their kind."""
    if isinstance(value, dict):
        return {name: form(each) for name, each in value.items()}
    if isinstance(value, list):
        return [form(value[0])] if value else []
    if isinstance(value, str):
        return "number" if re.fullmatch(r"-?\d+(\.\d+)?", value) else "uuid" if value.count("-") == 4 else "text"
    return type(value).__name__


def samples(venue: str) -> Iterator[Any]:
    """The recorded messages of a venue's sockets: `{"session": …, "message": …}`."""
    yield from map(json.loads, (RECORDED / venue / "ws_samples.jsonl").read_text().splitlines())
