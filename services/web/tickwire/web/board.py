"""What the tabs see: each thing is read once for all of them, as long as one of them watches it.

A tab that takes slowly what it is sent gets the newest value of each thing, not every one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import msgspec
from msgspec import Struct

from tickwire.errors import BrokerUnavailable, Busy, TickwireError
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.process.backoff import Backoff
from tickwire.process.bulkhead import bulkhead, reason
from tickwire.process.lifecycle import unless_stopped
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

MOST = 64
"""Things that are read at once; a tab watches at most a handful."""
LINGER_S = 5.0
"""How long a thing is read on when nobody watches it any more: a page that is loaded again finds it at once."""
SHARE = 2
"""The pause after a reading is so many times as long: what takes the services long is asked rarely."""
LONGEST_S = 2.0
"""The longest pause after a failure: so soon everything is shown again once the broker is back."""
Read = Callable[[], Awaitable[Struct]]
T = TypeVar("T")


async def while_reachable(lost: asyncio.Event, work: Callable[[], Awaitable[T]]) -> T:
    """Do some work. Raises BrokerUnavailable as soon as `lost` is set: a request would wait for its time limit."""
    found = None if lost.is_set() else await unless_stopped(lost, _one(work))
    if found is None:
        raise BrokerUnavailable("the broker is not reachable", "is `tickwire up` running?")
    return found[0]


async def _one(work: Callable[[], Awaitable[T]]) -> tuple[T]:
    return (await work(),)


class _Sent(Struct, frozen=True):
    """A message to a tab: the newest value of a thing, or why there is none at present."""

    name: str
    data: msgspec.Raw | None = None
    error: str = ""


@dataclass(frozen=True)
class Source:
    """How a thing is read: each `every_s`, within the block that `opened` returns."""

    opened: Callable[[], AbstractAsyncContextManager[Read]]
    every_s: float


class Thing:
    """Something that is read for the tabs, and its newest message."""

    def __init__(self, name: str, source: Source, lost: asyncio.Event) -> None:
        self.message: bytes | None = None
        self.version = 0
        self.changed: set[asyncio.Event] = set()
        """One of each tab that watches."""
        self.unwatched = asyncio.Event()
        self._name = name
        self._source = source
        self._lost = lost
        self._failing = Episode(log, "the page cannot read something", what=name[:200])

    async def run(self) -> None:
        """Read it until `unwatched`, again after each failure, which the tabs are told."""
        work = partial(while_reachable, self._lost, self._read)
        await bulkhead(work, self.unwatched, failed=self._failed, backoff=Backoff(0.5, LONGEST_S))

    async def _read(self) -> None:
        async with self._source.opened() as read:
            while not self.unwatched.is_set():
                began = time.monotonic()
                data = msgspec.json.encode(await read())
                self._failing.ends()
                self._say(_Sent(self._name, msgspec.Raw(data)))
                took_s = time.monotonic() - began
                await asyncio.sleep(max(self._source.every_s, SHARE * took_s))

    def _failed(self, error: Exception, _failures: int) -> None:
        text = reason(error)
        self._failing.occurs(error=text)
        self._say(_Sent(self._name, error=text))

    def _say(self, sent: _Sent) -> None:
        message = msgspec.json.encode(sent)
        if message == self.message:
            return
        self.message = message
        self.version += 1
        for each in self.changed:
            each.set()


@dataclass
class Watch:
    """What one tab watches, and what it was sent of it."""

    things: Sequence[Thing]
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    refused: list[bytes] = field(default_factory=list)
    """What is said, once, of things that cannot be watched."""
    _seen: dict[Thing, int] = field(default_factory=dict)
    _skipped: int = 0

    async def news(self) -> list[bytes]:
        """Wait until something changed; return the newest message of each thing that did."""
        while True:
            self.changed.clear()
            if self.refused:
                said, self.refused = self.refused, []
                return said
            found = [each for each in self.things if each.version != self._seen.get(each, 0)]
            if found:
                self._skipped += sum(each.version - self._seen[each] - 1 for each in found if each in self._seen)
                self._seen |= {each: each.version for each in found}
                return [each.message for each in found if each.message is not None]
            await self.changed.wait()

    def skipped(self) -> int:
        """How many values the tab was not sent since the last call, because newer ones had come."""
        found, self._skipped = self._skipped, 0
        return found


class Board:
    """All things that are watched. `find` returns the source of a name, or raises BadRequest.

    `lost` is set while there is no connection to the broker.
    """

    def __init__(
        self, group: TaskGroup, find: Callable[[str], Source], lost: asyncio.Event, *, most: int = MOST
    ) -> None:
        self._group = group
        self._find = find
        self._lost = lost
        self._most = most
        self._things: dict[str, Thing] = {}
        self._keeping: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """End all reading."""
        for each in self._keeping:
            each.cancel()

    @property
    def read(self) -> int:
        """How many things are read at present."""
        return len(self._things)

    @contextmanager
    def watching(self, names: Sequence[str]) -> Iterator[Watch]:
        """Watch things for as long as the block lasts. An unknown one, or one too many, is told and hides no other."""
        things, refused = [], []
        for name in dict.fromkeys(names):
            try:
                things.append(self._thing(name))
            except TickwireError as error:
                refused.append(msgspec.json.encode(_Sent(name, error=str(error))))
        watch = Watch(things, refused=refused)
        for each in watch.things:
            each.changed.add(watch.changed)
        try:
            yield watch
        finally:
            for each in watch.things:
                each.changed.discard(watch.changed)

    def _thing(self, name: str) -> Thing:
        found = self._things.get(name)
        if found is None:
            source = self._find(name)
            if len(self._things) >= self._most:
                raise Busy(f"{self._most} different things are watched already", "close some tabs")
            found = self._things[name] = Thing(name, source, self._lost)
            keeping = self._group.create_task(self._keep(name, found))
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)
        return found

    async def _keep(self, name: str, thing: Thing) -> None:
        """Read a thing until nobody has watched it for a while."""
        try:
            async with TaskGroup() as group:
                reading = group.create_task(thing.run())
                idle = 0
                while idle < 2:
                    await asyncio.sleep(LINGER_S / 2)
                    idle = 0 if thing.changed else idle + 1
                # Forgotten first: whoever watches it from now on has it read anew.
                del self._things[name]
                thing.unwatched.set()
                reading.cancel()
        finally:
            if self._things.get(name) is thing:
                del self._things[name]
