"""The iterators of the client: each is filled by a task of the client, and yields one item at a time.

The task belongs to the client, not to the iterating code: an iterator may be abandoned anywhere, and a cancelled step
(`asyncio.wait_for` around it) loses nothing.
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
from tickwire.client.items import Batch
from tickwire.client.mailbox import Mailbox
from tickwire.errors import TickwireError
from tickwire.process import lifecycle
from tickwire.task_group import TaskGroup

M = TypeVar("M")
T = TypeVar("T")


class Released(TickwireError):
    """A feed that was released, or a client whose block has ended, was used."""

    code = "released"
    status = 409


class Forked(TickwireError):
    """A client was used in a process that was forked from the one that connected it: its threads do not exist there."""

    code = "forked"
    status = 409


class Process:
    """The process that an object was made in."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_this(self) -> bool:
        """Whether this process is the same."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raises Forked in any other process."""
        if not self.is_this:
            raise Forked(
                f"this client was connected by process {self._pid} and is used in process {os.getpid()}",
                "connect in each process by itself, after the fork",
            )


class Streams:
    """All streams of a connection; each is filled by a task in `group`."""

    def __init__(self, bus: Bus, group: TaskGroup, name: str) -> None:
        self.bus = bus
        self.name = name
        self._group = group
        self._closing: set[asyncio.Event] = set()
        self.ended = False
        """Whether the client's block has ended."""
        self._process = Process()

    def check(self) -> None:
        """Raises Released once the client's block has ended, and Forked in a process that was forked since."""
        self._process.check()
        if self.ended:
            raise Released("the client's block has ended", "connect again")

    def work(self, closing: asyncio.Event, run: Callable[[], Coroutine[object, object, None]]) -> asyncio.Task[None]:
        """Start the task of a stream, which ends when `closing` is set. Raises Released."""
        self.check()
        task = lifecycle.start(self._group, run())
        if task is None:
            raise Released("the client's block is ending", "connect again")
        self._closing.add(closing)
        task.add_done_callback(lambda _: self._closing.discard(closing))
        return task

    def close(self) -> None:
        """End all streams; the group waits until they have withdrawn their interests."""
        self.ended = True
        for closing in list(self._closing):
            closing.set()


class Stream(ABC, Generic[M, T]):
    """A feed, to be iterated: `async for item in client.trades(...)`.

    Leaving the loop, the block, or the client releases the feed. `async with` defines exactly when, and waits at its
    beginning until the feed is followed. A refusal is raised there, or else at the first step. Without `async with` it
    can be iterated once; within it, a loop continues where the one before stopped. Only one loop at a time may iterate
    it. Raises Released when it is iterated later, or its client's block ends meanwhile.
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
        """Of the last message of the tape that was yielded whole: a stream opened with `after=` it misses nothing."""

    def __repr__(self) -> str:
        if self._closing.is_set():
            state = "released"
        else:
            state = "followed" if self._task is not None else "not started: iterate it (`async for`) or enter it"
        return f"<{self._name}: {state}>"

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
        """Release the feed, and wait until it is released."""
        self._closing.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    def open(self) -> None:
        """Start the feed unless it runs. Raises Released when it has ended."""
        if self._closing.is_set():
            self._streams.check()
            raise Released(f"{self._name} was released", "ask the client for it again, or use `async with`")
        if self._task is None:
            self._task = self._streams.work(self._closing, self._work)

    def release(self) -> None:
        """Release the feed, unless the end of an `async with` block will do so."""
        if not self._entered:
            self._closing.set()

    def __aiter__(self) -> Steps[M, T]:
        self.open()
        return Steps(self, self._left)

    async def take(self) -> Batch[T]:
        """All items since the last call, at least one; empty when the feed was released. `.frame()` is a DataFrame."""
        return Batch(item for items, _ in await self.by_message() for item in items)

    async def by_message(self) -> list[tuple[Sequence[T], int]]:
        """As `take`, with the tape sequence after each message's items."""
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
        """Wait for the items of a next message; whether there are any: False when the stream has ended."""
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
        """Record that the last item of the present message was yielded; its tape sequence."""
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
            # Ended in every case: nothing else would end the mailbox and the start.
            self._mailbox.close(over)
            self._started.set()


class Steps(AsyncIterator[T], Generic[M, T]):
    """One loop over a stream. Releases the stream when it is garbage collected."""

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
                # Its traceback, which may be kept, must not keep the stream alive.
                del self
                raise
            if not more:
                raise StopAsyncIteration
        item = left.popleft()
        if not left:
            stream.handed_out()
        return item

    async def aclose(self) -> None:
        """Release the feed, unless the end of an `async with` block will do so."""
        self._stream.release()

    def __del__(self) -> None:
        # Any thread may collect garbage; the loop may be gone.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stream.release)
