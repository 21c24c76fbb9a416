"""A bulkhead: work that fails does so alone, says why and is tried again; its neighbours do not notice.

The one place, beside the answering of requests, where an exception of any kind is caught.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tickwire.errors import Fenced, TickwireError
from tickwire.process.backoff import Backoff
from tickwire.process.lifecycle import leaf, pause
from tickwire.redaction import excerpt

FIRST_S = 1.0
LONGEST_S = 60.0
STEADY_S = 30.0
"""Work that lasted so long since it failed has recovered: the next failure is the first one again."""


def reason(error: Exception) -> str:
    """A failure in one line."""
    cause = leaf(error)
    return str(cause) if isinstance(cause, TickwireError) else excerpt(repr(cause))


async def bulkhead(
    work: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    *,
    failed: Callable[[Exception, int], float | None],
    recovered: Callable[[], None] = lambda: None,
    backoff: Backoff | None = None,
    steady_s: float = STEADY_S,
) -> None:
    """Run `work` until `stop` is set, again whenever it ends before that.

    `failed(error, failures)` is told of each exception and of how many there were in a row; it may return seconds to
    wait at least. `recovered()` is told once when the work has lasted `steady_s` after failures. Raises Fenced as it
    comes, because whoever was overtaken must not try again. A cancellation is never lost.
    """
    backoff = backoff or Backoff(FIRST_S, LONGEST_S)
    loop = asyncio.get_running_loop()

    def steady() -> None:
        if backoff.failures:
            backoff.worked()
            recovered()

    while not stop.is_set():
        timer = loop.call_later(steady_s, steady)
        try:
            error = await _ended(work)
        finally:
            timer.cancel()
        wait_s = FIRST_S
        if error is not None:
            fenced = error.subgroup(Fenced) if isinstance(error, ExceptionGroup) else error
            if isinstance(inner := leaf(fenced or error), Fenced):
                raise inner
            wait_s = backoff.next()
            wait_s = max(wait_s, failed(error, backoff.failures) or 0.0)
        await pause(stop, wait_s)


async def _ended(work: Callable[[], Awaitable[None]]) -> Exception | None:
    """What the work failed with, if it did.

    The work is a task of its own: a task group of Python 3.11 leaves the task that it failed in marked as cancelled,
    so that in one task a cancellation from outside could not be told from that.
    """
    worker = asyncio.ensure_future(work())
    try:
        await asyncio.wait({worker})
    finally:
        worker.cancel()
        await asyncio.wait({worker})
        error = None if worker.cancelled() else worker.exception()
    if worker.cancelled():
        return RuntimeError("the work was cancelled from within")
    if error is not None and not isinstance(error, Exception):
        raise error
    return error
