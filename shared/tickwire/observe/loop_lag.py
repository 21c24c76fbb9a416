"""Measures stalls of the event loop: shows whether something blocks it.

A timer of 5 ms costs 1 % of a core or more, in each process that has nothing else to do: it wakes it 200 times a
second, which takes most where the core sleeps in between. So a process that has been idle for some seconds has a slower
one.

A busy machine lets a process wait for a core, which no change of a program shortens. So the CPU time of a stall is
measured beside it: what the event loop's thread used of a core meanwhile. That much of it is left on an idle core.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tickwire.model.instants import next_instant

INTERVAL_MS = 5
"""Of the timer while the process works: a stall may be longer than it is reported by so much."""
IDLE_INTERVAL_MS = 25
"""Of the timer while it is idle."""
IDLE_SHARE = 0.03
"""CPU of a second with the slower timer, of one core, up to which the event loop's thread is idle in it."""
TRIED_SHARE = 0.06
"""The same with the faster timer, which takes a share itself."""
IDLE_AFTER_S = 5.0
"""The slower timer is tried after so many idle seconds in a row."""
REPORT_EVERY_S = 1.0


@asynccontextmanager
async def measured(report: Callable[[float, float], None]) -> AsyncIterator[None]:
    """Within the block, report the longest stall of each second: how late a timer fires, and its most CPU time (ms)."""
    meter = _Meter(report)
    meter.start()
    try:
        yield
    finally:
        meter.stop()


class Pace:
    """The interval of the timer (ms), by the CPU that the thread took. Pure."""

    def __init__(self, now: float) -> None:
        self.interval = INTERVAL_MS
        self._busy_at = now

    def passed(self, now: float, share: float) -> None:
        """Up to now (s) the thread had so much of a core, since the last call."""
        if share > (TRIED_SHARE if self.interval == INTERVAL_MS else IDLE_SHARE):
            self._busy_at = now
        self.interval = INTERVAL_MS if now - self._busy_at < IDLE_AFTER_S else IDLE_INTERVAL_MS


class _Meter:
    """A callback that has itself called again: a task would take two turns of the loop each time."""

    def __init__(self, report: Callable[[float, float], None]) -> None:
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._longest = self._most_cpu = 0.0
        self._reported_at = self._due = self._loop.time()
        self._pace = Pace(self._due)
        self._cpu = self._cpu_before = time.thread_time()

    def start(self) -> None:
        """Begin to measure."""
        self._arm()

    def stop(self) -> None:
        """End it."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        # At instants that other timers have, too, it wakes nobody by itself.
        self._due = next_instant(self._loop.time(), self._pace.interval)
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        now, cpu = self._loop.time(), time.thread_time()
        late = now - self._due
        self._longest = max(self._longest, late)
        # Of the whole time since the last call; what a stall used of it is not known more exactly.
        self._most_cpu = max(self._most_cpu, min(late, cpu - self._cpu_before))
        self._cpu_before = cpu
        if now - self._reported_at >= REPORT_EVERY_S:
            self._pace.passed(now, (cpu - self._cpu) / (now - self._reported_at))
            longest, most_cpu = self._longest, self._most_cpu
            self._longest = self._most_cpu = 0.0
            self._reported_at, self._cpu = now, cpu
            try:
                self._report(round(longest * 1000, 1), round(most_cpu * 1000, 1))
            finally:
                self._arm()
        else:
            self._arm()
