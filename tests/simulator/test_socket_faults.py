"""Pings, goodbyes, errors and repetitions on sockets, and trades that the exchange has forgotten."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from itertools import groupby
from typing import Any

import aiohttp
import pytest
from ccxt.base.errors import ExchangeError, NetworkError

from simulator.asking import connected, get, order
from support.simulated import client, simulated
from tickwire.simulator.server import Simulator

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
SPOT = "api.binance.com/api/v3"


def socket(
    running: Simulator, path: str = "stream.binance.com:9443/ws/0", **options: Any
) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
    return connected(running, path, **options)


async def test_a_socket_is_pinged_with_the_time_and_stays_while_it_answers() -> None:
    began = time.time()
    async with simulated(now=NOW, ping_s=0.4) as running, socket(running, autoping=False) as connection:
        for _ in range(5):
            message = await connection.receive(timeout=60)
            assert message.type is aiohttp.WSMsgType.PING
            assert int(began * 1000) <= int(message.data) <= time.time() * 1000
            await connection.pong(message.data)


async def test_a_socket_that_leaves_its_pings_unanswered_is_cut() -> None:
    async with simulated(now=NOW, ping_s=0.5) as running, socket(running, autoping=False) as connection:
        seen = [(await connection.receive(timeout=60)).type for _ in range(4)]
        assert seen == [*[aiohttp.WSMsgType.PING] * 3, aiohttp.WSMsgType.CLOSED]


async def test_a_close_has_the_code_that_was_ordered_and_is_answered() -> None:
    async with simulated(now=NOW, live_rate=50) as running, socket(running) as connection, socket(running) as other:
        await order(running, kind="ws_close", code=1001)
        for each in (connection, other):
            message = await each.receive(timeout=60)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        # A new socket is as welcome as ever.
        async with socket(running) as again:
            await again.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
            assert (await again.receive_json(timeout=60))["result"] == []
        while len([entry for entry in running.journal.since(0) if entry.event == "disconnect"]) < 3:
            await asyncio.sleep(0)
        assert "close frame" in (await order(running, status=400, kind="ws_close", code=1006))["error"]


async def watching(venue: Any) -> None:
    """Watch until ccxt raises; a call is always pending, because ccxt raises in pending calls only."""
    while True:
        await venue.watch_trades("BTC/USDT")


@pytest.mark.parametrize(
    ("fault", "error", "what"),
    [
        ({"kind": "ws_close", "code": 1001}, NetworkError, "closing code 1001"),
        ({"kind": "ws_error", "text": "Too many requests"}, ExchangeError, "Too many requests"),
    ],
)
async def test_ccxt_raises_what_a_close_or_an_error_means(
    fault: dict[str, Any], error: type[Exception], what: str
) -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, client(running.url, pro=True) as venue:
        await venue.watch_trades("BTC/USDT")
        async with asyncio.timeout(100):
            watched = asyncio.ensure_future(watching(venue))
            await order(running, **fault)
            with pytest.raises(error, match=what):
                await watched


async def test_an_error_is_sent_as_binance_sends_them() -> None:
    async with simulated(now=NOW) as running, socket(running) as connection:
        await order(running, kind="ws_error", text="Too many requests", count=2)
        for _ in range(2):
            assert await connection.receive_json(timeout=60) == {"error": {"code": 2, "msg": "Too many requests"}}


async def test_the_last_frames_of_each_stream_are_repeated_once() -> None:
    path = "stream.binance.com:9443/stream?streams=btcusdt@aggTrade/ethusdt@trade"
    async with simulated(now=NOW, live_rate=20) as running, socket(running, path) as connection:
        running.exchange.clock.set(NOW + 2_000)
        said: dict[str, list[Any]] = {"btcusdt@aggTrade": [], "ethusdt@trade": []}

        async def receive() -> Any:
            message = await connection.receive_json(timeout=60)
            return message["stream"], message["data"]

        ends = {
            "btcusdt@aggTrade": ("a", (await get(running, "_sim/truth/aggregates", symbol="BTCUSDT"))[-1:]),
            "ethusdt@trade": ("t", await get(running, "_sim/truth/trades", symbol="ETHUSDT", since=NOW + 1)),
        }
        last = {"ethusdt@trade": ends["ethusdt@trade"][1][-1]["id"]}
        trades = await get(running, "_sim/truth/trades", symbol="BTCUSDT", since=NOW + 1)
        last["btcusdt@aggTrade"] = trades[-1]["agg"]
        while any(not said[name] or said[name][-1][ends[name][0]] < last[name] for name in said):
            name, data = await receive()
            said[name].append(data)
        await order(running, kind="ws_duplicate", count=5)
        repeated: dict[str, list[Any]] = {name: [] for name in said}
        for _ in range(10):
            name, data = await receive()
            repeated[name].append(data)
        assert repeated == {name: events[-5:] for name, events in said.items()}
        running.exchange.clock.set(NOW + 3_000)
        name, data = await receive()
        assert data[ends[name][0]] == last[name] + 1


async def test_forgotten_trades_are_in_no_answer_and_those_after_them_are() -> None:
    async with simulated(now=NOW) as running, client(running.url) as venue:
        whole = await venue.fetch_trades("BTC/USDT", limit=1000)
        ids = [int(trade["id"]) for trade in whole]
        hole = range(ids[300], ids[400])
        await order(running, kind="rest_forgets", symbol="BTC/USDT", from_id=hole.start, to_id=hole.stop - 1)
        left = [id_ for id_ in ids if id_ not in hole]

        async def page(limit: int, **params: Any) -> list[int]:
            return [int(trade["id"]) for trade in await venue.fetch_trades("BTC/USDT", limit=limit, params=params)]

        assert await page(1000) == left
        # A page is as long as it was asked for, and goes on behind the hole.
        assert await page(500, fromId=ids[0]) == left[:500]
        assert await page(10, fromId=hole.start + 5) == left[300:310]
        since = {trade["timestamp"] for trade in whole if int(trade["id"]) in hole}
        found = await get(running, f"{SPOT}/aggTrades", symbol="BTCUSDT", startTime=min(since), limit=20)
        # Trades of one millisecond with the first forgotten one may precede it.
        assert [row["a"] for row in found if row["a"] > hole.start] == left[300 : 300 + 20][: len(found)]
        # Futures forget the same, other markets nothing, and the truth remembers.
        contracts = await get(running, "fapi.binance.com/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=ids[299], limit=2)
        assert [row["a"] for row in contracts] == [ids[299], ids[400]]
        other = await get(running, f"{SPOT}/aggTrades", symbol="ETHUSDT", fromId=hole.start, limit=2)
        assert [row["a"] for row in other] == [hole.start, hole.start + 1]
        truth = await get(running, "_sim/truth/aggregates", symbol="BTCUSDT", fromId=ids[0], limit=1000)
        assert [each["id"] for each in truth] == ids


async def test_single_trades_are_forgotten_by_their_own_ids() -> None:
    async with simulated(now=NOW) as running:
        trades = await get(running, "_sim/truth/trades", symbol="BTCUSDT", since=NOW - 600_000)
        ids = [trade["id"] for trade in trades]
        await order(running, kind="rest_forgets", match="historicalTrades", symbol="BTCUSDT", from_id=ids[3],
                    to_id=ids[7])  # fmt: skip
        path = f"{SPOT}/historicalTrades"
        assert [row["id"] for row in await get(running, path, symbol="BTCUSDT", fromId=ids[0], limit=10)] == [
            *ids[:3], *ids[8:15]
        ]  # fmt: skip
        # The fault means that endpoint alone.
        groups = [agg for agg, _ in groupby(trades, lambda trade: trade["agg"])]
        found = await get(running, f"{SPOT}/aggTrades", symbol="BTCUSDT", fromId=groups[0], limit=10)
        assert [row["a"] for row in found] == groups[:10]
        assert (
            "rest_forgets needs" in (await order(running, status=400, kind="rest_forgets", from_id=1, to_id=2))["error"]
        )


async def test_the_end_of_the_window_holds_behind_what_is_forgotten() -> None:
    async with simulated(now=NOW) as running:
        query = {"symbol": "BTCUSDT", "startTime": NOW - 600_000, "endTime": NOW - 300_000, "limit": 50}
        whole = await get(running, f"{SPOT}/aggTrades", **query | {"limit": 1000})
        first, last = whole[0]["a"], whole[-1]["a"]
        assert last - first >= 20
        await order(running, kind="rest_forgets", symbol="BTCUSDT", from_id=first, to_id=last - 1)
        assert [row["a"] for row in await get(running, f"{SPOT}/aggTrades", **query | {"limit": 10})] == [last]
        await order(running, kind="rest_forgets", symbol="BTCUSDT", from_id=last, to_id=last + 5)
        assert await get(running, f"{SPOT}/aggTrades", **query | {"limit": 10}) == []
