"""Limits of a service: concurrent requests, waiting requests, and refusal of those beyond."""

from __future__ import annotations

import asyncio

import pytest

from tickwire.bus.connection import Bus
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.errors import Busy
from tickwire.model.messages import Coverage, KeyRequest
from tickwire.observe.metrics import Metrics

pytestmark = pytest.mark.actors

KEY = KeyRequest(exchange="binance", symbol="ETH/USDT", timeframe="1m")


async def test_requests_beyond_the_bound_are_refused_and_the_others_answered_in_turn(bus: Bus) -> None:
    at_once, most, handled = 0, 0, 0
    go, full = asyncio.Event(), asyncio.Event()

    async def handle(request: KeyRequest, _call: Call) -> Coverage:
        nonlocal at_once, most, handled
        at_once += 1
        most = max(most, at_once)
        if at_once == 4:
            full.set()
        await go.wait()
        at_once -= 1
        handled += 1
        return Coverage(exchange=request.exchange, symbol=request.symbol, timeframe=request.timeframe)

    busy = "54 requests of cache.coverage are being answered"
    metrics = Metrics()
    endpoint = Endpoint("cache.coverage", KeyRequest, handle, concurrent=4, waiting=50)
    async with serve(bus, "cache", [endpoint], instance="one", metrics=metrics):

        async def ask() -> str:
            try:
                await bus.request("cache.coverage", KEY, Coverage, timeout_s=300)
            except Busy as error:
                return error.message
            return "answered"

        asked = [asyncio.create_task(ask()) for _ in range(100)]
        async with asyncio.timeout(60):
            await full.wait()
            while sum(each.done() for each in asked) < 46:
                await asyncio.sleep(0.02)
        assert handled == 0
        go.set()
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*asked)
        assert (answers.count("answered"), answers.count(busy), most, handled) == (54, 46, 4, 54)
        refused = {"endpoint": "cache.coverage", "error": "busy"}
        samples = [each for family in metrics.registry.collect() for each in family.samples]
        assert [each.value for each in samples if each.labels == refused and each.name.endswith("_total")] == [46]
        # Room again.
        assert await ask() == "answered"
