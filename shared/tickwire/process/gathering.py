"""Runs the same work for many items, some of them at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from tickwire.process.lifecycle import unwrapped
from tickwire.task_group import TaskGroup

T = TypeVar("T")
R = TypeVar("R")


async def gathered(items: Iterable[T], work: Callable[[T], Awaitable[R]], most: int) -> list[R]:
    """The results of `work` for each item, in the order of the items; of `most` items at the same time.

    The first error cancels the rest, and is raised.
    """
    permits = asyncio.Semaphore(most)

    async def one(item: T) -> R:
        async with permits:
            return await work(item)

    async with unwrapped(), TaskGroup() as group:
        tasks = [group.create_task(one(each)) for each in items]
    return [each.result() for each in tasks]
