"""What comes in crowds takes its steps out of the budget of each turn of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from process.turn_counting import counting
from tickwire.process.turns import STEP, Turns

pytestmark = pytest.mark.actors

ROOM = 1000
"""Units of a turn in these tests: of five steps."""


async def all_of(work: Callable[[int], Awaitable[object]], count: int) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(_awaited(work(number)))


async def _awaited(work: Awaitable[object]) -> None:
    await work


async def test_steps_that_are_due_together_are_spread_over_turns_in_their_order() -> None:
    turns, order = Turns(ROOM), list[int]()
    async with counting() as counted:

        async def step(number: int) -> None:
            await turns.step()
            counted.note()
            order.append(number)

        await all_of(step, 100)
    assert counted.most <= ROOM / STEP
    assert order == list(range(100))


async def test_every_step_of_paced_work_counts_whatever_wakes_it() -> None:
    turns, signal = Turns(ROOM), asyncio.Event()
    async with counting() as counted:

        async def work(number: int) -> int:
            for _ in range(5):
                counted.note()
                await asyncio.sleep(0)
            await signal.wait()
            counted.note()
            return number

        async def paced(number: int) -> None:
            assert await turns.paced(work(number)) == number

        async with asyncio.TaskGroup() as group:
            group.create_task(all_of(paced, 50))
            while counted.noted.total() < 250:
                await asyncio.sleep(0)
            # All are woken in one turn.
            signal.set()
    assert counted.noted.total() == 300
    assert counted.most <= ROOM / STEP


async def test_steps_and_callbacks_share_a_turn_and_none_keeps_the_other_out() -> None:
    turns, left = Turns(ROOM), 3000
    done = asyncio.Event()
    async with counting() as counted:

        def callback() -> None:
            nonlocal left
            while turns.left > 0 and left > 0:
                turns.spend(20)
                counted.note(20)
                left -= 20
            if left > 0:
                turns.again(callback)
            else:
                done.set()

        async def step(_: int) -> None:
            await turns.step()
            counted.note(STEP)

        async with asyncio.TaskGroup() as group:
            group.create_task(all_of(step, 100))
            asyncio.get_running_loop().call_soon(callback)
            await done.wait()
            between = counted.noted.total() - 3000
    # While the callback had work for three turns and more, steps were taken, too.
    assert 0 < between < 100 * STEP
    assert counted.most <= ROOM + STEP


async def test_a_timer_of_others_is_called_between_the_steps_of_a_crowd() -> None:
    turns, taken, seen = Turns(ROOM), 0, list[int]()
    loop = asyncio.get_running_loop()

    async def step(_: int) -> None:
        nonlocal taken
        await turns.step()
        taken += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(all_of(step, 1000))
        await asyncio.sleep(0)
        loop.call_soon(lambda: seen.append(taken))
    assert seen[0] <= 2 * ROOM / STEP


async def test_what_is_cancelled_gives_its_place_up_and_ends_at_once() -> None:
    turns, ended = Turns(STEP), list[int]()

    async def work(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    begun = [asyncio.create_task(turns.paced(work(number))) for number in range(20)]
    for _ in range(100):
        # A step in each turn, and two turns until it is taken.
        await asyncio.sleep(0)
    waiting = [asyncio.create_task(turns.step()) for _ in range(1000)]
    await asyncio.sleep(0)
    for task in (*begun, *waiting):
        task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    # Not one in each turn.
    assert sorted(ended) == list(range(20))
    assert all(task.cancelled() for task in (*begun, *waiting))
    async with asyncio.timeout(60):
        await turns.step()


async def test_paced_work_has_its_exceptions_timeouts_and_nested_tasks() -> None:
    turns = Turns(ROOM)

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("of the work")

    async def hangs() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "too late"
        return ""

    async def nested() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
        return [task.result() for task in tasks]

    with pytest.raises(ValueError, match="of the work"):
        await turns.paced(fails())
    assert await turns.paced(hangs()) == "too late"
    assert await turns.paced(nested()) == [0, 1, 2]
