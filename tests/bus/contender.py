"""A process that contends for one lease and prints what happens: `contender.py URL INSTANCE KEY TTL_S`."""

from __future__ import annotations

import asyncio
import sys
import time

from tickwire.bus.connection import connect
from tickwire.bus.leases import Lease, open_leases
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.settings import LogSettings, NatsSettings


def say(*words: object) -> None:
    print(*words, time.time(), flush=True)


async def main(stop: asyncio.Event) -> None:
    url, instance, key, ttl_s = sys.argv[1:]
    logs.configure(LogSettings(), instance=instance)

    async def body(lease: Lease) -> None:
        say("held", lease.epoch.revision)
        try:
            await lease.stop.wait()
        except asyncio.CancelledError:
            say("lost", lease.epoch.revision)
            raise
        say("released", lease.epoch.revision)

    async with (
        connect(NatsSettings(url=url), name=instance) as bus,
        open_leases(bus, "test", instance, float(ttl_s), stop) as leases,
    ):
        say("joined", 0)
        await leases.hold(key, body, stop)


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
