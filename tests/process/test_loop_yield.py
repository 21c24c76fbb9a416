"""Long work on the event loop, and what else has its turn meanwhile."""

from __future__ import annotations

import asyncio
import time

import pytest

from tickwire.process.loop_yield import LoopYield, StepPerTurn

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


async def test_tasks_that_are_woken_together_take_their_steps_in_turns_of_their_own() -> None:
    turns: list[None] = []
    took: list[tuple[int, int]] = []
    shared, begin = StepPerTurn(), asyncio.Event()

    async def work(number: int) -> None:
        await begin.wait()
        async with shared:
            took.append((number, len(turns)))

    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(work(number))
        await asyncio.sleep(0)
        counting = asyncio.create_task(take_turns(turns))
        begin.set()
    counting.cancel()
    assert [number for number, _ in took] == list(range(10))
    assert len({turn for _, turn in took}) == 10


async def test_a_step_that_fails_or_is_cancelled_lets_the_next_one_in() -> None:
    shared = StepPerTurn()

    async def fail() -> None:
        async with shared:
            raise ValueError

    failing, cancelled = asyncio.create_task(fail()), asyncio.create_task(fail())
    await asyncio.sleep(0)
    failing.cancel()
    cancelled.cancel()
    await asyncio.wait({failing, cancelled})
    async with asyncio.timeout(100), shared:
        pass
