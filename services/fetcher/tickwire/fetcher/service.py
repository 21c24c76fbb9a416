"""The fetcher: what is missing in the cache, fetched from exchanges by REST.

| subject | | |
|---|---|---|
| `fetcher.fetch` | answers | FetchRequest -> FetchAccepted; the job is queued, follow it on `md.job.<id>` |
| `fetcher.cancel` | answers | CancelRequest -> Job; what waits or runs under that id ends as `cancelled` |
| `jobs.cancel.<id>` | publishes, subscribes | CancelRequest: to whoever has the job, or will have it |
| `jobs.fetch.<exchange>` | publishes, consumes | FetchRequest with its id; stream JOBS, until the job has ended |
| `md.job.<id>` | publishes | Job: queued, running (at most 5/s), done or failed; the last one is kept in JOB_RESULTS |
| `cache.coverage` | asks | KeyRequest -> Coverage |
| `tape.ohlcv.<exchange>.<token>.<timeframe>` | publishes | CandlePage: what the exchange proved complete |
| `md.stored.<exchange>.<token>.<timeframe>` | subscribes | Stored: which pages are durable |
| `md.rejected.<exchange>.<token>.<timeframe>` | subscribes | RejectedPage: which pages the cache passed over |

Jobs of one exchange run on the one instance that holds the lease `<exchange>`, so that the exchange sees one budget
of requests. It takes them from a consumer that is named with the lease's epoch; a new holder removes the consumers of
earlier ones, and what these had not finished is handed to it at once. `tickwire.fetcher.job_queue` runs them.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

import msgspec
import nats.js.errors
import stamina.instrumentation
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.client import JetStreamContext

from tickwire.bus import graceful_close, stream_depth, streams
from tickwire.bus.connection import Bus
from tickwire.bus.leases import Lease, Leases, open_leases
from tickwire.bus.publisher import EXPECTED
from tickwire.bus.requests import retry_jetstream
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.errors import BadRequest, BrokerUnavailable, StorageError, TickwireError, Unacknowledged
from tickwire.exchange import opening
from tickwire.fetcher import job_messages, job_queue, request_checks
from tickwire.fetcher.candle_source import CandleSource, open_candle_source
from tickwire.fetcher.job_context import JobContext, UnopenedExchange
from tickwire.fetcher.job_queue import JobQueue
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.fetcher.unknown_exchanges import UnknownExchanges
from tickwire.model import messages, subjects
from tickwire.model.messages import CancelRequest, FetchAccepted, FetchRequest, Job
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.observe.metrics import Metrics
from tickwire.settings import Settings

log = logs.get(__name__)

SERVICE = "fetcher"
ACCEPTING = 64
"""Requests that are being queued at once; the next wait, and beyond that many they are refused."""
CANCEL_S = 5.0
"""How long a cancelled job may take to end before its last word is the reply: a page of candles, mostly."""
LOOK_S = 0.1
"""How often it is looked whether it has ended."""


async def serve_fetcher(bus: Bus, settings: Settings, instance: str, stop: asyncio.Event, metrics: Metrics) -> None:
    """Serve until `stop`, then hand on what is not finished. Raises BrokerUnavailable when the broker is lost."""
    opening.preload()
    # Retries are counted in the job and logged there; stamina would log each with its arguments.
    stamina.instrumentation.set_on_retry_hooks([])
    await streams.declare_for(bus.jetstream, settings)
    async with (
        open_leases(bus, SERVICE, instance, settings.leases.ttl_s, stop, metrics) as leases,
        stream_depth.observed(bus, streams.JOBS, metrics),
        asyncio.TaskGroup() as group,
    ):
        fetcher = _Fetcher(bus, settings, instance, leases, group, stop, FetcherMetrics(metrics.registry))
        await bus.subscribe("jobs.fetch.*", fetcher.on_job)
        for exchange in await _waiting(bus.jetstream):
            fetcher.contend(exchange)
        endpoints: list[Endpoint[Any]] = [
            Endpoint("fetcher.fetch", FetchRequest, fetcher.accept, concurrent=ACCEPTING),
            Endpoint("fetcher.cancel", CancelRequest, fetcher.cancel),
        ]
        async with serve(bus, SERVICE, endpoints, instance=instance, metrics=metrics):
            log.info("serving")
            await stop.wait()


async def _waiting(jetstream: JetStreamContext) -> list[str]:
    """The exchanges that have jobs waiting."""
    info = await retry_jetstream(lambda: jetstream.stream_info(streams.JOBS, subjects_filter="jobs.fetch.>"))
    return [subject.removeprefix(subjects.QUEUES) for subject in info.state.subjects or {}]


class _Fetcher:
    def __init__(
        self,
        bus: Bus,
        settings: Settings,
        instance: str,
        leases: Leases,
        group: asyncio.TaskGroup,
        stop: asyncio.Event,
        metrics: FetcherMetrics,
    ) -> None:
        self._bus = bus
        self._settings = settings
        self._metrics = metrics
        self._leases = leases
        self._group = group
        self._stop = stop
        self._context = JobContext(bus, settings, instance, metrics)
        self._unknown = UnknownExchanges(self._context, group, stop)
        self._contending: set[str] = set()
        self._waiting = Episode(log, "cannot take the jobs over yet", quiet_s=60.0)

    # -- taking requests ------------------------------------------------------------------------------------------

    async def accept(self, request: FetchRequest, _call: Call) -> FetchAccepted:
        """JobQueue a job, once for each id.

        Raises Busy when too many wait, StorageError when the broker cannot store what would come of it; then nothing
        is queued.
        """
        request = msgspec.structs.replace(request, id=request.id or uuid.uuid4().hex)
        assert request.id is not None
        now = now_ms()
        request_checks.check(request, now, self._settings)
        if (full := self._bus.publisher.storage_error()) is not None:
            raise full
        before = await job_messages.last_message(self._bus, request.id)
        if before is not None and before.ended:
            # The same request again: the result again, for whoever asks.
            await self._bus.publish(subjects.job(request.id), before)
        elif before is None:
            await self._queue(request)
            # For those who listen; where the job has begun meanwhile, what it says stays the last word.
            await self._bus.client.publish(
                subjects.job(request.id), messages.encode(job_messages.queued(request, now)), headers={EXPECTED: "0"}
            )
        self.contend(request.exchange)
        return FetchAccepted(id=request.id)

    async def _queue(self, request: FetchRequest) -> None:
        """Append a job to its exchange's queue. Raises Busy, and BrokerUnavailable where it cannot be known."""
        assert request.id is not None
        try:
            await self._bus.append(subjects.jobs(request.exchange), messages.encode(request), message_id=request.id)
        except (Unacknowledged, StorageError) as error:
            if await self._is_known(request.id):
                return
            if isinstance(error, StorageError):
                raise
            raise Unacknowledged(
                f"{error.message}; whether job {request.id} is queued is not known",
                f"ask again with the same id, which never makes a second job, or follow md.job.{request.id}",
            ) from error

    async def _is_known(self, job_id: str) -> bool:
        try:
            return await job_messages.last_message(self._bus, job_id) is not None
        except BrokerUnavailable:
            return False

    async def cancel(self, request: CancelRequest, _call: Call) -> Job:
        """Have a job end that waits or runs; its last word, within 5 s. Raises BadRequest when there is none."""
        job_id = request_checks.job_id(request.id)
        last = await job_messages.last_message(self._bus, job_id)
        if last is not None and last.ended:
            return last
        # Kept as long as results are, for a fetcher that takes the job later.
        await self._bus.append(subjects.cancel(job_id), messages.encode(request), message_id=f"{job_id}.cancel")
        deadline = asyncio.get_running_loop().time() + CANCEL_S
        while (last is None or not last.ended) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(LOOK_S)
            last = await job_messages.last_message(self._bus, job_id)
        if last is None:
            raise BadRequest(f"nothing is known of a job {job_id!r}", "see `tickwire jobs list`")
        return last

    # -- contending for exchanges ---------------------------------------------------------------------------------

    async def on_job(self, message: Msg) -> None:
        """Somebody queued a job: be ready to run it."""
        self.contend(message.subject.removeprefix(subjects.QUEUES))

    def contend(self, exchange: str) -> None:
        """Contend for an exchange from now on. The jobs of one that does not exist are ended."""
        if exchange not in opening.ids():
            self._unknown.end_jobs(exchange)
        elif exchange not in self._contending and not self._stop.is_set():
            self._contending.add(exchange)
            work = partial(self._work, exchange)
            self._group.create_task(self._leases.hold(exchange, work, self._stop, exchange=exchange))

    async def _work(self, exchange: str, lease: Lease) -> None:
        """Run jobs of an exchange for as long as the lease is held."""
        try:
            consumer = await take_over(self._bus.jetstream, exchange, lease)
        except BrokerUnavailable as error:
            self._waiting.occurs(exchange=exchange, error=str(error))
            return
        if consumer is None:
            return
        async with AsyncExitStack() as stack:
            source: CandleSource | UnopenedExchange
            try:
                source = await stack.enter_async_context(open_candle_source(exchange, self._settings, self._metrics))
            except Exception as error:
                # The boundary of an exchange: its jobs fail, each with the reason, and no others.
                log.exception("cannot open the exchange", exchange=exchange)
                source = UnopenedExchange(
                    exchange, error if isinstance(error, TickwireError) else job_messages.bug(error)
                )
            jobs_ = await self._bus.jetstream.pull_subscribe_bind(consumer=consumer, stream=streams.JOBS)
            try:
                await JobQueue(self._bus, source, lease.stop, self._context).work(jobs_)
            finally:
                await graceful_close.unsubscribe(self._bus.client, jobs_)


