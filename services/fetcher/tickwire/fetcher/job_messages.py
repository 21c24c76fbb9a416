"""What is said of a job, on `md.job.<id>`, and what the cache says is missing of it."""

from __future__ import annotations

import nats.js.errors

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import retry_jetstream
from tickwire.errors import InternalError, JobCancelled, JobParked, TickwireError
from tickwire.model import subjects
from tickwire.model.messages import Coverage, FetchRequest, Job, KeyRequest
from tickwire.model.ranges import Range, subtract
from tickwire.redaction import excerpt
from tickwire.venues.registry import grid_of

COVERAGE_S = 5.0
"""How long the cache is waited for when a job ends that did not run."""


async def last_message(bus: Bus, job_id: str) -> Job | None:
    """The newest message of a job, as long as it is kept (an hour) and can be read. Raises BrokerUnavailable."""
    subject = subjects.job(job_id)
    try:
        kept = await retry_jetstream(lambda: bus.jetstream.get_last_msg(streams.JOB_RESULTS, subject))
    except nats.js.errors.NotFoundError:
        return None
    return bus.undecodable.decode(subject, kept.data or b"", Job)


async def is_cancelled(bus: Bus, job_id: str) -> bool:
    """Whether somebody does not want a job any more. Raises BrokerUnavailable."""
    try:
        await retry_jetstream(lambda: bus.jetstream.get_last_msg(streams.JOB_RESULTS, subjects.cancel(job_id)))
    except nats.js.errors.NotFoundError:
        return False
    return True


def queued(request: FetchRequest, now: int) -> Job:
    """The first message of a job. Without `until` it says `now` (ms) for the time being."""
    assert request.id is not None
    grid = grid_of(request.exchange, request.timeframe)
    since = grid.ceil_open(request.since)
    until = grid.ceil_open(now if request.until is None else request.until)
    return Job(
        id=request.id,
        exchange=request.exchange,
        symbol=request.symbol,
        timeframe=request.timeframe,
        state="queued",
        since=since,
        until=max(since, until),
    )


def cancelled(job_id: str) -> JobCancelled:
    """Why a job ended that somebody did not want any more."""
    return JobCancelled(f"job {job_id} was cancelled", "what it had stored is kept; fetch again for the rest")


def bug(error: Exception) -> InternalError:
    """Why a job ended that met a bug."""
    return InternalError(
        f"the job met a bug: {excerpt(str(error), 200)!r} ({type(error).__name__})", "see the fetcher's log"
    )


async def still_missing(bus: Bus, job: Job) -> list[Range]:
    """What the cache does not have of a job's range; all of it where the cache does not answer."""
    whole = Range(job.since, job.until)
    if whole.since >= whole.until:
        return []
    request = KeyRequest(**job.key._asdict(), since=whole.since, until=whole.until)
    try:
        return subtract(whole, (await bus.request("cache.coverage", request, Coverage, timeout_s=COVERAGE_S)).verified)
    except TickwireError:
        return [whole]


def outcome(job: Job) -> str:
    """How a job ended, as it is counted: `done`, `failed`, `cancelled` or `parked`."""
    special = job.error is not None and job.error.code in (JobCancelled.code, JobParked.code)
    return job.error.code if job.error is not None and special else job.state
