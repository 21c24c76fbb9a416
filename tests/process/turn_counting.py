"""Counts work in each turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Counted:
    """Counts the turns of the loop, and what was noted in each."""

    def __init__(self) -> None:
        self.turn = 0
        self.noted: Counter[int] = Counter()

    def note(self, units: int = 1) -> None:
        self.noted[self.turn] += units

    @property
    def most(self) -> int:
        return max(self.noted.values())


@asynccontextmanager
async def counting() -> AsyncIterator[Counted]:
    counted = Counted()
    handle: asyncio.Handle | None = None

    def again() -> None:
        nonlocal handle
        counted.turn += 1
        handle = asyncio.get_running_loop().call_soon(again)

    again()
    try:
        yield counted
    finally:
        assert handle is not None
        handle.cancel()
