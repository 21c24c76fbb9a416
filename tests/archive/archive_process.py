"""An archive as a process that can be killed often: `archive_process.py URL FOLDER ROOT SETTINGS` (JSON of `archive`).

Everything is imported once; each life is a fork, whose process id is printed. A new life begins when one was killed.
SIGTERM ends the present life and the program.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from tickwire.archive import service
from tickwire.bus import streams
from tickwire.bus.connection import connect
from tickwire.observe import logs
from tickwire.observe.metrics import Metrics
from tickwire.process import lifecycle
from tickwire.settings import ArchiveSettings, LeaseSettings, LogSettings, NatsSettings, Settings, TapeSettings

PARTITIONS = 2


def settings(url: str, root: Path | str, lease_s: float = 2.0, **archive: object) -> Settings:
    """Small rounds, days closed at once. With long leases a busy machine loses no session."""
    chosen = {"part_rows": 200, "part_minutes": 0.002, "certify_after_s": 0.0, **archive}
    return Settings(
        nats=NatsSettings(url=url),
        tape=TapeSettings(partitions=PARTITIONS),
        leases=LeaseSettings(ttl_s=lease_s),
        archive=ArchiveSettings(root=str(root), **chosen),  # type: ignore[arg-type]
    )


async def run(configured: Settings, instance: str, stop: asyncio.Event, metrics: Metrics | None = None) -> None:
    """One instance, on a connection of its own."""
    async with connect(configured.nats, name=instance) as bus:
        await streams.declare_for(bus.jetstream, configured)
        await service.serve_archive(bus, configured, instance, stop, metrics or Metrics())


def live(configured: Settings, instance: str) -> int:
    """One life. Its rounds are of another size than the last one's, so that it would cut the tape elsewhere."""
    rows = random.SystemRandom().choice([20, 60, 200, 1000])
    archive = configured.archive.model_copy(update={"part_rows": rows})
    configured = configured.model_copy(update={"archive": archive})

    async def main(stop: asyncio.Event) -> None:
        await run(configured, instance, stop)

    return lifecycle.run(main)


def main() -> None:
    """Begin one life after the other."""
    url, instance, root, chosen = sys.argv[1:]
    configured = settings(url, root, **json.loads(chosen))
    logs.configure(LogSettings(format="text"), instance=instance)
    ended, child = False, 0

    def end(_number: int, _frame: object) -> None:
        nonlocal ended
        ended = True
        os.kill(child, signal.SIGTERM)

    while not ended:
        # Until the child has its own handlers, the signal ends it.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        child = os.fork()
        if not child:
            os._exit(live(configured, instance))
        signal.signal(signal.SIGTERM, end)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            # It could not start: the broker may be away.
            time.sleep(0.2)


if __name__ == "__main__":
    main()
