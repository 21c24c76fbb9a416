"""Ends jobs that were queued for exchanges that do not exist.

`fetcher.fetch` rejects such a request; one that was published directly on `jobs.fetch.<name>` gets no other reply than
the failure of its job. No lease is needed: all fetchers take from one consumer of that name while it has jobs.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from functools import partial

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.client import JetStreamContext

from tickwire.bus import graceful_close, streams
from tickwire.bus.requests import retry_jetstream
from tickwire.errors import BadRequest, BrokerUnavailable, StorageError, UnknownExchange
from tickwire.exchange import opening
from tickwire.fetcher import request_checks
from tickwire.fetcher.job_context import JobContext, end_without_running
from tickwire.fetcher.job_requests import ACK_WAIT_S, next_jobs
from tickwire.fetcher.metrics import UNKNOWN
from tickwire.model.subjects import QUEUES
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

CONCURRENT_NAMES = 4
"""Names whose jobs are ended at the same time."""


class UnknownExchanges:
    """Ends the jobs of exchanges that do not exist, in tasks of `group`, until `stop` is set."""

    def __init__(self, context: JobContext, group: TaskGroup, stop: asyncio.Event) -> None:
        self._context = context
        self._group = group
        self._stop = stop
        self._more: dict[str, bool] = {}
        """The names in work, each with whether jobs of it were received meanwhile."""
        self._permits = asyncio.Semaphore(CONCURRENT_NAMES)

    def end_jobs(self, name: str) -> None:
        """End the jobs that wait for the exchange `name`, which does not exist."""
        if name in self._more:
            self._more[name] = True
        elif not self._stop.is_set():
            self._more[name] = False
            lifecycle.start(self._group, self._end_jobs(name))

    async def _end_jobs(self, name: str) -> None:
        await lifecycle.until_stopped(self._stop, self._end_all(name))

    async def _end_all(self, name: str) -> None:
        try:
            async with self._permits:
                more = True
                while more:
                    self._more[name] = False
                    await self._take_all(name)
                    more = self._more[name]
        except (BrokerUnavailable, StorageError, nats.errors.Error) as error:
            # They stay in the stream until a fetcher receives another one, or starts.
            log.warning("jobs of an unknown exchange cannot be ended yet", exchange=name[:40], error=repr(error))
        finally:
            del self._more[name]

    async def _take_all(self, name: str) -> None:
        jetstream, subject = self._context.bus.jetstream, f"{QUEUES}{name}"
        # Not the name itself: the publisher chose it freely, and it may be no valid consumer name.
        consumer = f"fetcher-unknown-{hashlib.blake2b(subject.encode(), digest_size=12).hexdigest()}"
        config = ConsumerConfig(
            durable_name=consumer, filter_subject=subject, ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT_S
        )
        await retry_jetstream(partial(jetstream.add_consumer, streams.JOBS, config))
        source = await jetstream.pull_subscribe_bind(consumer=consumer, stream=streams.JOBS)
        try:
            # A request waits: a job may reach its stream after it was received on its subject.
            while found := await next_jobs(name[:40], source, partial(_is_empty, source), self._stop):
                for message in found:
                    await self._end(name, message)
        finally:
            await graceful_close.unsubscribe(self._context.bus.client, source)
        with suppress(nats.js.errors.NotFoundError):
            await retry_jetstream(partial(jetstream.delete_consumer, streams.JOBS, consumer))

    async def _end(self, name: str, message: Msg) -> None:
        try:
            request = request_checks.queued_request(message.data, name)
        except BadRequest as error:
            self._context.bus.undecodable.skip(message.subject, message.data, error)
            self._context.metrics.ended.labels(UNKNOWN, "unreadable").inc()
        else:
            try:
                opening.known(name)
            except UnknownExchange as error:
                await end_without_running(self._context, request, error)
        try:
            await message.ack_sync()
        except nats.errors.TimeoutError:
            # Another fetcher removed the consumer meanwhile: the message is still in the stream.
            self._more[name] = True


async def _is_empty(consumer: JetStreamContext.PullSubscription) -> bool:
    """Whether no job waits and no other fetcher has unacknowledged ones, or another one found so before."""
    try:
        info = await retry_jetstream(consumer.consumer_info)
    except nats.js.errors.NotFoundError:
        return True
    return not info.num_pending and not info.num_ack_pending
