"""The writers of partitions, as the owner of a feed's slot has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

from tape.places import owned
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed
from tickwire.model.subjects import tape_partition_of
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.control.slot_tape import SlotTape, open_slot_tape
from tickwire.tape.subject_writer import SubjectWriter
from tickwire.tape.writer import Confirm


def slot_tape(bus: Bus, feed: Feed, confirm: Confirm = owned) -> AbstractAsyncContextManager[SlotTape]:
    """The tape of the slot that a feed's market is in; tests have 8 partitions."""
    return open_slot_tape(bus, tape_partition_of(feed.exchange, feed.symbol, 8), confirm)


_OPENED: list[SlotTape] = []
"""The slots whose owner the test is."""


@asynccontextmanager
async def writing(bus: Bus, feed: Feed) -> AsyncIterator[SubjectWriter]:
    """The writer of a feed's trades, within the block."""
    async with slot_tape(bus, feed) as tape:
        _OPENED.append(tape)
        try:
            yield (await tape.open(feed.public))[0]
        finally:
            _OPENED.remove(tape)


def opened_by_test(bus: Bus, feed: Feed) -> SlotTape:
    """The slot of a feed that the test opened last by `writing`; without one there is nothing to follow or write."""
    stream = f"TRADES-{tape_partition_of(feed.exchange, feed.symbol, 8)}"
    return next((tape for tape in reversed(_OPENED) if stream in tape.writers), SlotTape(bus, {}))


async def owning(
    slot: AbstractAsyncContextManager[SlotTape] | None,
    made: partial[FeedContext],
    run: Callable[[FeedContext], Awaitable[None]],
) -> tuple[FeedContext, asyncio.Task[None]]:
    """A feed's context and its task, which owns a slot as long as it runs, or runs in the slot of the test."""
    opened: asyncio.Future[FeedContext] = asyncio.get_running_loop().create_future()

    async def own() -> None:
        async with slot or nullcontext(opened_by_test(made.keywords["bus"], made.keywords["feed"])) as tape:
            opened.set_result(made(slot_tape=tape))
            await run(opened.result())

    task = asyncio.ensure_future(own())
    either: list[asyncio.Future[Any]] = [opened, task]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not opened.done():
        await task
    return await opened, task
