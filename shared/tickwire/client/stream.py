"""What a program iterates: worked by a task of the client's, handed out an item at a time.

A stream is worked by a task of the client's, not by whoever iterates: an iterator may be abandoned anywhere, and a step
that is cancelled (`asyncio.wait_for` around it) loses nothing.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

from tickwire.bus.connection import Bus
from tickwire.client.mailbox import Mailbox
from tickwire.errors import TickwireError
from tickwire.process import lifecycle

M = TypeVar("M")
T = TypeVar("T")


class Released(TickwireError):
    """What is used was given back already: a feed that was released, or a client whose block has ended."""

    code = "released"
    status = 409


class Forked(TickwireError):
    """A client is used in a process that was forked from the one that connected it: its threads are not there."""

    code = "forked"
    status = 409


class Process:
    """The process that something was made in."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_this(self) -> bool:
        """Whether that is the present one."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raises Forked in any other process."""
        if not self.is_this:
            raise Forked(
                f"this client was connected by process {self._pid} and is used in process {os.getpid()}",
                "connect in each process by itself, after the fork",
            )


class Streams:
    """All streams of a connection: each worked by a task in `group`."""

    def __init__(self, bus: Bus, group: asyncio.TaskGroup, name: str) -> None:
        self.bus = bus
        self.name = name
        self._group = group
        self._closing: set[asyncio.Event] = set()
        self._ended = False
        self._process = Process()

    def check(self) -> None:
        """Raises Released once the client's block has ended, and Forked in a process that was forked since."""
        self._process.check()
        if self._ended:
            raise Released("the client's block has ended", "connect again")

    def work(self, closing: asyncio.Event, run: Callable[[], Coroutine[object, object, None]]) -> asyncio.Task[None]:
        """Work a stream, which ends once `closing` is set. Raises Released."""
        self.check()
        self._closing.add(closing)
        task = self._group.create_task(run())
        task.add_done_callback(lambda _: self._closing.discard(closing))
        return task

    def close(self) -> None:
        """End them all; the group waits until they have said goodbye."""
        self._ended = True
        for closing in list(self._closing):
            closing.set()


class Stream(ABC, Generic[M, T]):
    """A feed, to be iterated: `async for item in client.trades(...)`.

    Leaving the loop, the block, or the client releases the feed; `async with` says exactly when, and at its beginning
    waits until the feed is followed. That, or else the first step, raises what is refused. Without `async with` it is
    iterated once; within, one loop goes on where the one before stopped. Iterate it once at a time. Raises Released
    when it is iterated after that, or its client's block ends meanwhile.
    """

    def __init__(self, streams: Streams, name: str, mailbox: Mailbox[M]) -> None:
        self._streams = streams
        self._name = name
        self._mailbox = mailbox
        self._message: M | None = None
        self._left: deque[T] = deque()
        self._closing = asyncio.Event()
        self._started = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._entered = False
        self.sequence = 0
        """Of the last message of the tape of which everything was handed on: `after=` it, one misses nothing."""

    @abstractmethod
    async def _follow(self) -> None:
        """Put messages into the mailbox until cancelled, or to their end."""

    @abstractmethod
    def _items_of(self, message: M) -> Sequence[T]:
        """What one message brings."""

    def _sequence_of(self, message: M) -> int:
        return 0

    async def __aenter__(self) -> Self:
        self._entered = True
        try:
            self.open()
            await self._started.wait()
            self._mailbox.check()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Release the feed, and wait until that is done."""
        self._closing.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    def open(self) -> None:
        """Start the feed, if that was not done. Raises Released when it is over already."""
        if self._closing.is_set():
            self._streams.check()
            raise Released(f"{self._name} was released", "ask the client for it again, or use `async with`")
        if self._task is None:
            self._task = self._streams.work(self._closing, self._work)

    def release(self) -> None:
        """Release the feed, unless that is for the end of an `async with` block to do."""
        if not self._entered:
            self._closing.set()

    def __aiter__(self) -> Steps[M, T]:
        self.open()
        return Steps(self, self._left)

    async def take(self) -> list[T]:
        """All that came since the last call, at least one item; empty once it was released."""
        return [item for items, _ in await self.by_message() for item in items]

    async def by_message(self) -> list[tuple[Sequence[T], int]]:
        """As `take`, with the place on the tape after each message's items."""
        if self._task is None:
            self.open()
        if not self._left and not await self.more():
            return []
        found: list[tuple[Sequence[T], int]] = [(list(self._left), self.handed_out())]
        self._left.clear()
        while (message := self._mailbox.pop()) is not None:
            self._message = message
            found.append((self._items_of(message), self.handed_out()))
        return found

    async def more(self) -> bool:
        """Have items of a next message at hand, and wait for it; whether there are any: no, once it is over."""
        while not self._left:
            message = self._mailbox.pop()
            if message is None:
                if not await self._mailbox.wait():
                    return False
                continue
            self._message = message
            self._left += self._items_of(message)
            if not self._left:
                self.handed_out()
        return True

    def handed_out(self) -> int:
        """The last item of the message in hand has been handed out; its place on the tape."""
        assert self._message is not None
        self.sequence = self._sequence_of(self._message)
        return self.sequence

    async def _work(self) -> None:
        over: BaseException | None = None
        try:
            async with lifecycle.unwrapped():
                await lifecycle.until_stopped(self._closing, self._follow())
            self._streams.check()
        except TickwireError as error:
            over = error
        except BaseException:
            over = Released("the client's connection has failed", "connect again")
            raise
        finally:
            # What is over can be released by nobody any more.
            self._mailbox.close(over)
            self._started.set()


class Steps(AsyncIterator[T], Generic[M, T]):
    """One loop over a stream. When nobody holds it any more, the stream is released."""

    def __init__(self, stream: Stream[M, T], left: deque[T]) -> None:
        self._stream = stream
        self._left = left
        self._loop = asyncio.get_running_loop()

    async def __anext__(self) -> T:
        left, stream = self._left, self._stream
        if not left:
            try:
                more = await stream.more()
            except BaseException:
                # Its traceback, which somebody may keep, is no loop that goes on.
                del self
                raise
            if not more:
                raise StopAsyncIteration
        item = left.popleft()
        if not left:
            stream.handed_out()
        return item

    async def aclose(self) -> None:
        """Release the feed, unless that is for the end of an `async with` block to do."""
        self._stream.release()

    def __del__(self) -> None:
        # Any thread may collect garbage; the loop may be gone.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stream.release)
