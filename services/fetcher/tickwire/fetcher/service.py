"""The fetcher: fetches from exchanges by REST the candles that the cache lacks, and the trades that the archive does.

| subject | here | what |
|---|---|---|
| `fetcher.fetch` | answered | FetchRequest -> FetchAccepted; queues a job, whose messages are on `md.job.<id>` |
| `fetcher.cancel` | answered | CancelRequest -> Job; ends the job of that id, waiting or running, as `cancelled` |
| `fetcher.markets` | answered | MarketsRequest -> MarketList; see market_tables.py |
| `jobs.cancel.<id>` | published, subscribed | CancelRequest, for the fetcher that has the job or will take it |
| `jobs.fetch.<exchange>` (stream JOBS) | published, consumed | FetchRequest with its id, until the job has ended |
| `md.job.<id>` | published | Job: queued, running (at most 5/s), done or failed; stream JOB_RESULTS keeps the newest |
| `cache.coverage` | requested | KeyRequest -> Coverage |
| `cache.get` | requested | CandlesRequest -> Candles, for audits |
| `archive.days`, `archive.write.<p>`, `archive.close.<p>` | requested | by archive_requests/writer.py |
| `tape.ohlcv.<exchange>.<token>.<timeframe>` | published | CandlePage: candles that an answer proves complete |
| `md.stored.<exchange>.<token>.<timeframe>` | subscribed | Stored: a page is durable |
| `md.rejected.<exchange>.<token>.<timeframe>` | subscribed | RejectedPage: the cache does not store a page |
| `$KV.LEASES.fetcher.>` | leases | the owner of each exchange |

Jobs of one exchange run on the instance that holds the lease `<exchange>`, so that the exchange sees one budget of
requests. The instance takes them from a consumer named with the lease's epoch. A new holder removes the consumers of
earlier epochs, and receives at once what these had not finished. `job_queue` runs the jobs.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Any

import msgspec
import nats.js.errors
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
from tickwire.fetcher import job_messages, job_requests, request_checks
from tickwire.fetcher.candle_source import CandleSource, open_candle_source
from tickwire.fetcher.job_context import JobContext, UnopenedExchange
from tickwire.fetcher.job_queue import JobQueue
from tickwire.fetcher.market_tables import MarketTables
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.fetcher.unknown_exchanges import UnknownExchanges
from tickwire.model import messages, subjects
from tickwire.model.messages import CancelRequest, FetchAccepted, FetchRequest, Job, MarketsRequest
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.observe.metrics import Metrics
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff
from tickwire.settings import Settings
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

SERVICE = "fetcher"
NOT_UNIQUE = 10100
"""JetStream's error code for a second consumer of the same subjects of a work queue. The list of consumers that a
cluster gives lacks those whose leader is being elected, so `take_over` may leave one of an earlier epoch."""
ACCEPTING = 64
"""Requests that are handled at the same time (see `Endpoint`)."""
CANCEL_S = 5.0
"""How long `fetcher.cancel` waits for the job to end: it ends within a page of candles, mostly."""
LOOK_S, MAX_LOOK_S = 0.05, 0.5
"""The delay between two looks whether it has ended: the first, the longest."""


async def serve_fetcher(bus: Bus, settings: Settings, instance: str, stop: asyncio.Event, metrics: Metrics) -> None:
    """Serve until `stop` is set, then hand over unfinished jobs. Raises BrokerUnavailable when the broker is lost."""
    opening.preload()
    await streams.declare_for(bus.jetstream, settings)
    context = JobContext(bus, settings, instance, FetcherMetrics(metrics.registry))
    async with (
        open_leases(bus, SERVICE, instance, settings.leases.ttl_s, stop, metrics) as leases,
        stream_depth.observed(bus, streams.JOBS, metrics),
        TaskGroup() as group,
    ):
        fetcher = _Fetcher(context, leases, group, stop)
        await bus.subscribe("jobs.fetch.*", fetcher.on_job)
        for exchange in await _with_waiting_jobs(bus.jetstream):
            fetcher.contend(exchange)
        endpoints: list[Endpoint[Any]] = [
            Endpoint("fetcher.fetch", FetchRequest, fetcher.accept, concurrent=ACCEPTING),
            Endpoint("fetcher.cancel", CancelRequest, fetcher.cancel),
            Endpoint("fetcher.markets", MarketsRequest, MarketTables(settings, group, stop).answer),
        ]
        async with serve(bus, SERVICE, endpoints, instance=instance, metrics=metrics):
            log.info("serving")
            await stop.wait()


async def _with_waiting_jobs(jetstream: JetStreamContext) -> list[str]:
    """The exchanges that have jobs waiting."""
    info = await retry_jetstream(lambda: jetstream.stream_info(streams.JOBS, subjects_filter="jobs.fetch.>"))
    return [subject.removeprefix(subjects.QUEUES) for subject in info.state.subjects or {}]


class _Fetcher:
    def __init__(self, context: JobContext, leases: Leases, group: TaskGroup, stop: asyncio.Event) -> None:
        self._context = context
        self._bus = context.bus
        self._settings = context.settings
        self._leases = leases
        self._group = group
        self._stop = stop
        self._unknown = UnknownExchanges(context, group, stop)
        self._contending: set[str] = set()
        self._cannot_take_over = Episode(log, "cannot take over the jobs yet", quiet_s=60.0)

    # -- endpoints ------------------------------------------------------------------------------------------------

    async def accept(self, request: FetchRequest, _call: Call) -> FetchAccepted:
        """Queue a job, once for each id.

        Raises Busy when too many jobs wait, StorageError when the broker cannot store the pages of the job; then no job
        is queued.
        """
        request = msgspec.structs.replace(request, id=request.id or uuid.uuid4().hex)
        assert request.id is not None
        await opening.described(request.exchange)
        now = now_ms()
        request_checks.check(request, now, self._settings)
        if (full := self._bus.publisher.storage_error()) is not None:
            raise full
        before = await job_messages.last_message(self._bus, request.id)
        if before is not None and before.ended:
            # A repeated request: repeat the result, for a client that subscribed after the job had ended.
            await self._bus.publish(subjects.job(request.id), before)
        elif before is None:
            await self._queue(request)
            # Only as the first message of the job: one of a job that runs already must remain the newest.
            await self._bus.client.publish(
                subjects.job(request.id), messages.encode(job_messages.queued(request, now)), headers={EXPECTED: "0"}
            )
        self.contend(request.exchange)
        return FetchAccepted(id=request.id)

    async def _queue(self, request: FetchRequest) -> None:
        """Append a job to its exchange's queue. Raises Busy; BrokerUnavailable where it is unknown if it is queued."""
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
        """End a job that waits or runs; its newest message after up to 5 s. Raises BadRequest for an unknown job."""
        job_id = request_checks.job_id(request.id)
        last = await job_messages.last_message(self._bus, job_id)
        if last is not None and last.ended:
            return last
        # Kept as long as results are, for a fetcher that takes the job later.
        await self._bus.append(subjects.cancel(job_id), messages.encode(request), message_id=f"{job_id}.cancel")
        deadline = asyncio.get_running_loop().time() + CANCEL_S
        backoff = Backoff(LOOK_S, MAX_LOOK_S, at_once=False)
        # The job may run in any fetcher, and fetchers have no permission to subscribe to `md.job.*`.
        while (last is None or not last.ended) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(backoff.next())
            last = await job_messages.last_message(self._bus, job_id)
        if last is None:
            raise BadRequest(f"nothing is known of a job {job_id!r}", "see `tickwire jobs list`")
        return last

    # -- contending for exchanges ---------------------------------------------------------------------------------

    async def on_job(self, message: Msg) -> None:
        """Contend for the exchange of a job that was queued."""
        self.contend(message.subject.removeprefix(subjects.QUEUES))

    def contend(self, exchange: str) -> None:
        """Contend for the lease of an exchange from now on; end the jobs of an exchange that does not exist."""
        if exchange not in opening.ids():
            self._unknown.end_jobs(exchange)
        elif exchange not in self._contending and not self._stop.is_set():
            self._contending.add(exchange)
            work = partial(self._work, exchange)
            lifecycle.start(self._group, self._leases.hold(exchange, work, self._stop, exchange=exchange))

    async def _work(self, exchange: str, lease: Lease) -> None:
        """Run jobs of an exchange while the lease is held."""
        jetstream = self._bus.jetstream
        try:
            name = await take_over(jetstream, exchange, lease)
        except (BrokerUnavailable, StorageError) as error:
            self._cannot_take_over.occurs(exchange=exchange, error=str(error))
            return
        if name is None:
            return
        async with AsyncExitStack() as stack:
            opened = open_candle_source(exchange, self._settings, self._context.metrics, self._context.steps)
            source: CandleSource | UnopenedExchange
            try:
                source = await stack.enter_async_context(opened)
            except Exception as error:
                # The boundary of an exchange: its jobs fail with this reason, and no others.
                log.exception("cannot open the exchange", exchange=exchange)
                source = UnopenedExchange(
                    exchange, error if isinstance(error, TickwireError) else job_messages.bug(error)
                )
            consumer = await jetstream.pull_subscribe_bind(consumer=name, stream=streams.JOBS)
            try:
                await JobQueue(self._bus, source, lease.stop, self._context).work(consumer)
            finally:
                await graceful_close.unsubscribe(self._bus.client, consumer)


async def take_over(jetstream: JetStreamContext, exchange: str, lease: Lease) -> str | None:
    """Create this epoch's consumer of an exchange's jobs, and remove those of earlier epochs. Returns its name.

    Returns None when a later epoch has a consumer: the lease was lost meanwhile. Raises BrokerUnavailable, also while
    a consumer of an earlier epoch is not listed, and StorageError when the broker's disk is full.
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
        ack_wait=job_requests.ACK_WAIT_S,
        max_ack_pending=2 * streams.JOBS_WAITING,
    )
    try:
        await retry_jetstream(lambda: jetstream.add_consumer(streams.JOBS, config))
    except nats.js.errors.BadRequestError as error:
        if error.err_code != NOT_UNIQUE:
            raise
        raise BrokerUnavailable(
            f"another consumer of stream {streams.JOBS} has the jobs of {exchange}: {error.description}",
            "a cluster lists it once it has elected a leader of it; one that no fetcher made has to be removed",
        ) from error
    return mine


def _epoch_of(consumer: str) -> tuple[int, int]:
    *_, generation, revision = ("", "", *consumer.rsplit("-", 2))
    return (int(generation), int(revision)) if generation.isdigit() and revision.isdigit() else (0, 0)
