"""Jobs for exchanges that do not exist, published directly on the queue."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fetch.cache_and_fetcher import DAY, NOW, Fetching, fetching
from support.serving import serving
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.fetcher import job_requests, service
from tickwire.model import messages
from tickwire.model.messages import FetchRequest
from tickwire.observe.metrics import Metrics

pytestmark = pytest.mark.actors


@pytest.fixture(autouse=True)
def _short_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each consumer is removed after one request that brought nothing."""
    monkeypatch.setattr(job_requests, "PULL_S", 1.0)


async def queued(bus: Bus, exchange: str, name: str) -> None:
    request = FetchRequest(exchange=exchange, symbol="ETH/USDT", timeframe="1m", since=NOW - DAY, until=NOW, id=name)
    await bus.append(f"jobs.fetch.{exchange}", messages.encode(request), message_id=name)


async def empty(bus: Bus) -> None:
    """Wait until no job is in the stream, and no consumer of it but that of the exchange that there is."""
    async with asyncio.timeout(60):
        while (await bus.jetstream.stream_info(streams.JOBS)).state.messages:
            await asyncio.sleep(0.05)
        while [each.name for each in await bus.jetstream.consumers_info(streams.JOBS) if "unknown" in str(each.name)]:
            await asyncio.sleep(0.05)


async def ended(line: Fetching, exchange: str, name: str) -> None:
    job = await line.end(name)
    assert job.error is not None
    assert (job.exchange, job.state, job.error.code) == (exchange, "failed", "unknown_exchange")
    assert exchange in job.error.message


async def test_jobs_of_exchanges_that_do_not_exist_end_as_failed(bus: Bus, broker: str, tmp_path: Path) -> None:
    await queued(bus, "nosuch", "before")
    await bus.jetstream.publish("jobs.fetch.nosuch", b"{")
    async with fetching(bus, broker, tmp_path) as line:
        await ended(line, "nosuch", "before")
        await queued(bus, "nosuch", "after")
        # ccxt's ids have no capitals.
        await queued(bus, "Binance", "misspelt")
        await ended(line, "nosuch", "after")
        await ended(line, "Binance", "misspelt")
        assert "did you mean binance?" in line.words["misspelt"][-1].error.remedy  # type: ignore[union-attr]
        await empty(bus)
        await queued(bus, "nosuch", "later")
        await ended(line, "nosuch", "later")
        await line.order("real")
        assert (await line.end("real")).complete
        await empty(bus)
        failed = line.metrics.registry.get_sample_value(
            "tickwire_fetcher_jobs_ended_total", {"exchange": "unknown", "state": "failed"}
        )
        assert failed == 4


async def test_two_fetchers_share_the_jobs_of_an_exchange_that_does_not_exist(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    names = [f"job-{number}" for number in range(200)]
    async with fetching(bus, broker, tmp_path) as line:
        second = Metrics()
        async with serving(bus, service.serve_fetcher, line.settings, "fetcher-two", second):
            for name in names:
                await queued(bus, "nosuch", name)
            for name in names:
                await ended(line, "nosuch", name)
            await empty(bus)
            counts = [
                each.registry.get_sample_value(
                    "tickwire_fetcher_jobs_ended_total", {"exchange": "unknown", "state": "failed"}
                )
                for each in (line.metrics, second)
            ]
    assert sum(count or 0 for count in counts) == len(names)
