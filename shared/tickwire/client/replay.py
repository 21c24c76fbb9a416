"""Replay of the tape: trades in their order, at a chosen speed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import chain

from tickwire.bus.connection import Bus
from tickwire.client.live import CLOCKS_MS, TradeItems
from tickwire.errors import BadRequest
from tickwire.model.feeds import Feed, Gap, Trade
from tickwire.tape.stored import find_position, read_pages

TOGETHER = 256
"""At most so many items of a replay are yielded together."""


class Clock:
    """When each item of a replay is due: the exchange's time, `speed` times as fast."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began: int | None = None
        self._seconds = 0.0

    def due(self, item: Trade | Gap) -> float:
        """Seconds after the first trade; never less than for the item before, also when timestamps go back."""
        if isinstance(item, Trade):
            self._began = item.timestamp if self._began is None else self._began
            self._seconds = max(self._seconds, (item.timestamp - self._began) / 1000 / self._speed)
        return self._seconds


async def replayed(
    bus: Bus, feed: Feed, since: int, until: int | None, speed: float
) -> AsyncGenerator[Trade | Gap, None]:
    """The trades and gaps of a feed on the tape in `[since, until)` (ms), in order, `speed` times as fast."""
    async with aclosing(due_together(bus, feed, since, until, speed)) as parts:
        async for part in parts:
            for item in part:
                yield item


async def due_together(
    bus: Bus, feed: Feed, since: int, until: int | None, speed: float
) -> AsyncGenerator[list[Trade | Gap], None]:
    """As `replayed`, in lists of items that are due together."""
    if not speed > 0:
        raise BadRequest(f"speed {speed} is not above 0", "1.0 is as it happened, math.inf as fast as possible")
    after, whole = await find_position(bus, feed.public, since - CLOCKS_MS)
    items = TradeItems(feed, since, yielded=True)
    items.begins_late = not whole
    loop = asyncio.get_running_loop()
    clock, started = Clock(speed), loop.time()
    found: list[Trade | Gap] = []
    async for page in read_pages(bus, feed.public, after):
        for item in chain.from_iterable(map(items, page)):
            if isinstance(item, Trade) and until is not None and item.timestamp >= until:
                if found:
                    yield found
                return
            wait = started + clock.due(item) - loop.time()
            if found and (wait > 0 or len(found) == TOGETHER):
                yield found
                found = []
                wait = started + clock.due(item) - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            found.append(item)
        if found:
            yield found
            found = []
