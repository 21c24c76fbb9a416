"""The fetcher: what is missing in the cache, fetched from exchanges by REST.

| subject | | |
|---|---|---|
| `fetcher.fetch` | answers | FetchRequest -> FetchAccepted; the job is queued, follow it on `md.job.<id>` |
| `jobs.fetch.<exchange>` | publishes, consumes | FetchRequest with its id; stream JOBS, until the job has ended |
| `md.job.<id>` | publishes | Job: queued, running (at most 5/s), done or failed; the last one is kept in JOB_RESULTS |
| `cache.coverage` | asks | KeyRequest -> Coverage |
| `tape.ohlcv.<exchange>.<token>.<timeframe>` | publishes | CandlePage: what the exchange proved complete |
| `md.stored.<exchange>.<token>.<timeframe>` | subscribes | Stored: which pages are durable |

Jobs of one exchange run on the one instance that holds the lease `<exchange>`, so that the exchange sees one budget
of requests. It takes them from a consumer that is named with the lease's epoch; a new holder removes the consumers of
earlier ones, and what these had not finished is handed to it at once.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections import defaultdict
from contextlib import suppress
from functools import partial

import msgspec
import nats.errors
import nats.js.errors
import stamina.instrumentation
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.client import JetStreamContext

from tickwire import backlog, exchanges, logs, messages, parting, streams, subjects, timeframes
from tickwire.bus import Bus, cancellable, patiently
from tickwire.config import Settings
from tickwire.errors import BadRequest, BrokerUnavailable
from tickwire.fetcher import jobs
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.fetcher.venue import Venue, open_venue
from tickwire.leases import Lease, Leases, open_leases
from tickwire.messages import FetchAccepted, FetchRequest
from tickwire.metrics import Metrics
from tickwire.serving import Call, Endpoint, serve
from tickwire.subjects import Key

log = logs.get(__name__)

SERVICE = "fetcher"
RUNNING = 8
"""Jobs of one exchange that run at once; the exchange's concurrency bounds their requests further."""
TAKEN = 64
"""Jobs taken from the queue at once: those of a busy key wait for it without keeping others out."""
ACK_WAIT_S = 10.0
"""How long a job without a sign of life counts as being worked on."""
GRACE_S = 2.0
"""How long jobs may take to reach a page boundary when they are handed on."""
PULL_S = 5.0

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


async def serve_fetcher(bus: Bus, settings: Settings, instance: str, stop: asyncio.Event, metrics: Metrics) -> None:
    """Serve until `stop`, then hand on what is not finished. Raises BrokerUnavailable when the broker is lost."""
    exchanges.preload()
    # Retries are counted in the job and logged there; stamina would log each with its arguments.
    stamina.instrumentation.set_on_retry_hooks([])
    await streams.declare_for(bus.jetstream, settings)
    async with (
        open_leases(bus, SERVICE, instance, settings.leases.ttl_s, stop, metrics) as leases,
        backlog.measured(bus, streams.JOBS, metrics),
        asyncio.TaskGroup() as group,
    ):
        fetcher = _Fetcher(bus, settings, instance, leases, group, stop, FetcherMetrics(metrics.registry))
        await bus.subscribe("jobs.fetch.*", fetcher.on_job)
        for exchange in await _waiting(bus.jetstream):
            fetcher.contend(exchange)
        endpoint = Endpoint("fetcher.fetch", FetchRequest, fetcher.accept)
        async with serve(bus, SERVICE, [endpoint], instance=instance, metrics=metrics):
            log.info("serving")
            await stop.wait()


