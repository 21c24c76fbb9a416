"""The watch loop of every subscription.

It waits in `await watch_*`, which subscribes, and raises when the connection breaks; then it subscribes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from ccxt.base import errors

from tickwire.exchange.guarded_call import guarded_call
from tickwire.process.backoff import Backoff
from tickwire.process.lifecycle import unwrapped
from tickwire.redaction import described
from tickwire.task_group import TaskGroup

T = TypeVar("T")

FIRST_S = 0.05
LONGEST_S = 5.0
STEADY_S = 1.0
"""An attempt that lasted this long after its request had worked: the next one is made at once."""
TRIES = 5
"""Attempts in a row that may end with a plain ExchangeError: ccxt raises it for what passes (a snapshot older than the
changes it has) and for what does not (a refused subscription)."""


class Ended(NamedTuple):
    """Why a loop ended. `error` is None if it was stopped."""

    reason: str
    error: errors.BaseError | None = None


class _Outcome(NamedTuple, Generic[T]):
    result: T | None
    error: errors.BaseError | None


async def watch(
    arm: Callable[[], Awaitable[T]],
    handle: Callable[[T], None],
    stop: asyncio.Event,
    *,
    failed: Callable[[errors.BaseError, float], None] = lambda error, wait: None,
    backoff: Backoff | None = None,
    sent_at: Callable[[], float] = lambda: float("-inf"),
) -> Ended:
    """Await `arm` repeatedly and pass each result to `handle`, until `stop` is set or an error is final.

    `stop` is created clear by the caller. `failed` is called with each error that is retried, and the delay in seconds.
    `sent_at` returns when the request to subscribe was sent last (time of the loop, s): it may have waited before.
    Exceptions of `handle` are raised unchanged.
    """
    backoff = backoff or Backoff(FIRST_S, LONGEST_S)
    loop = asyncio.get_running_loop()
    async with unwrapped(), TaskGroup() as group:
        stopping = group.create_task(stop.wait())
        try:
            while not stop.is_set():
                began = loop.time()
                parked = group.create_task(_tried(arm))
                await asyncio.wait({parked, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not parked.done():
                    # Nothing else ends the await.
                    parked.cancel()
                    break
                result, error = parked.result()
                if error is None:
                    backoff.worked()
                    handle(result)  # type: ignore[arg-type]
                    continue
                if loop.time() - max(began, sent_at()) >= STEADY_S:
                    backoff.worked()
                if _final(error, backoff.failures + 1):
                    return Ended(described(error), error)
                wait = 0.0 if isinstance(error, errors.UnsubscribeError) else backoff.next()
                failed(error, wait)
                if wait:
                    await asyncio.wait({stopping}, timeout=wait)
            return Ended("stopped")
        finally:
            stopping.cancel()


async def _tried(arm: Callable[[], Awaitable[T]]) -> _Outcome[T]:
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        return _Outcome(await guarded_call(arm), None)
    except errors.BaseError as error:
        return _Outcome(None, error)
    except asyncio.CancelledError:
        if task and task.cancelling() > before:
            raise
        # ccxt cancels the awaits of a socket that it closes itself.
        return _Outcome(None, errors.NetworkError("the socket was closed"))


def _final(error: errors.BaseError, failures: int) -> bool:
    """Whether another attempt is pointless after so many failures in a row."""
    if type(error) is errors.ExchangeError:
        return failures >= TRIES
    return not isinstance(error, errors.OperationFailed | errors.UnsubscribeError)
