"""The whole candle pipeline as real processes: broker, simulator, fetchers, caches, and how to ask them."""

from __future__ import annotations

import asyncio
import csv
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nats.errors

from support.forked import Running
from support.hearing import Heard, listening
from support.processes import Program, Service, SimulatorProcess, environment
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.model import subjects
from tickwire.model.messages import FetchAccepted, FetchRequest, Job, Row, Stored
from tickwire.model.subjects import Key
from tickwire.settings import NatsSettings

CONFIG = """
[cache]
partitions = 8
[exchange.binance]
gateway = "{gateway}"
[exchange.binance.ccxt]
enableRateLimit = false
options = {{ fetchMarkets = {{ types = ["spot"] }} }}
[fetcher]
settle_ms = 0
backoff_s = 0.05
max_backoff_s = 0.5
timeout_s = 5
"""
# OKX's contracts are listed too; binance's are exchanges of their own in ccxt.
_ALL_MARKETS = CONFIG.replace('options = {{ fetchMarkets = {{ types = ["spot"] }} }}\n', "")
SHORT_S = 2.0
"""How long leases last where an instance is killed or suspended and another takes over, s."""
OKX_CONFIG = _ALL_MARKETS.replace("binance", "okx") + "[streamer]\nsettle_ms = 200\nrepair_s = 30\n"


@dataclass
class Pipeline:
    """Running services, by name and number, and a connection to their broker."""

    bus: Bus
    simulator: SimulatorProcess
    folder: Path
    env: dict[str, str]
    running: dict[str, Program] = field(default_factory=dict)
    stored: list[Stored] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    """How often instances of each service were killed."""

    @property
    def cache_dir(self) -> Path:
        """Where the CSV files are."""
        return self.folder / "cache"

    async def start(self, service: str, number: int = 0, *arguments: str, **variables: str) -> Running:
        """Start one instance of a service; its log is `<service>-<number>.log`."""
        name = f"{service}-{number}"
        made = Service(service, self.env | variables, *arguments, log=self.folder / f"{name}.log")
        self.running[name] = made
        return await made.start()

    async def started(self, service: str, number: int = 0) -> None:
        """Wait until an instance says in its log that it answers requests."""
        await self.running[f"{service}-{number}"].says('"event": "serving"')

    async def kill(self, service: str, number: int = 0) -> None:
        """kill -9 one instance."""
        self.kills[service] += 1
        await self.running.pop(f"{service}-{number}").kill()

    async def stop(self, service: str, number: int = 0) -> int:
        """SIGTERM one instance, and its exit code."""
        return await self.running.pop(f"{service}-{number}").stop()

    async def close(self) -> None:
        """End every instance."""
        for each in self.running.values():
            await each.close()

    async def ready(self, service: str) -> None:
        """Wait until an instance of the service answers."""
        async with asyncio.timeout(100):
            while True:
                try:
                    await self.bus.client.request(f"$SRV.PING.{service}", b"", timeout=1)
                except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
                    await asyncio.sleep(0.02)
                else:
                    return

    async def submit(self, key: Key, since: int, until: int | None = None, *, refresh: bool = False) -> JobWatch:
        """Order a fetch, and follow it."""
        watch = JobWatch()
        await self.bus.subscribe(subjects.job(watch.id), watch.take)
        request = FetchRequest(**key._asdict(), since=since, until=until, refresh=refresh, id=watch.id)
        await self.bus.request("fetcher.fetch", request, FetchAccepted, timeout_s=15)
        return watch

    async def fetch(self, key: Key, since: int, until: int | None = None, *, refresh: bool = False) -> Job:
        """Order a fetch and wait for its result."""
        return await (await self.submit(key, since, until, refresh=refresh)).result()

    def rows(self, key: Key) -> list[Row]:
        """What the cache file of a key holds, read by Python's own csv module."""
        path = self.cache_dir / f"{subjects.file_stem(key)}.csv"
        return read_csv(path) if path.exists() else []

    async def observe_stored(self) -> None:
        """From now on, keep what the caches announce as durable."""
        self.stored = (await listening(self.bus, "md.stored.>", Stored)).said


class JobWatch(Heard[Job]):
    """The messages of one job."""

    def __init__(self) -> None:
        super().__init__(Job)
        self.id = secrets.token_hex(8)

    async def result(self, timeout_s: float = 100) -> Job:
        """Wait for the job's last message."""
        return await self.first(lambda job: job.ended, timeout_s=timeout_s)


@asynccontextmanager
async def pipeline(
    broker: str,
    simulator: SimulatorProcess,
    folder: Path,
    services: Sequence[str] = ("cache", "fetcher"),
    config: str = CONFIG,
    lease_ttl_s: float = 10.0,
) -> AsyncIterator[Pipeline]:
    """A broker's and a simulator's pipeline, with its data in `folder`; every service is stopped at the end.

    `config` is a tickwire.toml with `{gateway}` for where the simulator is. A busy machine may lose leases of SHORT_S.
    """
    file = folder / "tickwire.toml"
    file.write_text(config.format(gateway=simulator.url))
    variables = {"TICKWIRE_NATS_URL": broker, "TICKWIRE_LEASES_TTL_S": str(lease_ttl_s)}
    env = environment(folder, TICKWIRE_CONFIG=str(file), **variables)
    async with connect(NatsSettings(url=broker), name="pipeline") as bus:
        await streams.declare(bus.jetstream, 8, lease_ttl_s)
        line = Pipeline(bus, simulator, folder, env)
        try:
            for service in services:
                await line.start(service)
            for service in services:
                await line.ready(service)
            yield line
        finally:
            await line.close()


def read_csv(path: Path) -> list[Row]:
    """The rows of a candle file: six columns, the first an integer."""
    with path.open(newline="") as file:
        lines = csv.reader(file)
        next(lines)
        return [(int(r[0]), float(r[1]), float(r[2]), float(r[3]), float(r[4]), float(r[5])) for r in lines]
