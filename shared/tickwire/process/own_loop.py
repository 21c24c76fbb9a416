"""Runs asynchronous work that takes much CPU time on an event loop of its own, in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


async def on_own_loop(work: Callable[[], Awaitable[T]]) -> T:
    """The result of `work`, which runs on a loop of its own: its turns do not hold up this one. Raises what it raises.

    A cancellation cancels it, and waits until it has ended.
    """
    own = _OwnLoop(work)
    # Of its own: work that waits long must not take the threads that others need.
    executor = ThreadPoolExecutor(1, thread_name_prefix="tickwire-own-loop")
    running = asyncio.get_running_loop().run_in_executor(executor, own.run)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        own.cancel()
        await asyncio.wait({running})
        if not running.cancelled():
            # Whatever it ended with is known to have been seen.
            running.exception()
        raise
    finally:
        executor.shutdown(wait=False)


class _OwnLoop(Generic[T]):
    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._cancelled = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[T]] | None = None

    def run(self) -> T:
        """Run the work to its end, in the thread."""
        return asyncio.run(self._main())

    def cancel(self) -> None:
        """Cancel the work, from another thread; does nothing once it has ended."""
        with self._lock:
            self._cancelled = True
            if self._running is not None:
                loop, task = self._running
                loop.call_soon_threadsafe(task.cancel)

    async def _main(self) -> T:
        task = asyncio.current_task()
        assert task is not None
        with self._lock:
            if self._cancelled:
                raise asyncio.CancelledError
            self._running = asyncio.get_running_loop(), task
        try:
            return await self._work()
        finally:
            with self._lock:
                self._running = None
