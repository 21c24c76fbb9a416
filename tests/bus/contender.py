"""A process that contends for leases and prints what happens: `contender.py URL INSTANCE KEY,KEY TTL_S [STEP_S]`.

With STEP_S it prints a step for each lease that it holds, every so many seconds: its work.
"""

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
    url, instance, keys, ttl_s, *step_s = sys.argv[1:]
    logs.configure(LogSettings(), instance=instance)

    async def body(lease: Lease) -> None:
        say("held", lease.epoch.revision)
        try:
            while not await lifecycle.pause(lease.stop, float(step_s[0]) if step_s else None):
                say("step", lease.epoch.revision)
        except asyncio.CancelledError:
            say("lost", lease.epoch.revision)
            raise
        say("released", lease.epoch.revision)

    async with (
        connect(NatsSettings(url=url), name=instance) as bus,
        open_leases(bus, "test", instance, float(ttl_s), stop) as leases,
        asyncio.TaskGroup() as group,
    ):
        say("joined", 0)
        for key in keys.split(","):
            group.create_task(leases.hold(key, body, stop))


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
