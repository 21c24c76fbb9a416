"""Listings of thousands of markets, loaded by ccxt from a server on loopback while the loop has other work."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from ccxt.base import errors

from support.web import served
from tickwire.exchange import opening
from tickwire.exchange.ccxt_patches import exact_json, large_json, market_loading
from tickwire.settings import ExchangeSettings

pytestmark = pytest.mark.actors

MANY = 8_000
SHORT_LEASE_S = 1.0


def binance_listing(count: int) -> dict[str, Any]:
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.00", "stepSize": "0.00001"},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00", "maxQty": "107.9", "stepSize": "0.00"},
        {"filterType": "NOTIONAL", "minNotional": "5.0", "applyMinToMarket": True, "avgPriceMins": 5},
    ]
    return {
        "symbols": [
            {
                "symbol": f"C{index}USDT",
                "status": "TRADING",
                "baseAsset": f"C{index}",
                "quoteAsset": "USDT",
                "baseAssetPrecision": 8,
                "quotePrecision": 8,
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": False,
                "orderTypes": ["LIMIT", "MARKET"],
                "filters": filters,
                "permissions": [],
                "permissionSets": [["SPOT", "MARGIN"]],
            }
            for index in range(count)
        ]
    }


def okx_listing(count: int) -> dict[str, Any]:
    return {
        "code": "0",
        "msg": "",
        "data": [
            {
                "instType": "SPOT",
                "instId": f"C{index}-USDT",
                "baseCcy": f"C{index}",
                "quoteCcy": "USDT",
                "tickSz": "0.01",
                "lotSz": "0.00001",
                "minSz": "0.0001",
                "state": "live",
                "listTime": "1548133413000",
                "ctVal": "",
                "ctMult": "",
                "uly": "",
                "instFamily": "",
                "expTime": "",
                "lever": "10",
            }
            for index in range(count)
        ],
    }


LISTINGS = {"binance": binance_listing, "okx": okx_listing}


class Server:
    """Answers requests for a listing with `body`; counts them."""

    def __init__(self) -> None:
        self.body = b""
        self.requests = 0
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def handle(self, request: web.Request) -> web.Response:
        if "exchangeInfo" in request.path or request.query.get("instType") == "SPOT":
            self.requests += 1
            self.asked.set()
            await self.may_answer.wait()
            return web.Response(body=self.body, content_type="application/json")
        return web.json_response({"code": "0", "data": [], "symbols": []})


@asynccontextmanager
async def opened(exchange: str, *, pro: bool) -> AsyncIterator[tuple[Server, Any]]:
    server = Server()
    table = {"enableRateLimit": False, "timeout_on_exit": 0, "options": {"fetchMarkets": {"types": ["spot"]}}}
    async with served(server.handle) as url:
        settings = ExchangeSettings(gateway=url, ccxt=table)
        async with opening.open_exchange(exchange, settings, pro=pro) as venue:
            yield server, venue


@asynccontextmanager
async def turns() -> AsyncIterator[list[float]]:
    """The CPU time (s) of this process between turns of the loop: what other processes do is not in it."""
    spent: list[float] = []

    async def turn() -> None:
        before = time.process_time()
        while True:
            await asyncio.sleep(0)
            now = time.process_time()
            spent.append(now - before)
            before = now

    # Nor is what other tests of this process have made looked through for garbage.
    gc.freeze()
    async with asyncio.TaskGroup() as group:
        turning = group.create_task(turn())
        yield spent
        turning.cancel()


@pytest.mark.parametrize("pro", [False, True], ids=["rest", "pro"])
@pytest.mark.parametrize("exchange", LISTINGS)
async def test_the_loop_turns_while_thousands_of_markets_are_loaded_and_loaded_again(exchange: str, pro: bool) -> None:
    opening.preload(pro=pro)
    async with opened(exchange, pro=pro) as (server, venue):
        for count in (MANY, MANY + 1):
            server.body = json.dumps(LISTINGS[exchange](count)).encode()
            async with turns() as spent:
                found = await venue.load_markets(count != MANY)
            assert len(found) == count
            assert found is venue.markets
            assert venue.market(f"C{count - 1}/USDT")["precision"] == {**found["C0/USDT"]["precision"]}
            assert [market["symbol"] for market in venue.markets_by_id[found["C7/USDT"]["id"]]] == ["C7/USDT"]
            assert len(venue.symbols) == len(venue.ids) == count
            assert {"C0", "USDT"} <= venue.currencies.keys()
            assert max(spent) < SHORT_LEASE_S / 3
        assert server.requests == 2


async def test_an_exchange_is_used_while_its_markets_are_loaded_again() -> None:
    async with opened("binance", pro=True) as (server, venue):
        server.body = json.dumps(binance_listing(2)).encode()
        old = await venue.load_markets()
        server.asked.clear()
        server.may_answer.clear()
        server.body = json.dumps(binance_listing(3)).encode()
        async with asyncio.TaskGroup() as group:
            loading = group.create_task(venue.load_markets(True))
            await server.asked.wait()
            venue.options["set meanwhile"] = True
            assert venue.markets is old
            server.may_answer.set()
        assert list(loading.result()) == list(venue.markets) == ["C0/USDT", "C1/USDT", "C2/USDT"]
        assert venue.options["set meanwhile"] is True


@pytest.mark.parametrize("exchange", LISTINGS)
async def test_a_listing_that_cannot_be_loaded_leaves_the_markets_as_they_were(exchange: str) -> None:
    async with opened(exchange, pro=False) as (server, venue):
        server.body = json.dumps(LISTINGS[exchange](2)).encode()
        old = await venue.load_markets()
        server.body = b"<html>busy</html>"
        with pytest.raises(errors.OperationFailed):
            await venue.load_markets(True)
        assert venue.markets is old
        server.body = json.dumps(LISTINGS[exchange](3)).encode()
        assert len(await venue.load_markets(True)) == 3


async def test_loading_markets_can_be_cancelled() -> None:
    async with opened("binance", pro=False) as (server, venue):
        server.may_answer.clear()
        loading = asyncio.create_task(venue.load_markets())
        await server.asked.wait()
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        server.may_answer.set()
        server.body = json.dumps(binance_listing(1)).encode()
        assert list(await venue.load_markets()) == ["C0/USDT"]


@pytest.mark.parametrize("exchange", LISTINGS)
async def test_a_large_listing_is_parsed_outside_the_thread_of_the_loop(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    sizes: list[int] = []
    sliced, at_once = large_json.loads, exact_json.loads

    def loads(text: str) -> Any:
        threads.append(threading.current_thread())
        return sliced(text)

    def loads_at_once(text: str | bytes) -> Any:
        sizes.append(len(text))
        return at_once(text)

    monkeypatch.setattr(large_json, "loads", loads)
    monkeypatch.setattr(exact_json, "loads", loads_at_once)
    async with opened(exchange, pro=False) as (server, venue):
        server.body = json.dumps(LISTINGS[exchange](1000)).encode()
        assert len(await venue.load_markets()) == 1000
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
    assert max(sizes, default=0) < large_json.LARGE


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"code": "50011", "msg": "Too Many Requests", "data": ["x" * 100_000]}, errors.RateLimitExceeded),
        ({"code": "50001", "msg": "Service unavailable", "data": ["x" * 100_000]}, errors.ExchangeNotAvailable),
        ('{"code": "0", "data": [' + "1," * 50_000, errors.BadResponse),
    ],
    ids=["limited", "unavailable", "breaks off"],
)
async def test_an_error_in_a_large_answer_is_the_venues_own(body: Any, error: type[Exception]) -> None:
    async with opened("okx", pro=False) as (server, venue):
        server.body = (body if isinstance(body, str) else json.dumps(body)).encode()
        with pytest.raises(error):
            await venue.load_markets()
        server.body = json.dumps(okx_listing(3)).encode()
        assert len(await venue.load_markets()) == 3


def test_two_listings_at_once_restore_the_interpreters_switch_interval() -> None:
    before, turns = sys.getswitchinterval(), market_loading.ShortTurns()
    first, second = ExitStack(), ExitStack()
    first.enter_context(turns.within())
    second.enter_context(turns.within())
    first.close()
    assert sys.getswitchinterval() == pytest.approx(market_loading.SWITCH_S)
    second.close()
    assert sys.getswitchinterval() == pytest.approx(before)