async def _waiting(jetstream: JetStreamContext) -> list[str]:
    """The exchanges that have jobs waiting."""
    info = await patiently(lambda: jetstream.stream_info(streams.JOBS, subjects_filter="jobs.fetch.>"))
    return [subject.removeprefix("jobs.fetch.") for subject in info.state.subjects or {}]


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
        self._instance = instance
        self._metrics = metrics
        self._leases = leases
        self._group = group
        self._stop = stop
        self._contending: set[str] = set()

    # -- taking requests ------------------------------------------------------------------------------------------

    async def accept(self, request: FetchRequest, _call: Call) -> FetchAccepted:
        """Queue a job, once for each id."""
        request = msgspec.structs.replace(request, id=request.id or uuid.uuid4().hex)
        assert request.id is not None
        now = int(time.time() * 1000)
        self._check(request, now)
        before = await jobs.last_message(self._bus, request.id)
        if before is not None and before.ended:
            # The same request again: the result again, for whoever asks.
            await self._bus.publish(subjects.job(request.id), before)
            return FetchAccepted(id=request.id)
        if before is None:
            await self._bus.publish(subjects.job(request.id), jobs.queued(request, now))
        await self._bus.append(subjects.jobs(request.exchange), messages.encode(request), message_id=request.id)
        self.contend(request.exchange)
        return FetchAccepted(id=request.id)

    def _check(self, request: FetchRequest, now: int) -> None:
        """Refuse what can be refused without asking the exchange."""
        assert request.id is not None
        if not _JOB_ID.match(request.id):
            raise BadRequest(f"{request.id!r} is no job id", "use 1 to 64 of A-Z, a-z, 0-9, _ and -")
        exchanges.known(request.exchange)
        timeframes.parse(request.timeframe)
        exchanges.check_timeframe(request.exchange, request.timeframe)
        subjects.key_path(request.key)
        if request.since < 0:
            raise BadRequest("since is before 1970", "times are ms since the epoch")
        if request.until is not None and request.until <= request.since:
            raise BadRequest(
                f"since ({request.since}) is not before until ({request.until})", "the range is [since, until)"
            )
        # A local stand-in may keep another time than ours; it is asked when the job runs.
        if request.since > now and self._settings.of_exchange(request.exchange).gateway is None:
            raise BadRequest(f"since ({request.since}) is in the future", "ask for what has happened")

    # -- contending for exchanges ---------------------------------------------------------------------------------

    async def on_job(self, message: Msg) -> None:
        """Somebody queued a job: be ready to run it."""
        self.contend(message.subject.removeprefix("jobs.fetch."))

    def contend(self, exchange: str) -> None:
        """Contend for an exchange from now on."""
        if exchange not in self._contending and exchange in exchanges.ids() and not self._stop.is_set():
            self._contending.add(exchange)
            work = partial(self._work, exchange)
            self._group.create_task(self._leases.hold(exchange, work, self._stop, exchange=exchange))

    async def _work(self, exchange: str, lease: Lease) -> None:
        """Run jobs of an exchange for as long as the lease is held."""
        try:
            consumer = await take_over(self._bus.jetstream, exchange, lease)
        except BrokerUnavailable as error:
            log.warning("cannot take the jobs over yet", exchange=exchange, error=str(error))
            return
        if consumer is None:
            return
        async with open_venue(exchange, self._settings, self._metrics) as venue:
            jobs_ = await self._bus.jetstream.pull_subscribe_bind(consumer=consumer, stream=streams.JOBS)
            try:
                await _Queue(self._bus, self._settings, self._instance, venue, lease.release, self._metrics).work(jobs_)
            finally:
                await parting.unsubscribe(self._bus.client, jobs_)


