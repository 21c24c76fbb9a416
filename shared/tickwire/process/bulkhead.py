"""A bulkhead: work that fails is reported and retried by itself, without effect on its neighbours.

The only place, besides the answering of requests, that catches exceptions of any kind.
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
"""Work that has run this long since a failure has recovered: the next failure counts as the first."""


def reason(error: Exception) -> str:
    """The reason of a failure, in one line."""
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

    `failed(error, failures)` is called with each exception and the number in a row; it may return a minimum delay in
    seconds. `recovered()` is called once when the work has run for `steady_s` after failures. Raises Fenced
    immediately: a former owner must not retry. A cancellation is never lost.
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
    """Run the work; the exception that it failed with, if any.

    It runs in a task of its own: a task group of Python 3.11 leaves the task that it failed in marked as cancelled, so
    within one task a cancellation from outside could not be distinguished from that.
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
