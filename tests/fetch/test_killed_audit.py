"""A fetcher process that ends during an audit: the next one continues it, and names every difference once."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from fetch.audited import built, truth
from support.hearing import hearing
from support.processes import Service, environment, running_simulator
from support.serving import serving
from tickwire.bus.connection import Bus
from tickwire.cache import service as cache_service
from tickwire.model import subjects
from tickwire.model.messages import Coverage, FetchAccepted, FetchRequest, Job, KeyRequest
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.settings import CacheSettings, NatsSettings, Settings

pytestmark = pytest.mark.actors

MINUTE = 60_000
NOW = 1_717_243_200_000  # 2024-06-01 12:00 UTC
ROWS = 5_000
SINCE = NOW - 6_000 * MINUTE
WRONG = range(500, ROWS, 1_000)
"""One row in each page of the exchange."""
KEY = Key("binance", "ETH/USDT", "1m")
CONFIG = """
[exchange.binance]
gateway = "{gateway}"
[exchange.binance.ccxt]
enableRateLimit = false
options = {{ fetchMarkets = {{ types = ["spot"] }} }}
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_an_audit_of_a_fetcher_that_ends_is_continued_by_the_next(
    bus: Bus, broker: str, tmp_path: Path, how: signal.Signals
) -> None:
    settings = Settings(nats=NatsSettings(url=broker), cache=CacheSettings(dir=tmp_path / "cache", audit=False))
    request = FetchRequest(**KEY._asdict(), since=SINCE, until=SINCE + ROWS * MINUTE, audit=True, id="audit-killed")
    async with (
        asyncio.timeout(200),
        running_simulator("--now", str(NOW + 30_000), "--symbol", KEY.symbol) as exchange,
        serving(bus, cache_service.serve_cache, settings, "cache-one"),
        hearing(bus, subjects.job("audit-killed"), Job) as heard,
    ):
        config = tmp_path / "tickwire.toml"
        config.write_text(CONFIG.format(gateway=exchange.url))
        env = environment(tmp_path / "data", TICKWIRE_NATS_URL=broker, TICKWIRE_CONFIG=str(config))
        right = await truth(exchange, KEY, SINCE, SINCE + ROWS * MINUTE)
        rows = [(*row[:5], row[5] + 1.0) if number in WRONG else row for number, row in enumerate(right)]
        await built(bus, KEY, rows, SINCE, SINCE + ROWS * MINUTE)
        await exchange.fault("klines", "delay", seconds=0.3, count=None)
        async with Service("fetcher", env) as first:
            # It is starting.
            await bus.service_wait.call(lambda: bus.request("fetcher.fetch", request, FetchAccepted))
            await heard.first(lambda job: job.difference_count >= 2, timeout_s=100)
            await first.stop(how)
        await exchange.clear()
        async with Service("fetcher", env):
            job = await heard.first(lambda job: job.ended, timeout_s=100)
        assert (job.state, job.complete, job.missing) == ("done", True, [])
        named = [(each.timestamp, each.field, each.cached, each.exchange) for each in job.differences]
        assert named == [(rows[each][0], "volume", rows[each][5], right[each][5]) for each in WRONG]
        assert job.difference_count == len(WRONG)
        coverage = await bus.request("cache.coverage", KeyRequest(**KEY._asdict()), Coverage)
        assert coverage.provenance.audited == [Range(SINCE, SINCE + ROWS * MINUTE)]
        text = (tmp_path / "cache" / "binance_ETH-USDT_1m.csv").read_text().split("\n", 1)[1]
        assert text == "".join(f"{row[0]}," + ",".join(map(repr, row[1:])) + "\n" for row in right)
