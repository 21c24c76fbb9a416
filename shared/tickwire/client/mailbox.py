"""The messages that wait for a consumer: bounded, in order, ended by an error or by being closed."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

M = TypeVar("M")


class Mailbox(Generic[M]):
    """Holds at most `limit` messages; whoever puts more waits for room. With `newest_only`, holds the newest only.

    `missed` counts the messages that a newer one replaced before they were taken.
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
        """Put in a message once there is room; drops it if the mailbox is closed."""
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
        """Accept no more. The consumer gets what waits, then `error`, or the end."""
        self._closed, self._error = True, self._error or error
        self._room.set()
        self._changed.set()

    def check(self) -> None:
        """Raise the error that it was closed with, unless messages wait before it."""
        if self._error is not None and not self._waiting:
            raise self._error

    async def wait(self) -> bool:
        """Wait for a message; False once it is closed. Raises the error that it was closed with."""
        while not self._waiting:
            if self._closed:
                self.check()
                return False
            self._changed.clear()
            await self._changed.wait()
        return True

    def pop(self) -> M | None:
        """Take the next message without waiting; None if there is none."""
        if not self._waiting:
            return None
        message = self._waiting.popleft()
        # Room for half of the limit at once: a producer that waits is not woken for each message.
        if len(self._waiting) <= self._limit // 2:
            self._room.set()
        return message
