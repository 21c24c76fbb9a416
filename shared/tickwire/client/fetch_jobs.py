"""Requests fetch jobs and follows them to their end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import nats.errors
from nats.aio.msg import Msg

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import no_such_service, open_inbox
from tickwire.bus.service_wait import ServiceAbsence
from tickwire.errors import BadRequest, BrokerUnavailable, NoSuchService, RequestTimeout, TickwireError
from tickwire.model import messages, subjects
from tickwire.model.messages import FetchAccepted, FetchRequest, Job
from tickwire.model.subjects import Key

ShowJob = Callable[[Job], object]
"""Called with each message of a job."""

SILENCE_S = 2.0
"""After so long without a message the newest one of each job is read from its stream: it may have been missed."""
PING_S = 2.0
ORDER_TIMEOUT_S = 60.0
"""Longer than the 15 s for which a fetcher retries to queue a job."""


@dataclass(frozen=True)
class Order:
    """A requested fetch job: its key and id, and the error if it was refused."""

    key: Key
    id: str
    error: TickwireError | None = None


@dataclass
class FollowedJobs:
    """Jobs that are followed, and the last messages of those that ended."""

    bus: Bus
    updates: asyncio.Queue[Job] = field(default_factory=asyncio.Queue)
    ended: dict[str, Job] = field(default_factory=dict)

    async def until_ended(self, ids: Iterable[str], show: ShowJob, stop: asyncio.Event) -> None:
        """Call `show` with each message of the jobs until all have ended, or `stop` is set.

        Waits for a fetcher that restarts. Raises NoSuchService when none comes within the bus's `service_wait`, and
        BrokerUnavailable when the connection is closed. The jobs stay queued: the next fetcher continues them.
        """
        waiting = set(ids) - self.ended.keys()
        stopped = asyncio.ensure_future(stop.wait())
        absence = ServiceAbsence(self.bus.service_wait)
        try:
            while waiting and not stop.is_set():
                update = asyncio.ensure_future(self.updates.get())
                try:
                    await asyncio.wait({update, stopped}, timeout=SILENCE_S, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    update.cancel()
                if update.done() and not update.cancelled():
                    self._take(update.result(), show)
                    absence.over()
                elif not stop.is_set():
                    for each in waiting:
                        if last := await last_message(self.bus, each):
                            self._take(last, show)
                    waiting -= self.ended.keys()
                    if await _served(self.bus):
                        absence.over()
                    elif waiting:
                        await absence.pause(no_such_service("fetcher.fetch"))
                waiting -= self.ended.keys()
        finally:
            stopped.cancel()

    def _take(self, job: Job, show: ShowJob) -> None:
        if job.id not in self.ended:
            show(job)
            if job.ended:
                self.ended[job.id] = job


async def _served(bus: Bus) -> bool:
    """Whether a fetcher may be running. Raises BrokerUnavailable when the connection is closed."""
    try:
        async with open_inbox(bus.client) as inbox:
            await inbox.ask("$SRV.PING.fetcher", b"")
            await inbox.reply(PING_S)
    except NoSuchService:
        return False
    except (nats.errors.Error, TimeoutError) as error:
        if bus.client.is_closed:
            raise BrokerUnavailable("the connection to the broker is closed", "connect again") from error
    return True


@asynccontextmanager
async def followed(bus: Bus, ids: Iterable[str]) -> AsyncIterator[FollowedJobs]:
    """Follow jobs for as long as the block lasts. Enter it before requesting them, so that no message is missed."""
    jobs = FollowedJobs(bus)

    async def take(message: Msg) -> None:
        jobs.updates.put_nowait(messages.decode(message.data, Job))

    async with AsyncExitStack() as stack:
        for each in ids:
            await stack.enter_async_context(bus.subscribed(subjects.job(each), take))
        yield jobs


def new_id() -> str:
    """A random job id."""
    return secrets.token_hex(8)


async def order(bus: Bus, key: Key, job_id: str, since: int, until: int | None, refresh: bool) -> Order:
    """Request one job as `order_request` does: of trades where the key has no timeframe."""
    request = FetchRequest(
        exchange=key.exchange,
        symbol=key.symbol,
        timeframe=key.timeframe,
        kind="candle" if key.timeframe else "trade",
        since=since,
        until=until,
        refresh=refresh,
        id=job_id,
    )
    return await order_request(bus, request)


async def order_request(bus: Bus, request: FetchRequest) -> Order:
    """Request one job, whose id the request has; waits for a fetcher that is restarting or busy.

    A refusal is returned, not raised. Raises NoSuchService when no fetcher comes.
    """
    key, job_id = request.key, str(request.id)
    try:
        await bus.service_wait.call(
            lambda: bus.request("fetcher.fetch", request, FetchAccepted, timeout_s=ORDER_TIMEOUT_S)
        )
    except NoSuchService:
        raise
    except (BrokerUnavailable, RequestTimeout) as error:
        # The reply is lost; a message of the job proves that it was queued.
        if await last_message(bus, job_id) is None:
            return Order(key, job_id, error)
    except TickwireError as error:
        return Order(key, job_id, error)
    return Order(key, job_id)


async def last_message(bus: Bus, job_id: str) -> Job | None:
    """The newest message of a job, kept for an hour; None when there is none, or the broker does not answer."""
    subject = subjects.job(job_id)
    try:
        last = await bus.jetstream.get_last_msg(streams.JOB_RESULTS, subject)
    except nats.errors.Error:
        return None
    return bus.undecodable.decode(subject, last.data or b"", Job)


async def find(bus: Bus, job_id: str) -> Job:
    """The newest message of a job. Raises BadRequest when there is none."""
    job = await last_message(bus, job_id)
    if job is None:
        raise BadRequest(f"nothing is known of a job {job_id!r}", "results are kept for an hour; fetch again")
    return job
