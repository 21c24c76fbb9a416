"""The jobs of one exchange on the instance that holds it.

All jobs that wait are taken, so that none is kept out by those before it. Jobs of one key run one after another, and
all keys at once. Their pages take turns: each job asks for one page at a time, and those who want to ask the exchange
stand in one line (`Calls`). So a small job is done within as many rounds as it has pages, whatever runs beside it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext

from tickwire.bus import graceful_close
from tickwire.bus.connection import Bus
from tickwire.bus.requests import cancellable
from tickwire.errors import BadRequest, BrokerUnavailable, StorageError, TickwireError
from tickwire.fetcher import job, job_messages, request_checks
from tickwire.fetcher.candle_source import CandleSource
from tickwire.fetcher.job import FetchJob
from tickwire.fetcher.job_context import JobContext, UnopenedExchange, end_without_running
from tickwire.model import messages, subjects
from tickwire.model.messages import CancelRequest, FetchRequest
from tickwire.model.subjects import Key
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.process.backoff import Backoff

log = logs.get(__name__)

ACK_WAIT_S = 30.0
"""How long a job without a sign of life counts as being worked on."""
GRACE_S = 2.0
"""How long jobs may take to reach a page boundary when they are handed on."""
PULL_S = 5.0
PULLED = 64
"""Jobs taken from the stream in one request."""
AGAIN_S, AGAIN_MAX_S = 0.2, 5.0
"""How long a job that the broker interrupted waits before it goes on, at first and at most."""


@dataclass(eq=False)
class QueuedJob:
    """A job in hand: `run` once it was begun."""

    message: Msg
    request: FetchRequest
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    run: FetchJob | None = None


class JobQueue:
    """The jobs of one exchange. `release` is set when the exchange is to be given up."""

    def __init__(
        self, bus: Bus, candle_source: CandleSource | UnopenedExchange, release: asyncio.Event, context: JobContext
    ) -> None:
        self._bus = bus
        self._source = candle_source
        self._release = release
        self._context = context
        self._lines: dict[Key, deque[QueuedJob]] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._in_hand = context.metrics.taken.labels(candle_source.exchange)
        self._running = context.metrics.running.labels(candle_source.exchange)

    async def work(self, source: JetStreamContext.PullSubscription) -> None:
        """Take jobs until the exchange is to be released; then hand on what is unfinished."""
        cancelling = await self._bus.subscribe("jobs.cancel.*", self._on_cancel)
        try:
            async with asyncio.TaskGroup() as group:
                alive = group.create_task(self._show_life())
                puller = group.create_task(self._pull(source, group))
                released = group.create_task(self._release.wait())
                await asyncio.wait({puller, released}, return_when=asyncio.FIRST_COMPLETED)
                # Whatever was just delivered and not seen goes to the next holder as well.
                self._release.set()
                puller.cancel()
                if self._serving:
                    await asyncio.wait(self._serving, timeout=GRACE_S)
                for task in self._serving:
                    task.cancel()
                alive.cancel()
            for taken in self._all():
                if taken.run is not None:
                    await taken.run.hand_on()
        finally:
            for taken in self._all():
                await self._say(taken.message.nak)
                self._in_hand.dec()
            self._lines.clear()
            await graceful_close.unsubscribe(self._bus.client, cancelling)

    def _all(self) -> list[QueuedJob]:
        return [taken for line in self._lines.values() for taken in line]

    # -- taking jobs ----------------------------------------------------------------------------------------------

    async def _pull(self, source: JetStreamContext.PullSubscription, group: asyncio.TaskGroup) -> None:
        while (found := await self._next(source)) is not None:
            for message in found:
                await self._take(message, group)

    async def _next(self, source: JetStreamContext.PullSubscription) -> list[Msg] | None:
        """The next jobs; None when the consumer is gone: another instance took over."""
        while True:
            try:
                found: list[Msg] = await cancellable(source.fetch(PULLED, timeout=PULL_S))
                return found
            except (nats.errors.Error, TimeoutError) as error:
                if await self._gone(source):
                    return None
                # nats-py raises its own, or at times asyncio's.
                if not isinstance(error, TimeoutError):
                    # The broker restarts.
                    log.debug("cannot take jobs", exchange=self._source.exchange, error=repr(error))
                    await asyncio.sleep(0.2)

    async def _gone(self, source: JetStreamContext.PullSubscription) -> bool:
        try:
            await cancellable(source.consumer_info())
        except nats.js.errors.NotFoundError:
            return True
        except nats.errors.Error as error:
            log.debug("the queue does not answer", exchange=self._source.exchange, error=repr(error))
        return False

    async def _take(self, message: Msg, group: asyncio.TaskGroup) -> None:
        """Put a job at the end of its key's line. What is no job is dropped: counted and named."""
        try:
            request = request_checks.queued_request(message.data, self._source.exchange)
            subjects.key_path(request.key)
        except BadRequest as error:
            self._bus.undecodable.skip(message.subject, message.data, error)
            self._context.metrics.ended.labels(self._source.exchange, "unreadable").inc()
            await self._say(message.ack)
            return
        self._in_hand.inc()
        line = self._lines.setdefault(request.key, deque())
        line.append(QueuedJob(message, request))
        if len(line) == 1:
            task = group.create_task(self._serve(request.key, line))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _on_cancel(self, message: Msg) -> None:
        """Somebody does not want a job any more: end it, also if it has not begun."""
        wanted = messages.decode(message.data, CancelRequest).id
        for line in list(self._lines.values()):
            for taken in [each for each in line if each.request.id == wanted]:
                taken.cancelled.set()
                if taken is not line[0]:
                    line.remove(taken)
                    await end_without_running(self._context, taken.request, job_messages.cancelled(wanted))
                    await self._ended(taken)

    # -- running them ---------------------------------------------------------------------------------------------

    async def _serve(self, key: Key, line: deque[QueuedJob]) -> None:
        """FetchJob the jobs of a key one after another, until there is none or the exchange is given up."""
        while line and not self._release.is_set():
            if not await self._run(line[0]):
                return
            await self._ended(line.popleft())
        if not line:
            del self._lines[key]

    async def _ended(self, taken: QueuedJob) -> None:
        self._in_hand.dec()
        await self._say(taken.message.ack)

    async def _run(self, taken: QueuedJob) -> bool:
        """Whether the job ended. It goes on by itself after the broker interrupted it."""
        backoff = Backoff(AGAIN_S, AGAIN_MAX_S, at_once=False)
        while not self._release.is_set():
            try:
                with self._running.track_inprogress():
                    await self._once(taken)
            except job.Stopped:
                return False
            except (BrokerUnavailable, StorageError, nats.errors.Error) as error:
                # Of a full disk: that it failed was told, and cannot be stored.
                if not backoff.failures:
                    log.warning("job interrupted by the broker", job=taken.request.id, error=repr(error))
                await lifecycle.pause(self._release, backoff.next())
            else:
                return True
        return False

    async def _once(self, taken: QueuedJob) -> None:
        """Build the job and run it. Whatever goes wrong with it ends it alone."""
        request = taken.request
        try:
            if taken.run is None:
                taken.run = job.prepared(self._context, self._source, request, self._release, taken.cancelled)
            await taken.run.run()
        except (job.Stopped, BrokerUnavailable, nats.errors.Error):
            raise
        except TickwireError as error:
            await end_without_running(self._context, request, error)
        except Exception as error:
            # A bug that ended the process here would end it again with the next delivery, for ever.
            log.exception("job met a bug", job=request.id, key=str(request.key)[:120])
            if taken.run is None:
                await end_without_running(self._context, request, job_messages.bug(error))
            else:
                await taken.run.fail(error)

    # -- signs of life --------------------------------------------------------------------------------------------

    async def _show_life(self) -> None:
        while True:
            await asyncio.sleep(ACK_WAIT_S / 3)
            for taken in self._all():
                await self._say(taken.message.in_progress)

    async def _say(self, acknowledge: object) -> None:
        assert callable(acknowledge)
        # Acknowledged before, or not to be said now: it comes again, and is found to have ended.
        with suppress(nats.errors.Error):
            await acknowledge()
