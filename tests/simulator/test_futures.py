"""USD-M futures: unmodified ccxt and ccxt.pro, history and live, and the forms that are the futures' own."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from simulator.asking import get
from support.simulated import client, simulated

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
MINUTE = 60_000
SYMBOL = "BTC/USDT:USDT"
AGGREGATED = {name: {"name": "aggTrade"} for name in ("watchTrades", "watchTradesForSymbols")}


@pytest.mark.parametrize("exchange", ["binanceusdm", "binance"])
async def test_ccxt_reads_the_history_of_a_perpetual(exchange: str) -> None:
    async with simulated(now=NOW) as running, client(running.url, exchange) as venue:
        market = (await venue.load_markets())[SYMBOL]
        assert (market["linear"], market["swap"], market["active"], market["settle"]) == (True, True, True, "USDT")
        assert (market["precision"]["price"], market["precision"]["amount"]) == (0.01, 0.00001)
        assert "ETH/BTC:BTC" not in venue.markets
        since = NOW // MINUTE * MINUTE - 900 * MINUTE
        candles = await venue.fetch_ohlcv(SYMBOL, "1m", since, 1000)
        truth = await get(running, "_sim/truth/candles", symbol="BTC/USDT", timeframe="1m", since=since)
        assert candles[:-1] == truth
        assert len(truth) == 900
        longest = await venue.fapiPublicGetKlines({"symbol": "BTCUSDT", "interval": "1m", "limit": 1500})
        assert len(longest) == 1500
        trades = await venue.fetch_trades(SYMBOL, limit=1000)
        first = int(trades[0]["id"])
        again = await venue.fetch_trades(SYMBOL, limit=1000, params={"fromId": first})
        real = await get(running, "_sim/truth/aggregates", symbol="BTCUSDT", fromId=first, limit=1000)
        for each in (trades, again):
            assert [(int(trade["id"]), trade["price"], trade["amount"]) for trade in each] == [
                (trade["id"], trade["price"], trade["amount"]) for trade in real
            ]
        book = await venue.fetch_order_book(SYMBOL, 10)
        assert len(book["bids"]) == len(book["asks"]) == 10
        assert book["timestamp"] == NOW // 100 * 100
        assert (await venue.fetch_ticker(SYMBOL))["last"] == candles[-1][4]
        assert (await venue.fetch_bids_asks([SYMBOL]))[SYMBOL]["bid"] == book["bids"][0][0]
        assert await venue.fetch_time({"type": "swap"}) == NOW


@pytest.mark.parametrize("exchange", ["binanceusdm", "binance"])
async def test_ccxt_watches_a_perpetual(exchange: str) -> None:
    async with (
        simulated(now=NOW, speed=1, live_rate=100) as running,
        client(running.url, exchange, pro=True, newUpdates=True, options=AGGREGATED) as venue,
    ):
        async with asyncio.TaskGroup() as group:
            watched = [
                group.create_task(each)
                for each in (
                    venue.watch_ohlcv(SYMBOL, "1m"),
                    venue.watch_ticker(SYMBOL),
                    venue.watch_bids_asks([SYMBOL]),
                )
            ]
        candles, ticker, best = (each.result() for each in watched)
        assert candles[-1][0] == NOW // MINUTE * MINUTE
        assert ticker["last"] > 0
        assert best[SYMBOL]["bid"] < best[SYMBOL]["ask"]
        seen: list[Any] = []
        while len(seen) < 100:
            seen += await venue.watch_trades(SYMBOL)
        first = int(seen[0]["id"])
        truth = await get(running, "_sim/truth/aggregates", symbol="BTCUSDT", fromId=first, limit=len(seen))
        assert [(int(each["id"]), each["price"], each["amount"]) for each in seen] == [
            (each["id"], each["price"], each["amount"]) for each in truth
        ]
        paths = {entry.path for entry in running.journal.since(0) if entry.streams}
        assert {path.split("/")[1] for path in paths} == {"market", "public"}


async def test_ccxt_keeps_the_book_of_a_perpetual_through_its_own_chain_of_updates() -> None:
    async with (
        simulated(now=NOW, speed=1, live_rate=50) as running,
        client(running.url, "binanceusdm", pro=True) as venue,
    ):
        book = await venue.watch_order_book(SYMBOL)
        first = book["nonce"]
        while book["nonce"] < first + 20 * 16:
            book = await venue.watch_order_book(SYMBOL)
        running.exchange.clock.set(running.exchange.clock.now(), 0)
        snapshot = await get(running, "fapi.binance.com/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
        while book["nonce"] < snapshot["lastUpdateId"]:
            book = await asyncio.wait_for(venue.watch_order_book(SYMBOL), 60)
        for side in ("bids", "asks"):
            assert [list(level[:2]) for level in book[side]] == [[*map(float, level)] for level in snapshot[side]]


async def test_differences_name_the_update_that_they_follow() -> None:
    async with (
        simulated(now=NOW, live_rate=30) as running,
        aiohttp.ClientSession() as http,
        http.ws_connect(
            f"{running.url.replace('http', 'ws')}/fstream.binance.com/public/stream?streams="
            "btcusdt@depth@100ms/btcusdt@depth5/btcusdt@bookTicker/ethbtc@depth/btcusdt@depth@500ms"
        ) as connection,
    ):
        events: dict[str, list[Any]] = {}
        while len(events.get("btcusdt@depth@500ms", [])) < 4:
            running.exchange.clock.set(running.exchange.clock.now() + 100)
            # Differences of every frame are the heartbeat.
            while True:
                message = await connection.receive_json(timeout=60)
                events.setdefault(message["stream"], []).append(message["data"])
                if message["stream"] == "btcusdt@depth@100ms":
                    break
        for name in ("btcusdt@depth@100ms", "btcusdt@depth@500ms"):
            assert all(b["pu"] == a["u"] and b["U"] > b["pu"] + 1 for a, b in pairwise(events[name]))
            assert all(event["T"] == event["E"] and event["U"] <= event["u"] for event in events[name])
        assert {len(event["b"]) for event in events["btcusdt@depth5"]} == {5}
        assert {event["e"] for event in events["btcusdt@bookTicker"]} == {"bookTicker"}
        assert all(event["T"] and event["E"] for event in events["btcusdt@bookTicker"])
        assert "ethbtc@depth" not in events


async def test_wrong_requests_get_the_answers_of_the_futures() -> None:
    async with simulated(now=NOW) as running:
        host = "fapi.binance.com/fapi/v1"
        assert (await get(running, f"{host}/klines", symbol="ETHBTC", interval="1m"))["code"] == -1121
        assert (await get(running, f"{host}/depth", symbol="BTCUSDT", limit=7))["code"] == -4021
        assert {each["symbol"][-4:] for each in await get(running, f"{host}/ticker/24hr")} == {"USDT"}
