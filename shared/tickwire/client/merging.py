"""Merges the items of several feeds on one clock, and paces them. No I/O of its own.

Items are in the order of their times. Items of one time are in the order of the feeds as given, those of one feed in
tape order. The time of an item is never less than that of the item before it in its feed, also where timestamps go
back. So the order depends on nothing but the items: a second replay of the same range is the same.

Items are handled in blocks, not one by one: a replay has millions.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Generic, NamedTuple, TypeVar

from tickwire.errors import BadRequest

TOGETHER = 4096
"""At most so many items are yielded together."""

AT_ONCE = -1
"""In place of a time: before all items that have one."""

T = TypeVar("T")


class Block(NamedTuple, Generic[T]):
    """Consecutive items of a feed, and the time (ms) of each: AT_ONCE for one that waits for nothing."""

    times: list[int]
    items: list[T]


class Merged(NamedTuple, Generic[T]):
    """Consecutive items of several feeds: for each its time, the index of its feed, and the item."""

    times: list[int]
    sources: list[int]
    items: list[T]

    def part(self, start: int, end: int) -> Merged[T]:
        """The items from `start` on and before `end`."""
        return Merged(self.times[start:end], self.sources[start:end], self.items[start:end])


Pages = AsyncGenerator[Block[T], None]
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

    def due_until(self, times: Sequence[int], start: int, seconds: float) -> int:
        """The index behind the last of the times from `start` on that is due after so many seconds."""
        # The first time begins the clock.
        for at in range(start, len(times)):
            if self.due(times[at]) > seconds:
                return at
            if self._began is not None:
                return bisect_right(times, seconds, at, key=self.due)
        return len(times)


async def paced(merged_: AsyncGenerator[Merged[T], None], speed: float) -> AsyncGenerator[Merged[T], None]:
    """The items that are due together, when they are due. Raises BadRequest unless `speed` is positive."""
    clock = Clock(speed)
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with aclosing(merged_) as batches:
        async for batch in batches:
            start = 0
            while start < len(batch.times):
                end = clock.due_until(batch.times, start, loop.time() - started)
                if end > start:
                    yield batch if end - start == len(batch.times) else batch.part(start, end)
                    start = end
                else:
                    await asyncio.sleep(started + clock.due(batch.times[start]) - loop.time())


async def merged(feeds: Sequence[Pages[T]]) -> AsyncGenerator[Merged[T], None]:
    """The items of all feeds in order, at most TOGETHER at once. Keeps one page of each feed."""
    async with AsyncExitStack() as stack:
        for each in feeds:
            await stack.enter_async_context(aclosing(each))
        pages = [await _page(each) for each in feeds]
        taken = [0] * len(feeds)
        """How many items of each page were yielded."""
        while left := [index for index, page in enumerate(pages) if page.times]:
            # Up to the last item of this feed, whose next page begins behind it, all feeds are known.
            end, first = min((pages[index].times[-1], index) for index in left)
            cuts = []
            for index in left:
                # Items of one time are in the order of the feeds.
                bisect, page, start = bisect_right if index <= first else bisect_left, pages[index], taken[index]
                taken[index] = over = bisect(page.times, end, start)
                if over > start:
                    cuts.append((index, Block(page.times[start:over], page.items[start:over])))
            whole = _joined(cuts)
            for start in range(0, len(whole.times), TOGETHER):
                yield whole if len(whole.times) <= TOGETHER else whole.part(start, start + TOGETHER)
            if taken[first] == len(pages[first].times):
                pages[first], taken[first] = await _page(feeds[first]), 0


def _joined(cuts: Sequence[tuple[int, Block[T]]]) -> Merged[T]:
    """Blocks of feeds, given by their indexes and in the order of these, as one."""
    times = [time for _, block in cuts for time in block.times]
    sources = [index for index, block in cuts for _ in block.times]
    items = [item for _, block in cuts for item in block.items]
    if len(cuts) == 1:
        return Merged(times, sources, items)
    # A stable sort keeps the order of the feeds, and that of the items of each.
    order = sorted(range(len(times)), key=times.__getitem__)
    return Merged([times[at] for at in order], [sources[at] for at in order], [items[at] for at in order])


async def _page(feed: Pages[T]) -> Block[T]:
    """The next page that has an item; an empty one at the end."""
    async for page in feed:
        if page.times:
            return page
    return Block([], [])
