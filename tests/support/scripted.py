"""A venue that says what the test has it say, and answers snapshots from a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from nats.aio.msg import Msg

from support.trading import ANY_TIME
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Feed, Status
from tickwire.settings import StreamerSettings, TapeSettings
from tickwire.streamer.control.feed_context import Desk, Sink, Wishes, open_board

PATIENCE_S = 60.0


class ScriptedRest:
    """Answers `fetch_order_book` with what was put into `answers`, in order; an exception is raised."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[dict[str, Any] | BaseException] = asyncio.Queue()
        self.asked: list[tuple[str, int | None]] = []
        self.asking = asyncio.Event()

    async def fetch_order_book(self, symbol: str, limit: int | None = None) -> dict[str, Any]:
        self.asked.append((symbol, limit))
        self.asking.set()
        answer = await self.answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer


class ScriptedVenue:
    """A `desk.Venue` whose exchange is the test."""

    exchange = "binance"
    counted = True
    admission = ANY_TIME
    past: Any = None

    def __init__(self, *, has_diffs: bool = True) -> None:
        self.has_diffs = has_diffs
        self.snapshots = asyncio.Lock()
        self.resubscribed = asyncio.Event()
        self.rest: Any = ScriptedRest()
        self.watched = asyncio.Event()
        self.left = asyncio.Event()
        self._sink: Sink | None = None

    async def now(self) -> int | None:
        return None

    def clock(self) -> int | None:
        return None

    async def answers(self, feed: Feed, since: int) -> bool:
        return True

    @asynccontextmanager
    async def watching(self, feed: Feed, sink: Sink) -> AsyncIterator[None]:
        self._sink = sink
        self.watched.set()
        try:
            yield
        finally:
            self.left.set()

    async def resubscribe(self, feed: Feed, reason: str) -> None:
        self.resubscribed.set()

    async def sink(self) -> Sink:
        """Of the feed that is watched."""
        await within(self.watched.wait())
        assert self._sink is not None
        return self._sink


async def within(wait: Awaitable[Any]) -> Any:
    """Its result, which must come soon."""
    async with asyncio.timeout(PATIENCE_S):
        return await wait


class Listener:
    """Collects the messages of subjects, with their times of arrival."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind
        self.messages: list[Any] = []
        self.times: list[float] = []
        self._came = asyncio.Event()

    async def take(self, msg: Msg) -> None:
        self.messages.append(messages.decode(msg.data, self.kind))
        self.times.append(asyncio.get_running_loop().time())
        self._came.set()

    async def until(self, found: Callable[[Any], bool], after: int = 0) -> Any:
        """The first message from number `after` on that is such."""
        seen = after
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for message in self.messages[seen:]:
                    seen += 1
                    if found(message):
                        return message
                self._came.clear()
                await self._came.wait()


async def listening(bus: Bus, subject: str, kind: type[Any]) -> Listener:
    """A listener on a public subject, known to the broker."""
    listener = Listener(kind)
    await bus.subscribe(subject, listener.take)
    await bus.client.flush()
    return listener


class Running:
    """A body at work, its venue, and what the public hears of it."""

    def __init__(self, desk: Desk, venue: ScriptedVenue, public: Listener, statuses: Listener) -> None:
        self.desk = desk
        self.venue = venue
        self.public = public
        self.statuses = statuses
        self.task: asyncio.Task[None]
        self.over = False

    async def stop(self) -> None:
        """Have it finish, and see its statuses out."""
        self.desk.stop.set()
        await within(asyncio.shield(self.task))

    async def ended(self) -> BaseException | None:
        """What the body ended with by itself."""
        self.over = True
        await within(asyncio.wait({self.task}))
        return self.task.exception()

    async def said(self, event: str) -> Status:
        """The first status with this event."""
        found: Status = await self.statuses.until(lambda status: status.event == event)
        return found


async def ours() -> None:
    """There is no lease that could be another's."""


@asynccontextmanager
async def body(
    bus: Bus,
    run: Callable[[Desk], Awaitable[None]],
    feed: Feed,
    kind: type[Any],
    wishes: Wishes | None = None,
    venue: Any = None,
    tape: TapeSettings | None = None,
    **settings: Any,
) -> AsyncIterator[Running]:
    """A body running on a scripted venue, or on `venue`; stopped, or already failed, at the end of the block."""
    public = await listening(bus, feed.public, kind)
    statuses = await listening(bus, f"md.status.{feed.path}", Status)
    scripted = ScriptedVenue() if venue is None else venue
    desk = Desk(
        feed=feed,
        bus=bus,
        venue=scripted,
        settings=StreamerSettings(**settings),
        wishes=wishes or Wishes(depth=20, cadence_ms=0),
        board=await open_board(bus, feed, "one"),
        stop=asyncio.Event(),
        confirm=ours,
        tape=tape or TapeSettings(),
    )
    running = Running(desk, scripted, public, statuses)

    async def work() -> None:
        await run(desk)

    async with asyncio.TaskGroup() as group:
        board = group.create_task(desk.board.run())
        running.task = asyncio.ensure_future(work())
        try:
            yield running
            if not running.over:
                await running.stop()
        finally:
            running.task.cancel()
            await asyncio.wait({running.task})
            desk.board.end()
            await board


async def last(bus: Bus, stream: str, subject: str, kind: type[Any]) -> Any:
    """What a late joiner reads."""
    found = await bus.jetstream.get_last_msg(stream, subject)
    assert found.data is not None
    return messages.decode(found.data, kind)
