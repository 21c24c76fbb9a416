"""A task group leaves its task as cancelled as it was, on each Python."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.task_group import TaskGroup

pytestmark = pytest.mark.pure


class ChildFailed(Exception):
    """What a child raises."""


class Child(NamedTuple):
    """A child of a group: after so many turns of the event loop it fails or ends, then takes some turns to clean up."""

    turns: int
    fails: bool
    cleaning: int


class Group(NamedTuple):
    """A group: its children, the turns of its block before and after a group in it, whether its errors are caught.

    `limit`: the turns after which a timeout around it expires.
    """

    children: list[Child]
    before: int
    inner: Group | None
    after: int
    caught: bool
    limit: int | None


few = st.integers(0, 3)
children = st.lists(st.builds(Child, st.integers(0, 6), st.booleans(), st.sampled_from([0, 0, 2])), max_size=3)
groups: st.SearchStrategy[Group] = st.recursive(
    st.builds(Group, children, few, st.none(), few, st.booleans(), st.none() | few),
    lambda inner: st.builds(Group, children, few, inner, few, st.booleans(), st.none() | few),
    max_leaves=3,
)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def live(child: Child) -> None:
    try:
        await turns(child.turns)
    finally:
        await turns(child.cleaning)
    if child.fails:
        raise ChildFailed


async def expire(limit: asyncio.Timeout, after: int) -> None:
    await turns(after)
    if not limit.expired():
        limit.reschedule(0)


async def run(group: Group) -> None:
    if group.limit is None:
        await run_group(group)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as limit:
            expiring = asyncio.ensure_future(expire(limit, group.limit))
            try:
                await run_group(group)
            finally:
                expiring.cancel()


async def run_group(group: Group) -> None:
    try:
        async with TaskGroup() as running:
            for child in group.children:
                running.create_task(live(child))
            await turns(group.before)
            if group.inner is not None:
                await run(group.inner)
            await turns(group.after)
    except ExceptionGroup:
        if not group.caught:
            raise


@given(groups, st.none() | st.integers(0, 12))
def test_whatever_fails_a_task_is_cancelled_if_and_only_if_somebody_cancelled_it(
    group: Group, cancelled_at: int | None
) -> None:
    counted = list[int]()

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        with suppress(ExceptionGroup):
            await run(group)
        counted.append(task.cancelling())
        await turns(4)
        counted.append(task.cancelling())

    async def both() -> None:
        working, cancelled = asyncio.create_task(work()), False
        if cancelled_at is not None:
            await turns(cancelled_at)
            cancelled = len(counted) < 2 and working.cancel()
        await asyncio.wait({working})
        assert working.cancelled() == cancelled
        assert cancelled or counted == [0, 0]

    asyncio.run(both())


async def fail(after: asyncio.Event) -> None:
    await after.wait()
    raise ChildFailed


async def ended(group_ends: asyncio.Event, *, body_waits: bool) -> None:
    """Run a group of which a child fails, while the block goes on or afterwards."""
    with pytest.raises(ExceptionGroup) as raised:
        async with TaskGroup() as group:
            group.create_task(fail(group_ends))
            group_ends.set()
            if body_waits:
                await asyncio.Event().wait()
    assert raised.group_contains(ChildFailed)


@pytest.mark.parametrize("body_waits", [False, True])
async def test_a_child_that_failed_leaves_no_cancellation_behind(body_waits: bool) -> None:
    task = asyncio.current_task()
    assert task is not None
    await ended(asyncio.Event(), body_waits=body_waits)
    assert task.cancelling() == 0
    # Up to Python 3.11.2 it raised CancelledError otherwise.
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()


async def test_groups_within_each_other_leave_no_cancellation_behind() -> None:
    task = asyncio.current_task()
    assert task is not None
    failing = asyncio.Event()
    with pytest.raises(ExceptionGroup):
        async with TaskGroup() as outer:
            outer.create_task(fail(failing))
            async with TaskGroup() as inner:
                inner.create_task(fail(failing))
                failing.set()
    assert task.cancelling() == 0


@pytest.mark.parametrize("body_waits", [False, True])
async def test_a_cancellation_that_comes_while_a_child_fails_is_not_lost(body_waits: bool) -> None:
    failing, went_on = asyncio.Event(), False

    async def work() -> None:
        nonlocal went_on
        await ended(failing, body_waits=body_waits)
        await asyncio.sleep(0)
        went_on = True

    working = asyncio.create_task(work())
    await failing.wait()
    # In the turn in which the child fails.
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert not went_on


async def test_a_group_that_is_cancelled_ends_as_cancelled() -> None:
    begun, ended_child = asyncio.Event(), asyncio.Event()

    async def child() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended_child.set()

    async def work() -> None:
        async with TaskGroup() as group:
            group.create_task(child())

    working = asyncio.create_task(work())
    await begun.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended_child.is_set()
    assert working.cancelling() == 1
