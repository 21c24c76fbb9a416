"""The same work for many items: some at the same time, the results in order, the first error ends it."""

from __future__ import annotations

import asyncio

import pytest

from tickwire.errors import BadRequest
from tickwire.process.gathering import gathered

pytestmark = pytest.mark.pure


@pytest.mark.parametrize("most", [1, 3, 50])
async def test_results_are_in_order_and_no_more_run_at_once_than_are_allowed(most: int) -> None:
    running, highest, full = 0, 0, asyncio.Event()

    async def work(item: int) -> int:
        nonlocal running, highest
        running += 1
        highest = max(highest, running)
        if running == min(most, 20):
            full.set()
        # All that may run do, or this waits for ever; later items end before earlier ones.
        await full.wait()
        for _ in range(20 - item):
            await asyncio.sleep(0)
        running -= 1
        return item * 10

    assert await gathered(range(20), work, most) == [item * 10 for item in range(20)]
    assert highest == min(most, 20)


async def test_the_first_error_cancels_the_rest_and_is_raised_by_itself() -> None:
    cancelled = []

    async def work(item: int) -> int:
        if item == 2:
            raise BadRequest("no", "")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    with pytest.raises(BadRequest, match="no"):
        await gathered(range(5), work, 3)
    assert {0, 1} <= set(cancelled)


async def test_nothing_is_gathered_for_no_items() -> None:
    async def work(item: int) -> int:
        return item

    assert await gathered([], work, 3) == []
