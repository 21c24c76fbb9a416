"""The room of a service's folder: read every few seconds, so that no answer waits for a disk."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from prometheus_client.core import Metric

from tickwire.observe import logs
from tickwire.observe.metrics import Metrics, gauge
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

EVERY_S = 5.0


class Space(NamedTuple):
    """The bytes of a folder's file system: those that this process may still write, and all."""

    folder: str
    free: int
    size: int


async def space_of(folder: Path) -> Space | None:
    """The space; None where the folder does not exist or its file system does not answer."""
    try:
        found = await asyncio.to_thread(shutil.disk_usage, folder)
    except OSError as error:
        log.debug("the space of a folder is unknown", folder=str(folder), error=repr(error))
        return None
    return Space(str(folder), found.free, found.total)


@asynccontextmanager
async def observed(folder: Path, metrics: Metrics) -> AsyncIterator[None]:
    """Report the space of a folder as gauges and in `$SRV.STATS`, for as long as the block lasts."""

    def measured() -> Iterable[Metric]:
        if metrics.space is not None:
            yield gauge("tickwire_disk_free_bytes", "Bytes that may still be written", metrics.space.free)
            yield gauge("tickwire_disk_size_bytes", "Bytes of the file system", metrics.space.size)

    async def watch() -> None:
        while True:
            metrics.space = await space_of(folder)
            await asyncio.sleep(EVERY_S)

    async with TaskGroup() as group:
        watching = group.create_task(watch())
        try:
            with metrics.reading(measured):
                yield
        finally:
            watching.cancel()
            metrics.space = None
