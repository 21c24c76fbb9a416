"""ccxt's marks of sockets, its throttlers and its idea of now: none of them by this machine's wall clock."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMessage, WSMsgType

from tickwire.exchange import opening
from tickwire.exchange.ccxt_patches import monotonic_time
from tickwire.settings import ExchangeSettings

pytestmark = pytest.mark.pure


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """By how many seconds the wall clock is wrong; to be changed."""
    ahead, real, real_ns = [0.0], time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(ahead[0] * 1e9))
    # It has its own name for the clock; undone by opening an exchange.
    monkeypatch.setattr(importlib.import_module("ccxt.async_support.base.throttler"), "time", lambda: real() + ahead[0])
    return ahead


@asynccontextmanager
async def socket(exchange: str = "binance") -> AsyncIterator[Any]:
    """One of an exchange's, never opened."""
    async with opening.open_exchange(exchange, ExchangeSettings(), pro=True) as opened:
        client = opened.client("ws://127.0.0.1:9/nowhere")
        monotonic_time.use_monotonic_marks(client)
        yield client


@pytest.mark.parametrize("told", [1_795_953_600_000, 0, 5, 10**18], ids=["the exchange's time", "zero", "an id", "ns"])
async def test_a_pong_came_when_it_came_whatever_a_venue_marks_it_with(told: int) -> None:
    async with socket("bybit") as client:
        assert client.lastPong is None
        before = monotonic_time.monotonic_ms()
        client.lastPong = told
        assert before <= client.lastPong <= monotonic_time.monotonic_ms()


async def test_the_ping_loop_does_not_take_its_own_word_for_a_pong() -> None:
    async with socket() as client:
        client.lastPong = 1
        marked = client.lastPong
        while monotonic_time.monotonic_ms() == marked:
            await asyncio.sleep(0)
        client.lastPong = client.lastPong
        assert client.lastPong == marked


@pytest.mark.parametrize("step_s", [3600.0, -3600.0, 86_400.0])
async def test_what_a_socket_was_last_heard_is_not_moved_by_the_wall_clock(wall: list[float], step_s: float) -> None:
    async with socket() as client:
        wall[0] = step_s
        before = monotonic_time.monotonic_ms()
        client.handle_message(WSMessage(WSMsgType.PONG, b"", None))
        for mark in (client.last_message_at, client.lastPong):
            assert before <= mark <= monotonic_time.monotonic_ms()


@pytest.mark.parametrize("algorithm", ["leakyBucket", "rollingWindow"])
@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
async def test_requests_go_on_after_a_step_of_the_wall_clock(wall: list[float], algorithm: str, step_s: float) -> None:
    table = {"rateLimiterAlgorithm": algorithm, "rateLimit": 50, "rollingWindowSize": 150}
    settings = ExchangeSettings(ccxt=table)
    async with opening.open_exchange("binance", settings) as opened:
        for _ in range(3):
            await opened.throttle(1)
        wall[0] = step_s
        async with asyncio.timeout(20):
            for _ in range(3):
                await opened.throttle(1)


async def test_ccxt_s_now_is_the_exchange_s_where_that_is_known(wall: list[float]) -> None:
    async with opening.open_exchange("binance", ExchangeSettings()) as opened:
        assert int(time.time() * 1000) <= opened.milliseconds() <= time.time() * 1000

        async def told() -> Any:
            return 1_514_764_800_000

        opened.clock._fetch_time = told
        await opened.clock.compare(1.0)
        wall[0] = 3600.0
        assert 0 <= opened.milliseconds() - 1_514_764_800_000 < 10_000
