"""Requests the next jobs of a consumer from the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext

from tickwire.bus.pull import fetch
from tickwire.bus.requests import cancellable
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
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
LASTING_S = 30.0
"""A consumer that delivers nothing for so long though jobs wait is given up: a cluster elects a leader within 5 s."""


class Delivery:
    """Whether a consumer of an exchange's jobs still delivers."""

    def __init__(self, exchange: str, consumer: JetStreamContext.PullSubscription) -> None:
        self._consumer = consumer
        self._failures = Episode(log, "no jobs are delivered", exchange=exchange)
        self._since = 0.0
        """When it first did not deliver (monotonic s); 0 while it does."""

    async def is_over(self) -> bool:
        """Look at the consumer after a request that brought no job; whether another consumer must be made.

        Another instance removed it when it took over, or it has delivered nothing for 30 s though jobs wait.
        """
        try:
            info = await cancellable(self._consumer.consumer_info())
        except nats.js.errors.NotFoundError:
            return True
        except nats.errors.Error as error:
            return self._fails(repr(error))
        if info.num_pending:
            return self._fails(f"{info.num_pending} jobs wait")
        self.works()
        return False

    def works(self) -> None:
        """It delivered, or nothing waits."""
        self._since = 0.0
        self._failures.ends()

    def _fails(self, why: str) -> bool:
        now = time.monotonic()
        self._since = self._since or now
        # At first a job may have come since the request ended.
        if now > self._since:
            self._failures.occurs(error=why)
        return now - self._since > LASTING_S


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
            return await cancellable(fetch(consumer, PULLED, PULL_S))
        except (nats.errors.Error, TimeoutError) as error:
            if await is_over():
                return []
            # A timeout means that no job waits.
            if not isinstance(error, TimeoutError):
                log.debug("cannot take jobs", exchange=exchange, error=repr(error))
                await lifecycle.pause(stop, backoff.next())
