"""Requests the next jobs of a consumer from the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext

from tickwire.bus.requests import cancellable
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff

log = logs.get(__name__)

ACK_WAIT_S = 30.0
"""How long the broker waits for a sign of progress before it delivers a job again."""
PULL_S = 5.0
"""How long one request for jobs waits."""
PULLED = 64
"""Jobs taken from the stream in one request."""
RETRY_S, MAX_RETRY_S = 0.2, 5.0
"""The delay before jobs are requested again when the broker fails: the first, the longest."""


async def next_jobs(
    exchange: str,
    consumer: JetStreamContext.PullSubscription,
    is_over: Callable[[], Awaitable[bool]],
    stop: asyncio.Event,
) -> list[Msg]:
    """Return the next jobs of an exchange, at least one; none if `is_over` says so after a request without any.

    Waits for jobs, and backs off while the broker fails; `stop` ends the delay.
    """
    backoff = Backoff(RETRY_S, MAX_RETRY_S, at_once=False)
    while True:
        try:
            found: list[Msg] = await cancellable(consumer.fetch(PULLED, timeout=PULL_S))
            if found:
                return found
        except (nats.errors.Error, TimeoutError) as error:
            if await is_over():
                return []
            # A timeout means that no job waits; nats-py raises its own, or at times asyncio's, which is a subclass.
            if not isinstance(error, TimeoutError):
                log.debug("cannot take jobs", exchange=exchange, error=repr(error))
                await lifecycle.pause(stop, backoff.next())
