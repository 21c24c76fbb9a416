"""What a plain NATS subscriber hears: every message of some subjects, decoded, in the order of arrival."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from msgspec import Struct
from nats.aio.msg import Msg

from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import FeedList, FeedReport, FeedsRequest

T = TypeVar("T", bound=Struct)


class Heard(Generic[T]):
    """The messages so far."""

    def __init__(self, type_: type[T]) -> None:
        self.said: list[T] = []
        self._type = type_
        self._news = asyncio.Event()

    async def take(self, message: Msg) -> None:
        """Keep one."""
        self.said.append(messages.decode(message.data, self._type))
        self._news.set()

    async def until(self, condition: Callable[[list[T]], object], timeout_s: float = 100) -> None:
        """Wait until `condition(messages)` holds, looked at after each."""
        async with asyncio.timeout(timeout_s):
            while not condition(self.said):
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def hearing(bus: Bus, subject: str, type_: type[T]) -> AsyncIterator[Heard[T]]:
    """Subscribe to a subject, which may have wildcards."""
    heard = Heard(type_)
    subscription = await bus.client.subscribe(subject, cb=heard.take)
    await bus.client.flush()
    yield heard
    if bus.client.is_connected:
        await subscription.unsubscribe()


async def reports(bus: Bus) -> list[FeedReport]:
    """What `streamer.list` answers."""
    found: list[FeedReport] = []
    async for part in bus.request_chunks("streamer.list", FeedsRequest(), lambda data: messages.decode(data, FeedList)):
        found += part.feeds
    return found
