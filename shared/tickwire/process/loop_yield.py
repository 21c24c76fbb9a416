"""Keeps turns of the event loop short: `LoopYield` within long work, `StepPerTurn` among tasks whose steps coincide.

Long work yields by time, because one step may cost a thousand times another.

A process whose event loop does not run renews no lease. Long work that needs nothing of the loop belongs in a thread.
"""

from __future__ import annotations

import asyncio
import time

LONGEST_S = 0.01
"""Longest time between two yields, apart from the length of one step."""


class LoopYield:
    """Await `after_step` after each step of the work."""

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self._longest_s = longest_s
        self._yielded_at = time.perf_counter()

    async def after_step(self) -> None:
        """Yield to the loop if the last yield was `longest_s` ago or more."""
        if time.perf_counter() - self._yielded_at >= self._longest_s:
            await asyncio.sleep(0)
            self._yielded_at = time.perf_counter()


class StepPerTurn:
    """Lets one of the tasks that share it enter the block in each turn of the loop, in the order in which they came.

    Tasks that are woken together would otherwise take their steps of a millisecond in one turn.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        try:
            await asyncio.sleep(0)
        finally:
            self._lock.release()
