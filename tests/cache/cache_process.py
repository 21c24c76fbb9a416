"""A cache instance as a process of its own: `cache_process.py URL FOLDER INSTANCE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tickwire.bus import streams
from tickwire.bus.connection import connect
from tickwire.cache import service
from tickwire.observe import logs
from tickwire.observe.metrics import Metrics
from tickwire.process import lifecycle
from tickwire.settings import CacheSettings, LeaseSettings, LogSettings, NatsSettings, Settings


def settings(url: str, folder: Path, lease_s: float = 2.0) -> Settings:
    """What the test's other parts use too: 8 partitions. With long leases a busy machine loses no session."""
    cache = CacheSettings(dir=folder, partitions=8)
    return Settings(nats=NatsSettings(url=url), cache=cache, leases=LeaseSettings(ttl_s=lease_s))


async def run(configured: Settings, instance: str, stop: asyncio.Event) -> None:
    """One instance, on a connection of its own."""
    async with connect(configured.nats, name=instance) as bus:
        await streams.declare(bus.jetstream, configured.cache.partitions, configured.leases.ttl_s)
        await service.serve_cache(bus, configured, instance, stop, Metrics())


async def main(stop: asyncio.Event) -> None:
    """Run until a signal."""
    url, folder, instance = sys.argv[1:]
    logs.configure(LogSettings(format="text"), instance=instance)
    await run(settings(url, Path(folder)), instance, stop)


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
