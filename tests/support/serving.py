"""A service in the test's own process, so that a bug can be put into it and its metrics be read there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from tickwire.bus.connection import Bus, connect
from tickwire.observe.metrics import Metrics
from tickwire.settings import LeaseSettings, NatsSettings, Settings

Serve = Callable[[Bus, Settings, str, asyncio.Event, Metrics], Coroutine[Any, Any, None]]


@asynccontextmanager
async def serving(
    bus: Bus, serve: Serve, settings: Settings, instance: str = "one", metrics: Metrics | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    """One instance that serves within the block, on a connection of its own to the broker of `bus`; its task."""
    stop, metrics = asyncio.Event(), metrics or Metrics()
    # A busy machine may lose leases of 2 s.
    if "leases" not in settings.model_fields_set:
        settings = settings.model_copy(update={"leases": LeaseSettings(ttl_s=10)})
    async with connect(NatsSettings(url=bus.url), name=instance) as own, asyncio.TaskGroup() as group:
        task = group.create_task(serve(own, settings, instance, stop, metrics))
        async with asyncio.timeout(100):
            while not metrics.serving and not task.done():
                await asyncio.sleep(0.01)
        try:
            yield task
        finally:
            stop.set()
