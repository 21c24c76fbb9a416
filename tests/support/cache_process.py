"""A cache instance as a process of its own: `cache_process.py URL FOLDER INSTANCE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tickwire import lifecycle, logs
from tickwire.cache import service
from tickwire.config import CacheSettings, LeaseSettings, LogSettings, NatsSettings, Settings


def settings(url: str, folder: Path) -> Settings:
    """What the test's other parts use too: 8 partitions, leases of 1 s."""
    return Settings(
        nats=NatsSettings(url=url), cache=CacheSettings(dir=folder, partitions=8), leases=LeaseSettings(ttl_s=1.0)
    )


async def main(stop: asyncio.Event) -> None:
    """Run until a signal."""
    url, folder, instance = sys.argv[1:]
    logs.configure(LogSettings(format="text"), instance=instance)
    await service.run(settings(url, Path(folder)), stop, instance=instance)


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
