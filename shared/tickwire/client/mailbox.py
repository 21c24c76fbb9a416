"""What waits for a consumer: bounded, in order, and ended by an error or by being closed."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

M = TypeVar("M")


class Mailbox(Generic[M]):
    """At most `limit` messages wait, and who puts in more waits too; with `newest_only`, the newest alone does.

    `missed` counts what was replaced by something newer before anyone took it.
    """

    def __init__(self, limit: int, *, newest_only: bool = False) -> None:
        self.missed = 0
        self._limit = limit
        self._newest_only = newest_only
        self._waiting: deque[M] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._error: BaseException | None = None
        self._closed = False

    async def put(self, message: M) -> None:
        """Put in a message, when there is room for it; dropped once it is closed."""
        if self._newest_only:
            self.missed += len(self._waiting)
            self._waiting.clear()
        while len(self._waiting) >= self._limit and not self._closed:
            self._room.clear()
            await self._room.wait()
        if not self._closed:
            self._waiting.append(message)
            self._changed.set()

    def close(self, error: BaseException | None = None) -> None:
        """No more comes: whoever takes gets what waits, then `error`, or nothing."""
        self._closed, self._error = True, self._error or error
        self._room.set()
        self._changed.set()

    def check(self) -> None:
        """Raises the error it was closed with, if it was and nothing waits before that."""
        if self._error is not None and not self._waiting:
            raise self._error

    async def take(self) -> list[M]:
        """All that waits, at least one message; empty once it is closed. Raises the error it was closed with."""
        while not self._waiting:
            if self._closed:
                self.check()
                return []
            self._changed.clear()
            await self._changed.wait()
        found = list(self._waiting)
        self._waiting.clear()
        self._room.set()
        return found
