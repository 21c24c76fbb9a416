"""Long work on the event loop, and what else has its turn meanwhile."""

from __future__ import annotations

import asyncio
import time

import pytest

from tickwire.process.loop_yield import LoopYield

pytestmark = pytest.mark.actors


async def take_turns(had: list[None]) -> None:
    """Another task, and the turns that it has had."""
    while True:
        had.append(None)
        await asyncio.sleep(0)


async def test_others_have_their_turn_in_work_whose_steps_are_short_or_long() -> None:
    turns: list[None] = []
    task = asyncio.create_task(take_turns(turns))
    loop_yield = LoopYield()
    # A step takes half as long as others wait at most: every second one gives way.
    for _ in range(20):
        deadline = time.perf_counter() + 0.005
        while time.perf_counter() < deadline:
            pass
        await loop_yield.after_step()
    assert len(turns) >= 9
    task.cancel()


async def test_short_steps_cost_no_turn_each() -> None:
    turns: list[None] = []
    task = asyncio.create_task(take_turns(turns))
    loop_yield = LoopYield(longest_s=60)
    for _ in range(10_000):
        await loop_yield.after_step()
    assert turns == []
    task.cancel()
