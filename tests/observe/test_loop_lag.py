"""Stalls of the event loop: how long it stood, and how much of a core that took."""

from __future__ import annotations

import asyncio
import time

import pytest

from tickwire.observe import loop_lag
from tickwire.observe.loop_lag import IDLE_INTERVAL_MS, INTERVAL_MS, Pace

pytestmark = pytest.mark.actors


async def longest(block: float, *, busy: bool) -> tuple[float, float]:
    """The longest stall and its CPU (ms), as reported, of a loop that something blocks for so many s of CPU or time."""
    reported: list[tuple[float, float]] = []
    clock = time.thread_time if busy else time.monotonic
    async with loop_lag.measured(lambda ms, cpu_ms: reported.append((ms, cpu_ms))):
        await asyncio.sleep(0.05)
        until = clock() + block
        while clock() < until:
            if not busy:
                time.sleep(block)  # noqa: ASYNC251
        async with asyncio.timeout(60):
            while not reported:
                await asyncio.sleep(0.05)
    return max(ms for ms, _ in reported), max(cpu_ms for _, cpu_ms in reported)


async def test_a_stall_that_works_is_one_of_cpu() -> None:
    stood, used = await longest(0.3, busy=True)
    assert 280 <= used <= stood


async def test_a_stall_that_waits_for_a_core_is_none_of_cpu() -> None:
    stood, used = await longest(0.3, busy=False)
    assert stood >= 280
    assert used < 100


@pytest.mark.parametrize(
    ("own", "wake_up_us", "share_of_slow"),
    [
        # On cores that sleep a wake-up takes 50 to 230 us: the faster timer alone is no work.
        (0.0, 50, 1.0),
        (0.01, 230, 1.0),
        # Real work: one second in six at most.
        (0.04, 50, 1 / 6),
        (0.2, 50, 0.0),
    ],
)
def test_an_idle_process_is_woken_seldom_whatever_a_wake_up_takes(
    own: float, wake_up_us: float, share_of_slow: float
) -> None:
    pace, slow = Pace(0.0), 0
    for second in range(1, 601):
        slow += pace.interval == IDLE_INTERVAL_MS
        pace.passed(float(second), own + wake_up_us / 1000 / pace.interval)
    assert slow == pytest.approx(share_of_slow * 600, abs=6)


def test_a_process_that_begins_to_work_is_measured_closely_within_a_second() -> None:
    pace = Pace(0.0)
    for second in range(1, 10):
        pace.passed(float(second), 0.01)
    assert pace.interval == IDLE_INTERVAL_MS
    pace.passed(10.0, 0.2)
    assert pace.interval == INTERVAL_MS
