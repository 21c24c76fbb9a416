"""Measures stalls of the event loop: shows whether something blocks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

INTERVAL_S = 0.005
REPORT_EVERY_S = 1.0


@asynccontextmanager
async def measured(report: Callable[[float], None]) -> AsyncIterator[None]:
    """Within the block, report the longest stall (ms) of each second: how late a timer of 5 ms fires."""

    async def tick() -> None:
        loop = asyncio.get_running_loop()
        longest, began = 0.0, loop.time()
        while True:
            before = loop.time()
            await asyncio.sleep(INTERVAL_S)
            now = loop.time()
            longest = max(longest, now - before - INTERVAL_S)
            if now - began >= REPORT_EVERY_S:
                report(round(longest * 1000, 1))
                longest, began = 0.0, now

    async with asyncio.TaskGroup() as group:
        task = group.create_task(tick())
        try:
            yield
        finally:
            task.cancel()
