"""The one watch loop: whatever is watched, on whichever venue, is watched by this.

A loop parks in `await watch_*`, which subscribes, and raises when the connection breaks; then it is armed again.
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

T = TypeVar("T")

FIRST_S = 0.05
LONGEST_S = 5.0
STEADY_S = 1.0
"""A watch that lasted this long had worked: the next attempt after it is made at once."""
TRIES = 5
"""How often in a row a plain ExchangeError is met: ccxt uses that class for what passes (a snapshot that is too old
for the changes kept) and for what does not (a subscription refused)."""


class Ended(NamedTuple):
    """Why a loop ended: `error` is absent where it was told to."""

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
) -> Ended:
    """Await `arm` again and again, with `handle` for what it returns, until `stop` is set or going on is pointless.

    `stop` set means stop, clear means run; it is created clear by whoever starts the loop. `failed` is told of each
    error that is to be tried again, and after how many seconds. What `handle` raises ends the loop as it is.
    """
    backoff = backoff or Backoff(FIRST_S, LONGEST_S)
    loop = asyncio.get_running_loop()
    async with unwrapped(), asyncio.TaskGroup() as group:
        stopping = group.create_task(stop.wait())
        try:
            while not stop.is_set():
                began = loop.time()
                parked = group.create_task(_tried(arm))
                await asyncio.wait({parked, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not parked.done():
                    # A parked await ends by nothing else.
                    parked.cancel()
                    break
                result, error = parked.result()
                if error is None:
                    backoff.worked()
                    handle(result)  # type: ignore[arg-type]
                    continue
                if loop.time() - began >= STEADY_S:
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
    try:
        return _Outcome(await guarded_call(arm), None)
    except errors.BaseError as error:
        return _Outcome(None, error)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # ccxt cancels what waits for a socket when it closes one itself.
        return _Outcome(None, errors.NetworkError("the socket was closed"))


def _final(error: errors.BaseError, failures: int) -> bool:
    """Whether another attempt would be pointless, with so many failures in a row."""
    if type(error) is errors.ExchangeError:
        return failures >= TRIES
    return not isinstance(error, errors.OperationFailed | errors.UnsubscribeError)
