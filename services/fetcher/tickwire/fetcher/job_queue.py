"""The jobs of one exchange on the instance that holds its lease.

All waiting jobs are taken, so that none is kept out by those before it. Jobs of one key run one after another, jobs of
different keys concurrently. A job in the background gives way to any other of its key, and continues after it. Jobs
share the exchange's concurrency (`CandleSource.share`), and `Calls` serves them in turn: a small job ends within as
many rounds as it has pages, whatever runs beside it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext

from tickwire.bus.connection import Bus
from tickwire.errors import BadRequest, BrokerUnavailable, StorageError, TickwireError
from tickwire.fetcher import job_messages, request_checks
from tickwire.fetcher.cancellation import Cancellation
from tickwire.fetcher.candle_source import CandleSource
from tickwire.fetcher.job import FetchJob, create_job
from tickwire.fetcher.job_context import JobContext, UnopenedExchange, end_without_running
from tickwire.fetcher.job_requests import ACK_WAIT_S, Delivery, next_jobs
from tickwire.fetcher.range_requests import Stopped
from tickwire.model import messages
from tickwire.model.messages import CancelRequest, FetchRequest
from tickwire.model.subjects import Key
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

GRACE_S = 2.0
"""How long jobs may take to finish their page when the exchange is given up."""
RETRY_S, MAX_RETRY_S = 0.2, 5.0
"""The delay before a job that the broker interrupted continues: the first, the longest."""


@dataclass(eq=False)
class QueuedJob:
    """A job that was taken from the stream; `run` is set once it was started."""

    message: Msg
    request: FetchRequest
    cancellation: Cancellation
    stop: asyncio.Event
    """Set when the job is to stop between two pages: the exchange is given up, or the job gives way to another."""
    run: FetchJob | None = None


class JobQueue:
    """The jobs of one exchange, until `stop` is set: then the exchange is given up."""

    def __init__(
        self, bus: Bus, source: CandleSource | UnopenedExchange, stop: asyncio.Event, context: JobContext
    ) -> None:
        self._bus = bus
        self._source = source
        self._stop = stop
        self._context = context
        self._by_key: dict[Key, deque[QueuedJob]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._taken = context.metrics.taken.labels(source.exchange)
        self._running = context.metrics.running.labels(source.exchange)

    async def work(self, consumer: JetStreamContext.PullSubscription) -> None:
        """Take and run jobs until `stop` is set or the consumer is gone; then hand over what is unfinished."""
        async with self._bus.subscribed("jobs.cancel.*", self._on_cancel):
            await self._work(consumer)

    async def _work(self, consumer: JetStreamContext.PullSubscription) -> None:
        try:
            async with TaskGroup() as group:
                keep_alive = group.create_task(self._keep_alive())
                puller = group.create_task(self._pull(consumer, group))
                stopped = group.create_task(self._stop.wait())
                await asyncio.wait({puller, stopped}, return_when=asyncio.FIRST_COMPLETED)
                # Another instance took over or must take over, if not stopped: the jobs stop as well.
                self._stop.set()
                for queued in self._all():
                    queued.stop.set()
                puller.cancel()
                if self._workers:
                    await asyncio.wait(self._workers, timeout=GRACE_S)
                for task in self._workers:
                    task.cancel()
                keep_alive.cancel()
            for queued in self._all():
                if queued.run is not None:
                    await queued.run.hand_over()
        finally:
            for queued in self._all():
                await self._acknowledge(queued.message.nak)
                self._taken.dec()
            self._by_key.clear()

    def _all(self) -> list[QueuedJob]:
        return [queued for jobs in self._by_key.values() for queued in jobs]

    # -- taking jobs ----------------------------------------------------------------------------------------------

    async def _pull(self, consumer: JetStreamContext.PullSubscription, group: TaskGroup) -> None:
        delivery = Delivery(self._source.exchange, consumer)
        while found := await next_jobs(self._source.exchange, consumer, delivery.is_over, self._stop):
            delivery.works()
            for message in found:
                await self._take(message, group)

    async def _take(self, message: Msg, group: TaskGroup) -> None:
        """Append a job to those of its key. A message that is no job is dropped: counted and logged."""
        try:
            request = request_checks.queued_request(message.data, self._source.exchange)
            request_checks.check_key(request)
        except BadRequest as error:
            self._bus.undecodable.skip(message.subject, message.data, error)
            self._context.metrics.ended.labels(self._source.exchange, "unreadable").inc()
            await self._acknowledge(message.ack)
            return
        self._taken.inc()
        jobs = self._by_key.setdefault(request.key, deque())
        stop = asyncio.Event() if request.background else self._stop
        jobs.append(QueuedJob(message, request, Cancellation(request_checks.job_id(request.id)), stop))
        if jobs[0].request.background and not request.background:
            jobs[0].stop.set()
        if len(jobs) == 1:
            task = group.create_task(self._run_all(request.key, jobs))
            self._workers.add(task)
            task.add_done_callback(self._workers.discard)

    async def _on_cancel(self, message: Msg) -> None:
        """End a job that is cancelled, even before it runs."""
        job_id = messages.decode(message.data, CancelRequest).id
        for jobs in list(self._by_key.values()):
            for queued in [each for each in jobs if each.request.id == job_id]:
                queued.cancellation.request()
                await self._end_waiting(queued, jobs)

    async def _end_waiting(self, queued: QueuedJob, jobs: deque[QueuedJob]) -> None:
        """End a cancelled job that waits behind another of its key; one that runs ends by itself."""
        if not _waits(queued, jobs):
            return
        try:
            await end_without_running(self._context, queued.request, queued.cancellation.error)
        except (BrokerUnavailable, StorageError, nats.errors.Error) as error:
            # It stays in the queue, and ends as cancelled when its turn comes.
            log.warning("a cancelled job cannot be ended yet", job=queued.request.id, error=repr(error))
            return
        # Its turn may have come meanwhile.
        if _waits(queued, jobs):
            jobs.remove(queued)
            await self._finish(queued)

    # -- running them ---------------------------------------------------------------------------------------------

    async def _run_all(self, key: Key, jobs: deque[QueuedJob]) -> None:
        """Run the jobs of a key one after another, until none is left or `stop` is set."""
        while jobs and not self._stop.is_set():
            # The one that runs is the first.
            queued = next((each for each in jobs if not each.request.background), jobs[0])
            jobs.remove(queued)
            jobs.appendleft(queued)
            if queued.request.background:
                queued.stop.clear()
            if await self._run_to_end(queued):
                # Still in the queue: a job that comes meanwhile must not start a second worker.
                await self._finish(queued)
                jobs.popleft()
        if not jobs:
            del self._by_key[key]

    async def _finish(self, queued: QueuedJob) -> None:
        await self._acknowledge(queued.message.ack)
        self._taken.dec()

    async def _run_to_end(self, queued: QueuedJob) -> bool:
        """Run a job, again whenever the broker interrupts it. Returns whether it ended; if not, it was to stop."""
        backoff = Backoff(RETRY_S, MAX_RETRY_S, at_once=False)
        episode = Episode(log, "job interrupted by the broker", job=queued.request.id)
        while not queued.stop.is_set():
            try:
                with self._running.track_inprogress():
                    await self._run(queued)
            except Stopped:
                return False
            except (BrokerUnavailable, StorageError, nats.errors.Error) as error:
                # StorageError: the end of the job was not accepted because the broker's disk is full.
                episode.occurs(error=repr(error))
                await lifecycle.pause(queued.stop, backoff.next())
            else:
                episode.ends()
                return True
        return False

    async def _run(self, queued: QueuedJob) -> None:
        """Create the job and run it. An error in it ends this job alone."""
        request = queued.request
        try:
            if queued.run is None:
                queued.run = create_job(self._context, self._source, request, queued.stop, queued.cancellation)
            await queued.run.run()
        except (Stopped, BrokerUnavailable, nats.errors.Error):
            raise
        except TickwireError as error:
            await end_without_running(self._context, request, error)
        except Exception as error:
            # A bug that ended the process here would end it again with each delivery of the job.
            log.exception("job failed with a bug", job=request.id, key=str(request.key)[:120])
            if queued.run is None:
                await end_without_running(self._context, request, job_messages.bug(error))
            else:
                await queued.run.fail(error)

    # -- acknowledgements -----------------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        """Report progress on the jobs to the broker, so that it does not deliver them again."""
        while True:
            await asyncio.sleep(ACK_WAIT_S / 3)
            for queued in self._all():
                await self._acknowledge(queued.message.in_progress)

    async def _acknowledge(self, acknowledge: Callable[[], Awaitable[Any]]) -> None:
        # Acknowledged before, or the broker is away: then the job is delivered again, and found to have ended.
        with suppress(nats.errors.Error):
            await acknowledge()


def _waits(queued: QueuedJob, jobs: deque[QueuedJob]) -> bool:
    """Whether a job waits behind another of its key."""
    return queued in jobs and queued is not jobs[0]
