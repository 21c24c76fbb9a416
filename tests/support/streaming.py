"""A streamer in the test's own process, so that a bug can be put into one of its feeds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tickwire.bus.connection import Bus
from tickwire.observe.metrics import Metrics
from tickwire.settings import Settings
from tickwire.streamer.service import serve_streamer


@asynccontextmanager
async def streaming(bus: Bus, settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """One that serves within the block; its task, which ends with it."""
    stop, metrics = asyncio.Event(), Metrics()
    task = asyncio.create_task(serve_streamer(bus, settings, "one", stop, metrics))
    try:
        async with asyncio.timeout(30):
            while not metrics.serving and not task.done():
                await asyncio.sleep(0.01)
        yield task
        stop.set()
        async with asyncio.timeout(30):
            await task
    finally:
        task.cancel()
        await asyncio.wait({task})
