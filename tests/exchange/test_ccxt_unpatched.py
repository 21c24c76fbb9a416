"""What ccxt does by itself and `exchange.ccxt_patches` changes: one that behaves otherwise needs its patch no more."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ccxt.async_support
import ccxt.pro
import pytest
from aiohttp import web
from ccxt.async_support.base.ws.client import Client
from ccxt.base import errors

from support.web import served
from tickwire.exchange import opening
from tickwire.exchange.ccxt_patches.observed_exchange import LONGEST_REDIAL_S
from tickwire.settings import ExchangeSettings

pytestmark = pytest.mark.pure

NOWHERE = "ws://127.0.0.1:9/nowhere"
LONG_ID = '{"id":105005170342731954128700096}'
"""An id of htx."""
GLOBALS = f"""
import asyncio, sys, time
import ccxt.pro
from aiohttp import WSMessage, WSMsgType
from ccxt.async_support.base import throttler
from ccxt.async_support.base.ws import client
print([f"{{name}}.kraken" in sys.modules for name in ("ccxt", "ccxt.async_support", "ccxt.pro")])
print(type(client.json_parser.loads('{LONG_ID}')["id"]).__name__)
print(throttler.time is time.time)
async def pong():
    socket = client.Client("{NOWHERE}", *[lambda *_: None] * 4)
    socket.handle_message(WSMessage(WSMsgType.PONG, b"", None))
    return socket
socket = asyncio.run(pong())
print(abs(socket.lastPong - time.time() * 1000) < 60_000)
"""
MARKET = {
    "id": "BTCUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "baseId": "BTC", "quoteId": "USDT",
    "type": "spot", "spot": True, "active": True,
}  # fmt: skip


def test_imports_json_and_clocks_of_ccxt_are_what_the_patches_change() -> None:
    """lazy_packages, exact_json and monotonic_time, which patch ccxt as a whole: in a fresh interpreter."""
    printed = subprocess.run([sys.executable, "-c", GLOBALS], check=True, capture_output=True, text=True).stdout
    # Every exchange is imported; the id lost its digits; the throttler and the pong have the wall clock.
    assert printed.split("\n") == ["[True, True, True]", "float", "True", "True", ""]


# ---- rest_traps, exact_json, market_loading


@asynccontextmanager
async def binance(body: str, status: int = 200, **headers: str) -> AsyncIterator[tuple[Any, list[str]]]:
    """ccxt's own class, and the paths that were requested."""
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(text=body, status=status, headers=headers, content_type="application/json")

    async with served(handler) as url:
        exchange = ccxt.async_support.binance({"enableRateLimit": False, "timeout_on_exit": 0})
        exchange.urls["api"]["public"] = url
        exchange.set_markets([exchange.safe_market_structure(MARKET)])
        try:
            yield exchange, paths
        finally:
            await exchange.close()


@pytest.mark.parametrize("body", ['[[1500000000000,"1","2","0.5","1.5","10",15', "<html>busy</html>", ""])
async def test_a_broken_page_is_an_empty_one(body: str) -> None:
    async with binance(body) as (exchange, _):
        assert await exchange.fetch_ohlcv("BTC/USDT", "1m", 1_500_000_000_000, 10) == []


@pytest.mark.parametrize("status", [403, 451])
async def test_a_refusal_for_good_is_an_error_that_is_retried(status: int) -> None:
    async with binance("no", status) as (exchange, _):
        with pytest.raises(errors.ExchangeNotAvailable):
            await exchange.fetch_ohlcv("BTC/USDT", "1m", 1_500_000_000_000, 10)


async def test_a_retry_after_is_ignored() -> None:
    async with binance('{"code":-1003,"msg":"slow down"}', 429, **{"Retry-After": "600"}) as (exchange, paths):
        async with asyncio.timeout(60):
            for _ in range(2):
                with pytest.raises(errors.OperationFailed):
                    await exchange.fetch_ohlcv("BTC/USDT", "1m", 1_500_000_000_000, 10)
        assert len(paths) == 2


async def test_an_integer_beyond_64_bits_loses_digits() -> None:
    assert isinstance(ccxt.async_support.binance().on_json_response(LONG_ID)["id"], float)


async def test_markets_are_parsed_by_the_thread_of_the_loop() -> None:
    """`market_loading` does it in another one."""

    async def thread_of(exchange: Any) -> int:
        threads: list[int] = []

        async def fetch_markets(*_: Any) -> list[Any]:
            threads.append(threading.get_ident())
            return [exchange.safe_market_structure(MARKET)]

        exchange.fetch_markets = fetch_markets
        exchange.has["fetchCurrencies"] = False
        await exchange.load_markets()
        return threads[0]

    exchange = ccxt.async_support.binance()
    assert await thread_of(exchange) == threading.get_ident()
    await exchange.close()
    async with opening.open_exchange("binance", ExchangeSettings()) as patched:
        assert await thread_of(patched) != threading.get_ident()


