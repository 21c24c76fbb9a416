"""Waiting for a service that is not there: it may just be restarting.

Who asks on behalf of a person or a program asks through the `service_wait` of its bus. Services do not: they have their
own deadlines.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from tickwire.errors import Busy, NoSuchService
from tickwire.observe import logs
from tickwire.process import lifecycle

log = logs.get(__name__)

T = TypeVar("T")

FIRST_S, LONGEST_S = 0.1, 2.0
"""The pause before the next attempt: doubling from the first to the longest, with jitter."""


class ServiceWait:
    """How long a service may be away, in `seconds`, and to whom it is said, by `say`; `stop` ends the waiting."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.report: Callable[[str], None] = log.warning
        self.stop = asyncio.Event()
        self._away: set[str] = set()

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`, which is called again while nobody serves it, or who does is busy.

        Raises NoSuchService or Busy when that lasts for longer than `seconds`.
        """
        waiting = ServiceAbsence(self)
        while True:
            try:
                found = await call()
            except (NoSuchService, Busy) as error:
                await waiting.after(error)
            else:
                waiting.over()
                return found

    async def items(self, begin: Callable[[], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
        """What a generator yields, which is made again while nobody serves its first item. Raises as `served` does."""

        async def begun() -> tuple[AsyncGenerator[T, None], T]:
            items = begin()
            return items, await anext(items)

        items, first = await self.call(begun)
        async with aclosing(items):
            yield first
            async for item in items:
                yield item

    def away(self, what: str) -> None:
        """Say once that a service is not there."""
        if what not in self._away:
            self._away.add(what)
            self.report(f"{what}; waiting for it up to {self.seconds:g} s")

    def back(self, what: str) -> None:
        """Say once that it is there again."""
        if what in self._away:
            self._away.discard(what)
            service = what.removeprefix("no ").removesuffix(" is running")
            self.report(f"over: {what}" if service == what else f"a {service} answers again")


class ServiceAbsence:
    """One wait for a service, from the first miss on."""

    def __init__(self, wait: ServiceWait) -> None:
        self._wait = wait
        self._since: float | None = None
        self._misses = 0
        self._what = ""

    async def after(self, error: NoSuchService | Busy) -> None:
        """Pause after a miss. Raises `error` when it has lasted too long, or the waiting is to stop."""
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._wait.seconds or self._wait.stop.is_set():
            raise error
        # "no fetcher is running, so nothing answers fetcher.fetch"
        self._what = error.message.partition(", so ")[0]
        self._wait.away(self._what)
        pause = min(LONGEST_S, FIRST_S * 2.0 ** min(self._misses, 10)) * random.uniform(0.5, 1.0)
        self._misses += 1
        await lifecycle.pause(self._wait.stop, pause)

    def over(self) -> None:
        """The service answered."""
        if self._misses:
            self._wait.back(self._what)
        self._since, self._misses = None, 0
