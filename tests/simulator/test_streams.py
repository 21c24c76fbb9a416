"""The simulator's WebSocket side: unmodified ccxt.pro, the protocol by hand, and faults on sockets."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from ccxt.base.errors import NetworkError

from simulator.asking import connected, get, order
from support.simulated import client, simulated
from tickwire.simulator.faults import Fault
from tickwire.simulator.server import Simulator

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
MINUTE = 60_000


def socket(running: Simulator, path: str = "ws/0") -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
    return connected(running, f"stream.binance.com:9443/{path}")


async def ask(connection: aiohttp.ClientWebSocketResponse, method: str, *names: str) -> Any:
    await connection.send_json({"method": method, "params": names, "id": 1})
    return await connection.receive_json(timeout=60)


async def truth(running: Simulator, since: int, symbol: str = "BTC/USDT") -> Any:
    return await get(running, "_sim/truth/trades", symbol=symbol, since=since)


def advance(running: Simulator, ms: int) -> None:
    running.exchange.clock.set(running.exchange.clock.now() + ms)


@pytest.mark.parametrize("exchange", ["binance", "binanceus"])
async def test_ccxt_watches_every_trade_once_and_in_order(exchange: str) -> None:
    async with (
        simulated(now=NOW, speed=1, live_rate=200) as running,
        client(running.url, exchange, pro=True, newUpdates=True) as venue,
    ):
        seen: list[Any] = []
        while len(seen) < 300:
            seen += await venue.watch_trades("BTC/USDT")
        real = {trade["id"]: trade for trade in await truth(running, NOW)}
        assert [int(trade["id"]) for trade in seen] == list(range(int(seen[0]["id"]), int(seen[-1]["id"]) + 1))
        for trade in seen:
            wanted = real[int(trade["id"])]
            assert {name: trade[name] for name in ("timestamp", "side", "price", "amount")} == {
                name: wanted[name] for name in ("timestamp", "side", "price", "amount")
            }
        assert await venue.un_watch_trades("BTC/USDT")
        events = [(entry.event, entry.streams) for entry in running.journal.since(0) if entry.streams]
        assert events == [("subscribe", ["btcusdt@trade"]), ("unsubscribe", ["btcusdt@trade"])]


async def test_ccxt_keeps_a_book_that_is_the_snapshot_of_the_same_update() -> None:
    async with (
        simulated(now=NOW, speed=1, live_rate=50) as running,
        client(running.url, pro=True) as venue,
        aiohttp.ClientSession() as http,
    ):
        book = await venue.watch_order_book("BTC/USDT")
        first = book["nonce"]
        while book["nonce"] < first + 20 * 16:
            book = await venue.watch_order_book("BTC/USDT")
        # Let the clock stand, and the last difference arrive.
        running.exchange.clock.set(running.exchange.clock.now(), 0)
        async with http.get(f"{running.url}/api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=5000") as response:
            snapshot = await response.json()
        while book["nonce"] < snapshot["lastUpdateId"]:
            book = await asyncio.wait_for(venue.watch_order_book("BTC/USDT"), 60)
        assert book["nonce"] == snapshot["lastUpdateId"]
        for side in ("bids", "asks"):
            assert [list(level[:2]) for level in book[side]] == [[*map(float, level)] for level in snapshot[side]]


async def test_ccxt_watches_candles_and_tickers() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, client(running.url, pro=True) as venue:
        async with asyncio.TaskGroup() as group:
            candles = group.create_task(venue.watch_ohlcv("BTC/USDT", "1m"))
            ticker = group.create_task(venue.watch_ticker("BTC/USDT"))
            best = group.create_task(venue.watch_bids_asks(["BTC/USDT"]))
        assert candles.result()[-1][0] == NOW // MINUTE * MINUTE
        assert ticker.result()["last"] > 0
        assert best.result()["BTC/USDT"]["bid"] < best.result()["BTC/USDT"]["ask"]


async def test_a_clock_that_is_moved_sends_exactly_the_trades_in_between() -> None:
    async with simulated(now=NOW, live_rate=3) as running, socket(running) as connection:
        assert await ask(connection, "SUBSCRIBE", "btcusdt@trade", "ethusdt@trade") == {"result": None, "id": 1}
        advance(running, 10_000)
        expected = {
            symbol.replace("/", ""): [trade["id"] for trade in await truth(running, NOW + 1, symbol)]
            for symbol in ("BTC/USDT", "ETH/USDT")
        }
        got: dict[str, list[int]] = {name: [] for name in expected}
        for _ in range(sum(map(len, expected.values()))):
            message = await connection.receive_json(timeout=60)
            got[message["s"]].append(message["t"])
        assert got == expected


async def test_candles_are_sent_open_and_once_more_when_they_are_closed() -> None:
    async with simulated(now=NOW) as running, socket(running, "stream?streams=btcusdt@kline_1m") as connection:
        sent: list[Any] = []
        for _ in range(2):
            advance(running, MINUTE)
            while not sent or sent[-1]["x"] or sent[-1]["t"] != running.exchange.clock.now() // MINUTE * MINUTE:
                message = await connection.receive_json(timeout=60)
                assert message["stream"] == "btcusdt@kline_1m"
                sent.append(message["data"]["k"])
        closed = [candle for candle in sent if candle["x"]]
        assert [candle["t"] for candle in closed] == [NOW // MINUTE * MINUTE, NOW // MINUTE * MINUTE + MINUTE]
        for candle in closed:
            inside = [
                trade for trade in await truth(running, candle["t"]) if candle["t"] <= trade["timestamp"] <= candle["T"]
            ]
            assert [candle["f"], candle["L"], candle["n"]] == [inside[0]["id"], inside[-1]["id"], len(inside)]
            assert float(candle["c"]) == inside[-1]["price"]
            assert float(candle["v"]) == pytest.approx(sum(trade["amount"] for trade in inside))


async def test_differences_of_the_book_follow_one_another_at_both_cadences() -> None:
    async with simulated(now=NOW, live_rate=30) as running, socket(running, "stream") as connection:
        await ask(connection, "SUBSCRIBE", "btcusdt@depth@100ms", "btcusdt@depth")
        sent: dict[str, list[Any]] = {"btcusdt@depth@100ms": [], "btcusdt@depth": []}
        for _ in range(30):
            advance(running, 100)
            before = len(sent["btcusdt@depth@100ms"])
            while len(sent["btcusdt@depth@100ms"]) == before:
                message = await connection.receive_json(timeout=60)
                sent[message["stream"]].append(message["data"])
        fast, slow = sent.values()
        assert len(fast) == 30
        for events in (fast, slow):
            assert all(b["U"] == a["u"] + 1 for a, b in pairwise(events))
        assert len(slow) in (2, 3)


async def test_the_protocol_answers_as_binance_does() -> None:
    async with simulated(now=NOW) as running, socket(running, "ws/btcusdt@trade") as connection:
        assert await ask(connection, "LIST_SUBSCRIPTIONS") == {"result": ["btcusdt@trade"], "id": 1}
        assert await ask(connection, "SUBSCRIBE", "btcusdt@aggTrade", "nosuch@trade") == {"result": None, "id": 1}
        assert await ask(connection, "UNSUBSCRIBE", "btcusdt@trade") == {"result": None, "id": 1}
        assert (await ask(connection, "LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@aggTrade", "nosuch@trade"]
        assert (await ask(connection, "SHOUT"))["error"]["code"] == 2
        await connection.send_str("{")
        assert (await connection.receive_json())["error"]["code"] == 3
        await connection.ping(b"x")
        assert (await ask(connection, "SET_PROPERTY", "combined"))["error"]["code"] == 2


async def test_a_cut_ends_open_sockets_and_refuses_new_ones_while_trades_go_on() -> None:
    async with simulated(now=NOW, live_rate=50) as running, socket(running) as connection:
        await ask(connection, "SUBSCRIBE", "btcusdt@trade")
        await order(running, match="stream", kind="ws_cut", seconds=0.5)
        # Aborted, not closed: no close frame comes.
        assert (await connection.receive(timeout=60)).data in (None, 1006)
        with pytest.raises(aiohttp.ClientError):
            async with socket(running):
                pass
        advance(running, 1_000)
        assert len(await truth(running, NOW + 1)) > 20
        async with asyncio.timeout(60):
            while True:
                try:
                    async with socket(running) as again:
                        assert (await ask(again, "LIST_SUBSCRIPTIONS"))["result"] == []
                    break
                except aiohttp.ClientError:
                    continue


async def test_ccxt_is_told_of_a_cut() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, client(running.url, pro=True) as venue:
        await venue.watch_trades("BTC/USDT")
        await order(running, kind="ws_cut", seconds=0.2)
        with pytest.raises(NetworkError):
            while True:
                await asyncio.wait_for(venue.watch_trades("BTC/USDT"), 60)


async def test_a_malformed_frame_comes_between_whole_ones() -> None:
    async with simulated(now=NOW, live_rate=20) as running, socket(running) as connection:
        await ask(connection, "SUBSCRIBE", "btcusdt@trade")
        await order(running, kind="ws_malformed", text='{"e":"trade",', count=2)
        for _ in range(2):
            text = await connection.receive_str(timeout=60)
            with pytest.raises(json.JSONDecodeError):
                json.loads(text)
        advance(running, 1_000)
        assert (await connection.receive_json(timeout=60))["e"] == "trade"


@pytest.mark.parametrize(("mode", "size"), [("fragments", 3), ("torn", 5)])
async def test_split_frames_carry_the_same_messages(mode: str, size: int) -> None:
    async with simulated(now=NOW, live_rate=20) as running, socket(running) as connection:
        await ask(connection, "SUBSCRIBE", "btcusdt@trade")
        await order(running, kind="ws_split", mode=mode, size=size)
        got: list[int] = []
        for second in range(1, 4):
            advance(running, 1_000)
            # Of a torn write the last frame is whole only with the next one.
            expected = [trade["id"] for trade in await truth(running, NOW + 1)]
            while len(got) < len(expected) - (mode == "torn"):
                got.append((await connection.receive_json(timeout=60))["t"])
            assert got == expected[: len(got)], second


async def test_a_silent_socket_stays_open_and_says_nothing_until_the_fault_is_called_off() -> None:
    async with simulated(now=NOW, live_rate=5) as running, socket(running) as connection:
        await ask(connection, "SUBSCRIBE", "btcusdt@trade")
        running.faults.order(Fault("ws_silent"))
        advance(running, 1_000)
        with pytest.raises(TimeoutError):
            await connection.receive(timeout=0.2)
        assert not connection.closed
        running.faults.clear()
        advance(running, 1_000)
        assert (await connection.receive_json(timeout=60))["T"] > NOW + 1_000


async def test_messages_that_share_a_write_are_all_read_at_ten_thousand_a_second() -> None:
    async with simulated(now=NOW, live_rate=10_000) as running, socket(running) as connection:
        await ask(connection, "SUBSCRIBE", "btcusdt@trade")
        got: list[int] = []
        for step in range(1, 11):
            advance(running, 100)
            expected = await truth(running, NOW + 1)
            while len(got) < len(expected):
                got.append((await connection.receive_json(timeout=60))["t"])
            assert got[-1] == expected[-1]["id"], step
        assert got == [trade["id"] for trade in expected]
        assert len(got) > 9_000
