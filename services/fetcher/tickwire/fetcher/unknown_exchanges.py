"""Jobs that were queued for exchanges that do not exist: whichever fetcher takes them ends them as failed.

`fetcher.fetch` refuses such a request; one that was published on `jobs.fetch.<name>` by hand has no other reply than
the end of its job. Nobody contends for a lease of such an exchange: all fetchers take from one consumer of that name,
for as long as there are jobs.
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
from tickwire.bus.requests import AGAIN_S, cancellable, retry_jetstream
from tickwire.errors import BadRequest, BrokerUnavailable, StorageError, UnknownExchange
from tickwire.exchange import opening
from tickwire.fetcher import request_checks
from tickwire.fetcher.job_context import JobContext, end_without_running
from tickwire.fetcher.metrics import UNKNOWN
from tickwire.model.subjects import QUEUES
from tickwire.observe import logs
from tickwire.process import lifecycle

log = logs.get(__name__)

AT_ONCE = 4
"""Names whose jobs are ended at once."""
PULL_S = 5.0
"""How long a job may take into its stream after it was heard of on its subject."""
PULLED = 16
"""Jobs taken in one request."""
ACK_WAIT_S = 30.0


class UnknownExchanges:
    """Ends the jobs of exchanges that do not exist, in tasks of `group`, until `stop`."""

    def __init__(self, context: JobContext, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        self._context = context
        self._group = group
        self._stop = stop
        self._more: dict[str, bool] = {}
        """The names that are worked on, and whether jobs were heard of meanwhile."""
        self._free = asyncio.Semaphore(AT_ONCE)

    def end_jobs(self, name: str) -> None:
        """End the jobs that wait for an exchange of this name, of which there is none."""
        if name in self._more:
            self._more[name] = True
        elif not self._stop.is_set():
            self._more[name] = False
            self._group.create_task(lifecycle.until_stopped(self._stop, self._end_all(name)))

    async def _end_all(self, name: str) -> None:
        try:
            async with self._free:
                more = True
                while more:
                    self._more[name] = False
                    await self._take_all(name)
                    more = self._more[name]
        except (BrokerUnavailable, StorageError, nats.errors.Error) as error:
            # They stay in the stream, for whoever hears of the next one or starts next.
            log.warning("jobs of an unknown exchange cannot be ended yet", exchange=name[:40], error=repr(error))
        finally:
            del self._more[name]

    async def _take_all(self, name: str) -> None:
        jetstream, subject = self._context.bus.jetstream, f"{QUEUES}{name}"
        # Not the name itself, which is anybody's choice.
        consumer = f"fetcher-unknown-{hashlib.blake2b(subject.encode(), digest_size=12).hexdigest()}"
        config = ConsumerConfig(
            durable_name=consumer, filter_subject=subject, ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT_S
        )
        await retry_jetstream(partial(jetstream.add_consumer, streams.JOBS, config))
        source = await jetstream.pull_subscribe_bind(consumer=consumer, stream=streams.JOBS)
        try:
            while found := await self._next(source):
                for message in found:
                    await self._end(name, message)
        finally:
            await graceful_close.unsubscribe(self._context.bus.client, source)
        with suppress(nats.js.errors.NotFoundError):
            await retry_jetstream(partial(jetstream.delete_consumer, streams.JOBS, consumer))

    async def _next(self, source: JetStreamContext.PullSubscription) -> list[Msg]:
        """The next jobs; none when there are no more here, nor in the hands of another fetcher."""
        while True:
            try:
                found: list[Msg] = await cancellable(source.fetch(PULLED, timeout=PULL_S))
                return found
            except (nats.errors.Error, TimeoutError) as error:
                try:
                    info = await retry_jetstream(source.consumer_info)
                except nats.js.errors.NotFoundError:
                    # Another fetcher has found that there are no more.
                    return []
                if not info.num_pending and not info.num_ack_pending:
                    return []
                if not isinstance(error, TimeoutError):
                    await asyncio.sleep(AGAIN_S)

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
            # The consumer was removed by another fetcher meanwhile: the message is still there.
            self._more[name] = True
