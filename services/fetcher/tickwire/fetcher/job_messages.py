"""The messages of a job on `md.job.<id>` and `jobs.cancel.<id>`, and what the cache lacks of its range."""

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

COVERAGE_TIMEOUT_S = 5.0
"""How long a job that ends without running waits for the cache."""


async def last_message(bus: Bus, job_id: str) -> Job | None:
    """The newest message of a job; None where none is kept (for an hour) or it does not decode.

    Raises BrokerUnavailable.
    """
    subject = subjects.job(job_id)
    try:
        kept = await retry_jetstream(lambda: bus.jetstream.get_last_msg(streams.JOB_RESULTS, subject))
    except nats.js.errors.NotFoundError:
        return None
    return bus.undecodable.decode(subject, kept.data or b"", Job)


async def is_cancelled(bus: Bus, job_id: str) -> bool:
    """Whether `fetcher.cancel` was called for a job. Raises BrokerUnavailable."""
    try:
        await retry_jetstream(lambda: bus.jetstream.get_last_msg(streams.JOB_RESULTS, subjects.cancel(job_id)))
    except nats.js.errors.NotFoundError:
        return False
    return True


def queued(request: FetchRequest, now: int) -> Job:
    """The first message of a job. Without `until` in the request it has `now` (ms) for the time being."""
    assert request.id is not None
    if request.kind == "trade":
        until = max(request.since, now if request.until is None else request.until)
        return Job(
            id=request.id, **request.key._asdict(), kind="trade", state="queued", since=request.since, until=until
        )
    grid = grid_of(request.exchange, request.timeframe)
    since = grid.ceil_open(request.since)
    until = grid.ceil_open(now if request.until is None else request.until)
    return Job(id=request.id, **request.key._asdict(), state="queued", since=since, until=max(since, until))


def bug(error: Exception) -> InternalError:
    """The error of a job that ended in an unexpected exception."""
    return InternalError(
        f"the job failed with a bug: {excerpt(str(error), 200)!r} ({type(error).__name__})", "see the fetcher's log"
    )


async def still_missing(bus: Bus, job: Job) -> list[Range]:
    """What the cache lacks of a job's range; all of it where the cache does not answer."""
    whole = Range(job.since, job.until)
    if whole.since >= whole.until:
        return []
    if job.kind == "trade":
        return job.missing or [whole]
    request = KeyRequest(**job.key._asdict(), since=whole.since, until=whole.until)
    try:
        coverage = await bus.request("cache.coverage", request, Coverage, timeout_s=COVERAGE_TIMEOUT_S)
    except TickwireError:
        return [whole]
    return subtract(whole, coverage.verified)


def outcome(job: Job) -> str:
    """How a job ended, as the metric counts it: `done`, `failed`, `cancelled` or `parked`."""
    special = job.error is not None and job.error.code in (JobCancelled.code, JobParked.code)
    return job.error.code if job.error is not None and special else job.state
