"""Coroutines that wait until a stream has everything up to a sequence."""

from __future__ import annotations

import asyncio


class Waiters:
    """Futures by the sequence that each waits for. True while somebody waits."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, sequence: int) -> asyncio.Future[None]:
        """A future that ends when a sequence is stored."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((sequence, stored))
        return stored

    def release(self, durable: int) -> None:
        """Everything up to a sequence is stored."""
        for sequence, stored in self._waiting:
            if sequence <= durable and not stored.done():
                stored.set_result(None)
        self._waiting = [each for each in self._waiting if not each[1].done()]

    def fail(self, error: Exception) -> None:
        """Nothing more will be stored."""
        for _, stored in self._waiting:
            if not stored.done():
                stored.set_exception(error)
        self._waiting.clear()
