"""Waiting for a service that is not running: it may be restarting.

Requests on behalf of a person or a program go through the `service_wait` of the bus. Services have deadlines of their
own and do not use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from tickwire.errors import Busy, NoSuchService
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff

log = logs.get(__name__)

T = TypeVar("T")

FIRST_S, LONGEST_S = 0.1, 2.0
"""The first and the longest pause before the next attempt."""


class ServiceWait:
    """How long to wait for an absent service. `seconds` bounds it, `stop` ends it, `report` gets a line about it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.report: Callable[[str], None] = log.warning
        self.stop = asyncio.Event()
        self.expected: frozenset[str] = frozenset()
        """Services that the configuration names: an absent one restarts, others may not exist at all."""
        self._absent: set[str] = set()

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`, retried while nothing serves it or its service is busy.

        Raises NoSuchService or Busy when that lasts longer than `seconds`.
        """
        absence = ServiceAbsence(self)
        while True:
            try:
                found = await call()
            except (NoSuchService, Busy) as error:
                await absence.pause(error)
            else:
                absence.over()
                return found

    async def items(self, begin: Callable[[], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
        """The items of a generator, made again while nothing serves its first item. Raises as `call` does."""

        async def begun() -> tuple[AsyncGenerator[T, None], T]:
            items = begin()
            return items, await anext(items)

        items, first = await self.call(begun)
        async with aclosing(items):
            yield first
            async for item in items:
                yield item

    def absent(self, what: str) -> None:
        """Report once that a service is absent."""
        if what not in self._absent:
            self._absent.add(what)
            self.report(f"{what}; waiting for it up to {self.seconds:g} s")

    def present(self, what: str) -> None:
        """Report once that it answers again."""
        if what in self._absent:
            self._absent.discard(what)
            service = what.removeprefix("no ").removesuffix(" is running")
            article = "an" if service[:1] in "aeiou" else "a"
            self.report(f"over: {what}" if service == what else f"{article} {service} answers again")


class ServiceAbsence:
    """One absence of a service, from the first failed request to the first that succeeds."""

    def __init__(self, wait: ServiceWait) -> None:
        self._wait = wait
        self._since: float | None = None
        self._what = ""
        self._backoff = Backoff(FIRST_S, LONGEST_S, at_once=False)

    async def pause(self, error: NoSuchService | Busy) -> None:
        """Pause after a failed request. Raises `error` when the absence has lasted too long, or waiting was stopped."""
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._wait.seconds or self._wait.stop.is_set():
            raise error
        # "no fetcher is running, so nothing answers fetcher.fetch"
        self._what = error.message.partition(", so ")[0]
        self._wait.absent(self._what)
        await lifecycle.pause(self._wait.stop, self._backoff.next())

    def over(self) -> None:
        """The service answered."""
        if self._backoff.failures:
            self._wait.present(self._what)
        self._since = None
        self._backoff.worked()
