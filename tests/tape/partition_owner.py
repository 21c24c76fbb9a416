"""A process that owns a partition under a lease and appends as fast as it may: `partition_owner.py URL NAME TTL_S`."""

from __future__ import annotations

import asyncio
import sys

from tape.partition import BTC, STREAM
from tickwire.bus.connection import connect
from tickwire.bus.leases import Lease, open_leases
from tickwire.errors import Fenced
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.settings import LogSettings, NatsSettings
from tickwire.tape.partition_writer import open_partition_writer


async def main(stop: asyncio.Event) -> None:
    url, name, ttl_s = sys.argv[1:]
    logs.configure(LogSettings(), instance=name)
    async with (
        connect(NatsSettings(url=url), name=name) as bus,
        open_leases(bus, "test", name, float(ttl_s), stop) as leases,
    ):

        async def own(lease: Lease) -> None:
            async def confirm() -> None:
                await leases.confirm(lease.key)

            try:
                async with open_partition_writer(bus, STREAM, confirm) as writer:
                    await writer.open(BTC)
                    number = 0
                    while not lease.stop.is_set():
                        while writer.ready():
                            writer.append(BTC, f"{name} {number}".encode())
                            number += 1
                        await writer.room()
            except Fenced as error:
                print("fenced", error, flush=True)
            except asyncio.CancelledError:
                print("lost", flush=True)
                raise

        await leases.hold("slot.3", own, stop)


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
