"""A fetcher and a cache in the test, on an exchange with a fixed clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fetch.fetched import NOW, SYMBOL
from support.processes import SimulatorProcess, running_simulator
from support.serving import serving
from support.web import exchange_at
from tickwire.bus.connection import Bus
from tickwire.cache import service as cache_service
from tickwire.fetcher import service as fetcher_service
from tickwire.settings import CacheSettings, FetcherSettings, NatsSettings, Settings


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatorProcess]:
    """An exchange whose clock stands half a minute after NOW, with two markets."""
    arguments = ("--now", str(NOW + 30_000), "--symbol", SYMBOL, "--symbol", "BTC/USDT")
    async with running_simulator(*arguments) as process:
        yield process


@pytest.fixture
def settings(broker: str, exchange: SimulatorProcess, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    # Only tests of requests that hang are to see a timeout.
    timeout = 3_000 if "hang" in request.node.name else 60_000
    own = exchange_at(exchange.url, timeout, options={"fetchMarkets": {"types": ["spot"]}})
    return Settings(
        nats=NatsSettings(url=broker),
        cache=CacheSettings(dir=tmp_path / "cache"),
        fetcher=FetcherSettings(attempts=3, backoff_s=0.02, max_backoff_s=0.1),
        exchange={"binance": own},
    )


@pytest.fixture
async def services(bus: Bus, settings: Settings) -> AsyncIterator[None]:
    """A cache and a fetcher."""
    async with (
        serving(bus, cache_service.serve_cache, settings, "cache-one"),
        serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one"),
    ):
        yield
