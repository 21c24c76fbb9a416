"""Faults on command, as ccxt meets them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import pytest
from ccxt.base import errors

from simulator.asking import get, order
from support.simulated import client, simulated
from tickwire.simulator.faults import Fault
from tickwire.simulator.server import Simulator

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
MINUTE = 60_000


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("status", code=429, retry_after=1, body={"code": -1003, "msg": "Way too many requests."}),
         errors.DDoSProtection),
        (Fault("status", code=418, retry_after=1), errors.DDoSProtection),
        (Fault("status", code=500), errors.ExchangeNotAvailable),
        (Fault("status", code=502, body="<html>Bad gateway</html>"), errors.ExchangeNotAvailable),
        (Fault("status", code=503), errors.ExchangeNotAvailable),
        (Fault("status", code=400, body={"code": -1001, "msg": "Internal error."}), errors.OperationFailed),
        (Fault("status", code=400, body={"code": -1021, "msg": "Timestamp ahead."}), errors.InvalidNonce),
        (Fault("status", code=400, body={"code": -1121, "msg": "Invalid symbol."}), errors.BadSymbol),
        (Fault("status", code=401, body={"code": -2014, "msg": "API-key format invalid."}), errors.AuthenticationError),
        (Fault("status", code=400, body={"code": -1100, "msg": "Illegal characters."}), errors.BadRequest),
        (Fault("status", code=451, body={"code": 0, "msg": "Service unavailable from a restricted location"}),
         errors.BaseError),
        # aiohttp's client asks once more by itself when a connection drops.
        (Fault("drop", count=2), errors.NetworkError),
        (Fault("hang"), errors.RequestTimeout),
    ],
)  # fmt: skip
async def test_ccxt_raises_what_the_fault_means_and_recovers_after_it(fault: Fault, error: type[Exception]) -> None:
    async with simulated(now=NOW) as running, client(running.url, timeout=500) as venue:
        await venue.load_markets()
        orders = {name: getattr(fault, name) for name in fault.__struct_fields__}
        orders |= {"match": "klines", "count": fault.count or 1}
        await order(running, **orders)
        with pytest.raises(error):
            await venue.fetch_ohlcv("BTC/USDT", "1m", NOW - 10 * MINUTE, 10)
        assert len(await venue.fetch_ohlcv("BTC/USDT", "1m", NOW - 10 * MINUTE, 10)) == 10


async def test_a_truncated_answer_is_half_of_the_json_and_ccxt_takes_it_for_an_empty_page() -> None:
    async with simulated(now=NOW) as running, client(running.url) as venue:
        whole = str(await venue.publicGetKlines({"symbol": "BTCUSDT", "interval": "1m", "limit": 3}))
        await order(running, match="klines", kind="truncated")
        half = await venue.publicGetKlines({"symbol": "BTCUSDT", "interval": "1m", "limit": 3})
        assert isinstance(half, str)
        assert 0 < len(half) < len(whole)
        # Whoever relies on ccxt has to look at the text itself.
        assert await venue.fetch_ohlcv("BTC/USDT", "1m", NOW - 10 * MINUTE, 10) == []


async def pages(running: Simulator, **query: Any) -> Any:
    return await get(running, "api.binance.com/api/v3/klines", **{"symbol": "BTCUSDT", "interval": "1m"} | query)


async def test_retry_after_is_sent_and_the_status_is_logged() -> None:
    async with simulated(now=NOW) as running, aiohttp.ClientSession() as http:
        await order(running, match="klines", kind="status", code=429, retry_after=7, count=1)
        async with http.get(f"{running.url}/api.binance.com/api/v3/klines") as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert [entry.status for entry in running.journal.since(0)] == [429]


async def test_pages_can_be_empty_short_or_always_the_same() -> None:
    async with simulated(now=NOW) as running:
        for kind, extra, opens in (
            ("empty", {}, []),
            ("short", {"rows": 2}, [0, 1]),
            ("same_last", {}, [4]),
        ):
            await order(running, match="klines", kind=kind, count=1, **extra)
            since = NOW // MINUTE * MINUTE - 10 * MINUTE
            page = await pages(running, startTime=since, limit=5)
            assert [(row[0] - since) // MINUTE for row in page] == opens
            assert len(await pages(running, startTime=since, limit=5)) == 5


async def test_a_delayed_answer_comes_late_and_others_do_not() -> None:
    async with simulated(now=NOW) as running:
        await order(running, match="symbol=BTCUSDT", kind="delay", seconds=3, count=1)
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            late = group.create_task(pages(running))
            await pages(running, symbol="ETHUSDT")
            assert not late.done()
        assert time.monotonic() - started >= 3
        assert len(late.result()) == 500


async def test_a_request_left_without_an_answer_is_logged_with_status_0() -> None:
    async with simulated(now=NOW) as running:
        await order(running, match="klines", kind="hang", count=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pages(running), 0.1)
        await order(running, match="klines", kind="drop", count=2)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await pages(running)
        await pages(running)
        assert [entry.status for entry in running.journal.since(0)] == [0, 0, 0, 200]


async def test_an_unknown_fault_is_refused_in_one_line() -> None:
    async with (
        simulated(now=NOW) as running,
        aiohttp.ClientSession() as http,
        http.post(f"{running.url}/_sim/faults", json={"kind": "earthquake"}) as response,
    ):
        assert response.status == 400
        message = (await response.json())["error"]
        assert "earthquake" in message
        assert "ws_cut" in message


async def test_faults_are_listed_and_called_off() -> None:
    async with simulated(now=NOW) as running, aiohttp.ClientSession() as http:
        await order(running, match="klines", kind="empty")
        assert await pages(running) == []
        async with http.delete(f"{running.url}/_sim/faults") as response:
            assert await response.json() == []
        assert len(await pages(running)) == 500