class _Queue:
    """The jobs of one exchange on its holder: some at once, those of one key one after another."""

    def __init__(
        self,
        bus: Bus,
        settings: Settings,
        instance: str,
        venue: Venue,
        release: asyncio.Event,
        metrics: FetcherMetrics,
    ) -> None:
        self._metrics = metrics
        self._bus = bus
        self._settings = settings
        self._instance = instance
        self._venue = venue
        self._release = release
        self._keys: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._running = asyncio.Semaphore(RUNNING)
        self._taken = asyncio.Semaphore(TAKEN)

    async def work(self, source: JetStreamContext.PullSubscription) -> None:
        """Take jobs until the lease is to be released; then hand on what is unfinished."""
        async with asyncio.TaskGroup() as group:
            puller = group.create_task(self._pull(source, group))
            released = group.create_task(self._release.wait())
            await asyncio.wait({puller, released}, return_when=asyncio.FIRST_COMPLETED)
            # Whatever was just delivered and not seen goes to the next holder as well.
            self._release.set()
            puller.cancel()

    async def _pull(self, source: JetStreamContext.PullSubscription, group: asyncio.TaskGroup) -> None:
        while True:
            await self._taken.acquire()
            message = await self._next(source)
            if message is None:
                return
            group.create_task(self._attend(message))

    async def _next(self, source: JetStreamContext.PullSubscription) -> Msg | None:
        """The next job; None when the consumer is gone: another instance took over."""
        while True:
            try:
                return (await cancellable(source.fetch(1, timeout=PULL_S)))[0]
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
                if await self._gone(source):
                    return None
                # nats-py raises its own, or at times asyncio's.
                if not isinstance(error, TimeoutError):
                    # The broker restarts.
                    log.debug("cannot take jobs", exchange=self._venue.exchange, error=repr(error))
                    await asyncio.sleep(0.2)

    async def _gone(self, source: JetStreamContext.PullSubscription) -> bool:
        try:
            await cancellable(source.consumer_info())
        except nats.js.errors.NotFoundError:
            return True
        except (nats.errors.Error, nats.js.errors.Error) as error:
            log.debug("the queue does not answer", exchange=self._venue.exchange, error=repr(error))
        return False

    async def _attend(self, message: Msg) -> None:
        """Run a job, showing signs of life; acknowledge it when it ended, hand it on when it did not."""
        work = asyncio.ensure_future(self._run(message))
        released = asyncio.ensure_future(self._release.wait())
        taken = self._metrics.taken.labels(self._venue.exchange)
        taken.inc()
        ended = False
        try:
            while True:
                await asyncio.wait({work, released}, timeout=ACK_WAIT_S / 3, return_when=asyncio.FIRST_COMPLETED)
                if work.done() or released.done():
                    break
                await self._say(message.in_progress)
            await asyncio.wait({work}, timeout=GRACE_S)
            if work.done():
                ended = work.result()
        finally:
            released.cancel()
            work.cancel()
            await asyncio.wait({work, released})
            await self._say(message.ack if ended else message.nak)
            self._taken.release()
            taken.dec()

    async def _say(self, acknowledge: object) -> None:
        assert callable(acknowledge)
        try:
            await acknowledge()
        except nats.errors.Error as error:
            log.debug("not acknowledged, comes again", exchange=self._venue.exchange, error=repr(error))

    async def _run(self, message: Msg) -> bool:
        """Whether the job ended."""
        try:
            request = messages.decode(message.data, FetchRequest)
            if request.id is None:
                raise BadRequest("a job has an id", "queue jobs by fetcher.fetch")
        except BadRequest:
            log.exception("dropped what is no job", subject=message.subject)
            return True
        about = {"job": request.id, **request.key._asdict()}
        async with self._keys[request.key], self._running:
            if self._release.is_set():
                return False
            run = jobs.Run(
                self._bus,
                self._venue,
                self._settings.fetcher,
                request,
                instance=self._instance,
                stop=self._release,
                delivered=message.metadata.num_delivered or 1,
                metrics=self._metrics,
            )
            try:
                with self._metrics.running.labels(self._venue.exchange).track_inprogress():
                    await run.run()
            except jobs.Stopped:
                return False
            except (BrokerUnavailable, nats.errors.Error, nats.js.errors.Error) as error:
                log.warning("job interrupted by the broker", **about, error=repr(error))
                return False
            except Exception as error:
                # A bug that ended the process here would end it again with the next delivery, for ever.
                log.exception("job met a bug", **about)
                await run.fail(error)
        return True


async def take_over(jetstream: JetStreamContext, exchange: str, lease: Lease) -> str | None:
    """Make this epoch's consumer of an exchange's jobs and remove those of earlier epochs; its name.

    None when a later epoch has one: the lease was lost meanwhile. Raises BrokerUnavailable.
    """
    subject = subjects.jobs(exchange)
    mine = f"{SERVICE}-{exchange}-{lease.epoch.generation}-{lease.epoch.revision}"
    for consumer in await patiently(lambda: jetstream.consumers_info(streams.JOBS)):
        if consumer.config.filter_subject != subject or consumer.name == mine:
            continue
        if _epoch_of(consumer.name) > tuple(lease.epoch):
            return None
        with suppress(nats.js.errors.NotFoundError):
            await patiently(partial(jetstream.delete_consumer, streams.JOBS, consumer.name))
    config = ConsumerConfig(
        durable_name=mine,
        filter_subject=subject,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_S,
        max_ack_pending=2 * TAKEN,
    )
    await patiently(lambda: jetstream.add_consumer(streams.JOBS, config))
    return mine


def _epoch_of(consumer: str) -> tuple[int, int]:
    *_, generation, revision = consumer.rsplit("-", 2)
    return (int(generation), int(revision)) if generation.isdigit() and revision.isdigit() else (0, 0)
