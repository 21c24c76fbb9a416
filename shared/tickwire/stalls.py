"""How long the event loop was held up: the one number that says whether something blocks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

INTERVAL_S = 0.005


@dataclass
class Stalls:
    """The longest stall so far, in milliseconds; at most 5 ms of it is the meter's own interval."""

    longest_ms: float = 0.0


@asynccontextmanager
async def measured() -> AsyncIterator[Stalls]:
    """Measure the running loop while the block lasts, by how late a timer of 5 ms fires."""
    stalls = Stalls()

    async def tick() -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(INTERVAL_S)
            stalls.longest_ms = max(stalls.longest_ms, (loop.time() - began - INTERVAL_S) * 1000)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(tick())
        try:
            yield stalls
        finally:
            task.cancel()
