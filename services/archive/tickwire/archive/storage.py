"""The root of an archive as one owner uses it: calls in a thread of its own, repeated while the root refuses them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from tickwire.archive.metrics import ArchiveMetrics
from tickwire.errors import Fenced, StorageError
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff

log = logs.get(__name__)

FIRST_RETRY_S, LONGEST_RETRY_S = 0.25, 10.0
"""Delays before a write that the root refused is repeated."""
POLL_S = 0.5
"""How often a thread that waits for the event loop looks whether its owner is still one."""

T = TypeVar("T")


class Storage:
    """Runs calls of one owner. `close` it: a call that is running then may end later, and confirms nothing any more."""

    def __init__(self, stream: str, metrics: ArchiveMetrics) -> None:
        self.trouble: StorageError | None = None
        """Why nothing can be written at present; None otherwise."""
        self._metrics = metrics
        self._worker = ThreadPoolExecutor(1, f"archive-{stream}")
        self._closed = threading.Event()
        self._refused = Episode(log, "the archive cannot be written", stream=stream)

    async def run(self, call: Callable[[], T]) -> T:
        """Run a call in the thread. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, call)

    async def retry(self, stop: asyncio.Event, call: Callable[[], T]) -> T:
        """Run a call, and again while it raises StorageError, which is raised only once `stop` is set."""
        backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S, at_once=False)
        while True:
            try:
                result = await self.run(call)
            except StorageError as error:
                self._metrics.failed.inc()
                self._refused.occurs(reason=str(error))
                self.trouble = error
                if stop.is_set():
                    raise
                await lifecycle.pause(stop, backoff.next())
            else:
                self._refused.ends()
                self.trouble = None
                return result

    def from_thread(self, ask: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        """A function for the thread that awaits `ask` on the event loop. It raises Fenced once this is closed."""
        return partial(self._awaited, asyncio.get_running_loop(), ask)

    def close(self) -> None:
        """Run nothing more."""
        self._closed.set()
        self._worker.shutdown(wait=False)

    def _awaited(self, loop: asyncio.AbstractEventLoop, ask: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._closed.is_set():
            raise Fenced("the lease of this stream was lost")
        answer = asyncio.run_coroutine_threadsafe(ask(), loop)
        while True:
            try:
                answer.result(POLL_S)
            except TimeoutError:
                if self._closed.is_set():
                    answer.cancel()
                    raise Fenced("the lease of this stream was lost") from None
            else:
                return
