"""What tests receive, and how they wait for it: for messages, sinks, sockets and processes alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from msgspec import Struct
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import FeedList, FeedReport, FeedsRequest

T = TypeVar("T", bound=Struct)


class Changing:
    """Something that changes, with a wait for what it is to become."""

    def __init__(self) -> None:
        self._changes: asyncio.Event = asyncio.Event()

    def changed(self) -> None:
        """Wake those who wait."""
        self._changes.set()
        self._changes = asyncio.Event()

    async def until(self, condition: Callable[[], object], timeout_s: float = 100) -> None:
        """Wait until `condition()` holds, evaluated after each change; an AssertionError shows what there is."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    changes = self._changes
                    if condition():
                        return
                    await changes.wait()
        except TimeoutError:
            raise AssertionError(f"did not come within {timeout_s:g} s: there is {self.shown()}") from None

    def shown(self) -> str:
        """What a failed wait prints."""
        return str(vars(self))[:3000]


class Heard(Changing, Generic[T]):
    """The messages of a subject so far, decoded, in the order of arrival."""

    def __init__(self, type_: type[T]) -> None:
        super().__init__()
        self.said: list[T] = []
        self.times: list[float] = []
        """When each arrived, by the event loop's clock."""
        self.subscription: Subscription | None = None
        self._type = type_

    async def take(self, message: Msg) -> None:
        """Keep one."""
        self.said.append(messages.decode(message.data, self._type))
        self.times.append(asyncio.get_running_loop().time())
        self.changed()

    async def until_said(self, condition: Callable[[list[T]], object], timeout_s: float = 100) -> None:
        """Wait until `condition(messages)` holds."""
        await self.until(lambda: condition(self.said), timeout_s)

    async def first(self, fits: Callable[[T], object], after: int = 0, timeout_s: float = 100) -> T:
        """The first message from number `after` on that fits."""
        await self.until(lambda: any(map(fits, self.said[after:])), timeout_s)
        return next(filter(fits, self.said[after:]))

    def shown(self) -> str:
        return f"{len(self.said)} messages, the last {self.said[-5:]}"


async def listening(bus: Bus, subject: str, type_: type[T]) -> Heard[T]:
    """Subscribe to a subject, which may have wildcards, as any NATS client would, for as long as the connection is."""
    heard = Heard(type_)
    heard.subscription = await bus.client.subscribe(subject, cb=heard.take)
    await bus.client.flush()
    return heard


@asynccontextmanager
async def hearing(bus: Bus, subject: str, type_: type[T]) -> AsyncIterator[Heard[T]]:
    """The same within the block."""
    heard = await listening(bus, subject, type_)
    yield heard
    if bus.client.is_connected and heard.subscription is not None:
        await heard.subscription.unsubscribe()


async def last(bus: Bus, stream: str, subject: str, kind: type[T]) -> T:
    """What a late joiner reads: the last message of a subject of a stream."""
    found: Any = await bus.jetstream.get_last_msg(stream, subject)
    return messages.decode(found.data, kind)


async def reports(bus: Bus) -> list[FeedReport]:
    """What `streamer.list` answers."""
    found: list[FeedReport] = []
    async for part in bus.request_chunks("streamer.list", FeedsRequest(), lambda data: messages.decode(data, FeedList)):
        found += part.feeds
    return found
