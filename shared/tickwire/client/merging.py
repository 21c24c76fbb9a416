"""Merges the items of several feeds on one clock, and paces them. No I/O of its own.

Items are in the order of their times. Items of one time are in the order of the feeds as given, those of one feed in
tape order. The time of an item is never less than that of the item before it in its feed, also where timestamps go
back. So the order depends on nothing but the items: a second replay of the same range is the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from heapq import heapify, heapreplace
from typing import Generic, NamedTuple, TypeVar

from tickwire.errors import BadRequest

TOGETHER = 256
"""At most so many items are yielded together."""

AT_ONCE = -1
"""In place of a time: before all items that have one."""

T = TypeVar("T")


class Timed(NamedTuple, Generic[T]):
    """An item and its time (ms); AT_ONCE for one that waits for nothing."""

    time: int
    item: T


class Merged(NamedTuple, Generic[T]):
    """An item, its time, and the index of its feed."""

    time: int
    source: int
    item: T


Pages = AsyncGenerator[list[Timed[T]], None]
"""Items of a feed, a page at a time; times never decrease."""


class Clock:
    """When an item is due: `speed` times as fast as it happened."""

    def __init__(self, speed: float) -> None:
        if not speed > 0:
            raise BadRequest(f"speed {speed} is not above 0", "1.0 is as it happened, math.inf as fast as possible")
        self._speed = speed
        self._began: int | None = None

    def due(self, time: int) -> float:
        """Seconds after the first item that has a time (ms); times must not decrease."""
        if time == AT_ONCE:
            return 0.0
        self._began = time if self._began is None else self._began
        return (time - self._began) / 1000 / self._speed


async def paced(merged_: AsyncGenerator[list[Merged[T]], None], speed: float) -> AsyncGenerator[list[Merged[T]], None]:
    """Lists of items that are due together, each when it is due. Raises BadRequest unless `speed` is positive."""
    clock = Clock(speed)
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with aclosing(merged_) as batches:
        async for batch in batches:
            found: list[Merged[T]] = []
            for each in batch:
                due = started + clock.due(each.time)
                if due > loop.time():
                    if found:
                        yield found
                        found = []
                    await asyncio.sleep(due - loop.time())
                found.append(each)
            if found:
                yield found


async def merged(feeds: Sequence[Pages[T]]) -> AsyncGenerator[list[Merged[T]], None]:
    """The items of all feeds in order, at most 256 together. Keeps one page of each feed."""
    async with AsyncExitStack() as stack:
        for each in feeds:
            await stack.enter_async_context(aclosing(each))
        waiting = [deque(await _page(each)) for each in feeds]
        # The next item of each feed; the index also decides between items of one time.
        heads = [(queue[0].time, index) for index, queue in enumerate(waiting) if queue]
        heapify(heads)
        found: list[Merged[T]] = []
        while heads:
            _, index = heads[0]
            queue = waiting[index]
            found.append(Merged(queue[0].time, index, queue.popleft().item))
            if len(found) == TOGETHER or not queue:
                # The next page may take a while.
                yield found
                found = []
            if not queue:
                queue.extend(await _page(feeds[index]))
            if queue:
                heapreplace(heads, (queue[0].time, index))
            else:
                heads[0] = heads[-1]
                heads.pop()
                heapify(heads)
        if found:
            yield found


async def _page(feed: Pages[T]) -> list[Timed[T]]:
    """The next page that has an item; an empty one at the end."""
    async for page in feed:
        if page:
            return page
    return []