# ---- socket_hooks


def client(received: Any = lambda *_: None) -> Client:
    return Client(NOWHERE, received, *[lambda *_: None] * 3)


async def test_of_two_results_in_one_turn_of_the_loop_the_second_is_lost() -> None:
    socket = client()
    found = []

    async def consume() -> None:
        while True:
            found.append(await socket.future("trades"))

    consuming = asyncio.create_task(consume())
    await asyncio.sleep(0)
    socket.resolve("first", "trades")
    socket.resolve("second", "trades")
    while "trades" not in socket.futures:
        await asyncio.sleep(0)
    socket.resolve("third", "trades")
    while len(found) < 2:
        await asyncio.sleep(0)
    consuming.cancel()
    assert found == ["first", "third"]


async def test_an_exception_of_a_handler_leaves_the_client() -> None:
    """The receive loop ends by it while the socket stays open."""

    def handle(*_: Any) -> None:
        raise KeyError("price")

    with pytest.raises(KeyError):
        client(handle).handle_text_or_binary_message('{"a":1}')


# ---- observed_exchange


async def test_a_url_that_failed_often_is_not_connected_to_for_half_a_minute() -> None:
    exchange = ccxt.pro.binance()
    for _ in range(10):
        socket = client()
        socket.dial_failed = True
        exchange.on_error(socket, errors.NetworkError("refused"))
    assert exchange.ws_dial_delay(NOWHERE) > LONGEST_REDIAL_S


async def test_an_error_frame_about_no_request_fails_every_await_of_the_socket() -> None:
    exchange = ccxt.pro.binance()
    socket = client()
    awaits = [socket.future("one"), socket.future("two")]
    exchange.handle_ws_error(socket, {"error": {"code": 2, "msg": "Invalid request"}})
    assert [type(each.exception()) for each in awaits] == [errors.ExchangeError] * 2


async def test_a_snapshot_is_fetched_for_every_book_that_is_subscribed() -> None:
    exchange = ccxt.pro.binance()
    exchange.set_markets([exchange.safe_market_structure(MARKET)])
    spawned: list[str] = []
    exchange.spawn = lambda method, *_: spawned.append(method.__name__)
    subscription = {"symbols": ["BTC/USDT"], "symbol": "BTC/USDT", "limit": None, "id": 1, "type": "spot"}
    exchange.handle_order_book_subscription(client(), {"result": None, "id": 1}, subscription)
    assert spawned == ["fetch_order_book_snapshot"]


# ---- caches


def deribit_snapshot(*bids: float) -> dict[str, Any]:
    levels = [["new", price, 1.0] for price in bids]
    data = {"type": "snapshot", "timestamp": 1, "instrument_name": "BTC_USDC", "change_id": 1}
    return {"params": {"channel": "book.BTC_USDC.raw", "data": {**data, "bids": levels, "asks": []}}}


def bitget_snapshot(*bids: float) -> dict[str, Any]:
    data = {"ts": "1", "bids": [[str(price), "1"] for price in bids], "asks": []}
    return {"action": "snapshot", "arg": {"instType": "SPOT", "channel": "books", "instId": "BTC_USDC"}, "data": [data]}


@pytest.mark.parametrize(("name", "snapshot"), [("deribit", deribit_snapshot), ("bitget", bitget_snapshot)])
async def test_a_new_snapshot_is_merged_into_the_old_book(name: str, snapshot: Any) -> None:
    exchange = getattr(ccxt.pro, name)()
    market = {**MARKET, "id": "BTC_USDC", "symbol": "BTC/USDC", "quote": "USDC", "quoteId": "USDC"}
    exchange.set_markets([exchange.safe_market_structure(market)])
    socket = client()
    exchange.handle_order_book(socket, snapshot(100.0, 99.0))
    exchange.handle_order_book(socket, snapshot(98.0))
    assert [level[0] for level in exchange.orderbooks["BTC/USDC"]["bids"]] == [100.0, 99.0, 98.0]


# ---- stream_places


async def test_a_place_of_a_stream_is_not_released_by_unsubscribing() -> None:
    exchange = ccxt.pro.binance({"options": {"streamLimits": {"spot": 1}, "subscriptionLimitByStream": {"spot": 2}}})
    socket = client()
    for name in ("one", "two"):
        exchange.stream("spot", name)
        socket.subscriptions[name] = True
        exchange.clean_unsubscription(socket, name, f"unsubscribe:{name}")
    assert not [name for name in ("one", "two") if name in socket.subscriptions]
    with pytest.raises(errors.BadRequest, match="limit of subscriptions"):
        exchange.stream("spot", "three")
