"""Work on an event loop of its own."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tickwire.process.own_loop import on_own_loop

pytestmark = pytest.mark.pure


async def test_it_runs_in_another_thread_on_another_loop_and_its_result_comes_back() -> None:
    async def place() -> tuple[int, asyncio.AbstractEventLoop]:
        return threading.get_ident(), asyncio.get_running_loop()

    thread, loop = await on_own_loop(place)
    assert thread != threading.get_ident()
    assert loop is not asyncio.get_running_loop()
    assert loop.is_closed()


async def test_what_it_raises_is_raised() -> None:
    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await on_own_loop(fails)


async def test_a_cancellation_cancels_it_and_waits_for_its_end() -> None:
    begun, ended = threading.Event(), threading.Event()

    async def long() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(100):
        task = asyncio.create_task(on_own_loop(long))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended.is_set()
