"""Work on the event loop that lets others have their turn: by time, because one step may cost a thousand times another.

A process that does not turn its loop renews no lease. Long work that needs nothing of the loop belongs in a thread.
"""

from __future__ import annotations

import asyncio
import time

LONGEST_S = 0.01
"""How long others wait at most, apart from the length of one step."""


class Turns:
    """Call `taken` after each step."""

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self._longest_s = longest_s
        self._began = time.perf_counter()

    async def taken(self) -> None:
        """Let the loop turn where it has not for too long."""
        if time.perf_counter() - self._began >= self._longest_s:
            await asyncio.sleep(0)
            self._began = time.perf_counter()
