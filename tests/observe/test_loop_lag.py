"""Stalls of the event loop: how long it stood, and how much of a core that took."""

from __future__ import annotations

import asyncio
import time

import pytest

from tickwire.observe import loop_lag

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