async def take_over(jetstream: JetStreamContext, exchange: str, lease: Lease) -> str | None:
    """Make this epoch's consumer of an exchange's jobs and remove those of earlier epochs; its name.

    None when a later epoch has one: the lease was lost meanwhile. Raises BrokerUnavailable.
    """
    subject = subjects.jobs(exchange)
    mine = f"{SERVICE}-{exchange}-{lease.epoch.generation}-{lease.epoch.revision}"
    for consumer in await retry_jetstream(lambda: jetstream.consumers_info(streams.JOBS)):
        if consumer.config.filter_subject != subject or consumer.name == mine:
            continue
        if _epoch_of(consumer.name) > tuple(lease.epoch):
            return None
        with suppress(nats.js.errors.NotFoundError):
            await retry_jetstream(partial(jetstream.delete_consumer, streams.JOBS, consumer.name))
    config = ConsumerConfig(
        durable_name=mine,
        filter_subject=subject,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=job_queue.ACK_WAIT_S,
        max_ack_pending=2 * streams.JOBS_WAITING,
    )
    await retry_jetstream(lambda: jetstream.add_consumer(streams.JOBS, config))
    return mine


def _epoch_of(consumer: str) -> tuple[int, int]:
    *_, generation, revision = ("", "", *consumer.rsplit("-", 2))
    return (int(generation), int(revision)) if generation.isdigit() and revision.isdigit() else (0, 0)
