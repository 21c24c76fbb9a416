"""How often a feed speaks: its newest state at a bounded rate, and complaints once a second."""

from __future__ import annotations

import asyncio
import time

from tickwire.streamer.control.feed_status import FeedStatus

COMPLAINT_S = 1.0
"""At most one status per feed in so long says that messages could not be used; all are counted."""


class Throttle:
    """Wakes the one publisher of a state that changes faster than it is published."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._urgent = asyncio.Event()
        self._last = float("-inf")

    def notify(self) -> None:
        """There is something new."""
        self._rung.set()

    def notify_now(self) -> None:
        """There is something that must not wait for the cadence."""
        self._urgent.set()
        self._rung.set()

    async def wait(self, cadence_s: float) -> None:
        """Wait until rung, and until `cadence_s` have passed since this returned last unless it is urgent."""
        await self._rung.wait()
        pause = self._last + cadence_s - time.monotonic()
        if pause > 0 and not self._urgent.is_set():
            try:
                async with asyncio.timeout(pause):
                    await self._urgent.wait()
            except TimeoutError:
                pass
        self._rung.clear()
        self._urgent.clear()
        self._last = time.monotonic()


class Rejections:
    """Messages of the exchange that could not be used, on a feed's status."""

    def __init__(self, status: FeedStatus) -> None:
        self._status = status
        self._unsaid = 0
        self._said = float("-inf")

    def add(self, reason: str) -> None:
        """Count one; say so unless one was said a moment ago."""
        self._status.rejected += 1
        now = time.monotonic()
        if now - self._said < COMPLAINT_S:
            self._unsaid += 1
            return
        more = f" (and {self._unsaid} before it)" if self._unsaid else ""
        self._status.report("rejected", reason + more)
        self._said, self._unsaid = now, 0
