"""Steps that wait for the exchange's clock."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from tickwire.streamer.candles.native import ClockQueue

pytestmark = pytest.mark.pure


async def test_steps_run_in_order_each_when_its_time_has_come() -> None:
    now = 0
    venue: Any = SimpleNamespace(clock=lambda: now)
    queue, done = ClockQueue(venue), list[str]()
    last = asyncio.Event()
    queue.add(0, lambda: done.append("at once"))
    queue.add(20, lambda: done.append("due at 20"))
    queue.add(10, lambda: done.append("due at 10, behind it"))
    queue.add(0, last.set)
    assert done == ["at once"]
    now = 20
    async with asyncio.timeout(100):
        await last.wait()
    assert done == ["at once", "due at 20", "due at 10, behind it"]


async def test_where_the_time_is_unknown_steps_run_at_once() -> None:
    venue: Any = SimpleNamespace(clock=lambda: None)
    queue, done = ClockQueue(venue), list[int]()
    queue.add(10**15, lambda: done.append(1))
    assert done == [1]


async def test_dropped_steps_never_run() -> None:
    venue: Any = SimpleNamespace(clock=lambda: 0)
    queue, done = ClockQueue(venue), list[int]()
    queue.add(1, lambda: done.append(1))
    queue.clear()
    queue.add(0, lambda: done.append(2))
    assert done == [2]
