"""The exchange's clock: the wall clock, or one that stands, is set, or runs at another speed."""

from __future__ import annotations

import asyncio
import time

from tickwire.model.times import now_ms


class Clock:
    """Epoch milliseconds that advance at a speed: 1 is real time, 0 stands still."""

    def __init__(self, now: int | None, speed: float) -> None:
        self._listeners: set[asyncio.Event] = set()
        self.set(now_ms() if now is None else now, speed)

    def now(self) -> int:
        """Return the exchange's time (ms)."""
        return self._base + int((time.monotonic() - self._anchor) * 1000 * self.speed)

    def set(self, now: int, speed: float | None = None) -> None:
        """Set the clock to `now` (ms), and its speed if one is given."""
        self._base = now
        self._anchor = time.monotonic()
        if speed is not None:
            self.speed = speed
        for listener in self._listeners:
            listener.set()

    async def passes(self, ms: float) -> None:
        """Wait until about `ms` of the clock's time have passed or the clock is set; for ever while it stands still."""
        changed = asyncio.Event()
        self._listeners.add(changed)
        try:
            async with asyncio.timeout(max(0.001, ms / 1000 / self.speed) if self.speed else None):
                await changed.wait()
        except TimeoutError:
            return
        finally:
            self._listeners.remove(changed)
