"""A killed fetcher process: no job is lost, and the next fetcher continues from the cache's coverage."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from support.processes import Service, environment, running_simulator
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.errors import NoSuchService
from tickwire.model import messages, subjects
from tickwire.model.messages import FetchAccepted, FetchRequest, Job

pytestmark = pytest.mark.actors

NOW = 1_717_243_200_000  # 2024-06-01 12:00 UTC
DAY = 86_400_000
ROWS = 20 * 1440
CONFIG = """
[exchange.binance]
gateway = "{gateway}"
[exchange.binance.ccxt]
enableRateLimit = false
options = {{ fetchMarkets = {{ types = ["spot"] }} }}
[fetcher]
backoff_s = 0.05
"""


async def test_a_job_of_a_killed_fetcher_is_finished_by_the_next(bus: Bus, broker: str, tmp_path: Path) -> None:
    progressed, ended = asyncio.Event(), asyncio.Event()
    heard: list[Job] = []

    async def follow(message: Msg) -> None:
        heard.append(messages.decode(message.data, Job))
        if heard[-1].rows_fetched > 0:
            progressed.set()
        if heard[-1].ended:
            ended.set()

    await bus.subscribe(subjects.job("killed"), follow)
    async with running_simulator("--now", str(NOW + 30_000), "--symbol", "ETH/USDT") as exchange:
        config = tmp_path / "tickwire.toml"
        config.write_text(CONFIG.format(gateway=exchange.url))
        env = environment(tmp_path / "data", TICKWIRE_NATS_URL=broker, TICKWIRE_CONFIG=str(config))
        await exchange.fault("klines", "delay", seconds=0.1)
        wanted = FetchRequest(
            exchange="binance", symbol="ETH/USDT", timeframe="1m", since=NOW - 20 * DAY, until=NOW, id="killed"
        )
        async with asyncio.timeout(100), Service("cache", env):
            async with Service("fetcher", env) as first:
                while True:
                    try:
                        await bus.request("fetcher.fetch", wanted, FetchAccepted)
                        break
                    except NoSuchService:
                        await asyncio.sleep(0.05)
                await progressed.wait()
                await first.kill()
            assert not ended.is_set()
            asked_before = len(await exchange.log("klines"))
            await exchange.clear()
            async with Service("fetcher", env):
                await ended.wait()
        asked = len(await exchange.log("klines"))
    job = heard[-1]
    assert (job.state, job.complete, job.missing) == ("done", True, [])
    assert (job.rows_from_cache, job.rows_fetched) == (0, ROWS)
    # What was known when it was killed is not asked for again; at most what was on the way is.
    assert asked_before >= 2
    assert asked <= ROWS // 1000 + 1 + 8
    assert (await bus.jetstream.stream_info(streams.JOBS)).state.messages == 0
