"""A cache and a fetcher with a simulated exchange, and jobs that are ordered and heard of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg

from support.hearing import Changing
from support.processes import SimulatorProcess, running_simulator
from support.serving import serving
from support.web import exchange_at
from tickwire.bus.connection import Bus
from tickwire.cache import service as cache_service
from tickwire.fetcher import service as fetcher_service
from tickwire.model import messages
from tickwire.model.messages import FetchAccepted, FetchRequest, Job
from tickwire.observe.metrics import Metrics
from tickwire.settings import CacheSettings, FetcherSettings, NatsSettings, Settings

MINUTE = 60_000
DAY = 1440 * MINUTE
NOW = 1_717_243_200_000  # 2024-06-01 12:00 UTC, half a minute before the simulated exchange's clock


@dataclass
class Fetching(Changing):
    """A running fetcher: how it is asked, and what is heard of its jobs."""

    bus: Bus
    exchange: SimulatorProcess
    settings: Settings
    metrics: Metrics
    words: dict[str, list[Job]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    async def take(self, message: Msg) -> None:
        """Hear of a job."""
        job = messages.decode(message.data, Job)
        self.words.setdefault(job.id, []).append(job)
        self.changed()

    async def order(self, name: str, **changes: Any) -> FetchAccepted:
        """Order a job: a day of 1m ETH/USDT of binance, by default."""
        usual: dict[str, Any] = {"exchange": "binance", "symbol": "ETH/USDT", "timeframe": "1m", "until": NOW}
        wanted = FetchRequest(**usual | {"since": NOW - DAY, "id": name} | changes)
        return await self.bus.request("fetcher.fetch", wanted, FetchAccepted)

    async def heard(self, name: str, fits: Callable[[Job], bool], timeout_s: float = 60) -> Job:
        """The first word of a job that fits."""
        await self.until(lambda: any(map(fits, self.words.get(name, []))), timeout_s)
        return next(filter(fits, self.words[name]))

    async def end(self, name: str, timeout_s: float = 60) -> Job:
        """The last word of a job."""
        return await self.heard(name, lambda job: job.ended, timeout_s)


@asynccontextmanager
async def fetching(
    bus: Bus,
    broker: str,
    folder: Path,
    *symbols: str,
    concurrency: int = 5,
    now: int = NOW + 30_000,
    timeout: int = 60_000,
    **fetcher: Any,
) -> AsyncIterator[Fetching]:
    """A cache and a fetcher, with an exchange of these symbols, whose clock begins at `now` (ms).

    `timeout` (ms) is that of its requests.
    """
    names = [part for each in symbols or ("ETH/USDT",) for part in ("--symbol", each)]
    async with running_simulator("--now", str(now), *names) as exchange:
        own = exchange_at(exchange.url, timeout, options={"fetchMarkets": {"types": ["spot"]}})
        settings = Settings(
            nats=NatsSettings(url=broker),
            cache=CacheSettings(dir=folder / "cache"),
            fetcher=FetcherSettings(**{"attempts": 3, "backoff_s": 0.02, "max_backoff_s": 0.1} | fetcher),
            exchange={"binance": own.model_copy(update={"concurrency": concurrency})},
        )
        found = Fetching(bus, exchange, settings, Metrics())
        hearing = await bus.subscribe("md.job.*", found.take)
        async with (
            serving(bus, cache_service.serve_cache, settings, "cache-one"),
            serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one", found.metrics),
        ):
            yield found
        await hearing.unsubscribe()
