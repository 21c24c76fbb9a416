"""Limits how often a state that changes is published: the newest one, at a bounded rate."""

from __future__ import annotations

import asyncio
import time

from tickwire.process import lifecycle


class Throttle:
    """Wakes the one publisher of a state that changes faster than it is published."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        self._last = float("-inf")

    def notify(self) -> None:
        """The state has changed."""
        self._changed.set()

    def notify_now(self) -> None:
        """The state has changed in a way that must not wait for the cadence."""
        self._urgent.set()
        self._changed.set()

    async def wait(self, cadence_s: float) -> None:
        """Return after a change, but `cadence_s` after the last return at the earliest, unless it is urgent."""
        await self._changed.wait()
        pause = self._last + cadence_s - time.monotonic()
        if pause > 0 and not self._urgent.is_set():
            await lifecycle.pause(self._urgent, pause)
        self._changed.clear()
        self._urgent.clear()
        self._last = time.monotonic()
