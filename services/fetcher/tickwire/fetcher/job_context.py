"""What all jobs of a fetcher's process share, and the end of jobs that never ran."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import msgspec

from tickwire.bus.connection import Bus
from tickwire.errors import TickwireError
from tickwire.exchange import opening
from tickwire.fetcher.job_messages import last_message, outcome, still_missing
from tickwire.fetcher.metrics import UNKNOWN, FetcherMetrics
from tickwire.model import messages, subjects
from tickwire.model.messages import FetchRequest, Job
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.process.loop_yield import StepPerTurn
from tickwire.settings import Settings

log = logs.get(__name__)

COVERAGE_REQUESTS = 16
"""Jobs that may ask the cache for its coverage at the same time."""


@dataclass(frozen=True)
class UnopenedExchange:
    """An exchange that could not be opened: its jobs fail with `error`."""

    exchange: str
    error: TickwireError


@dataclass(frozen=True)
class JobContext:
    """What all jobs of this process share."""

    bus: Bus
    settings: Settings
    instance: str
    metrics: FetcherMetrics
    begun: set[str] = field(default_factory=set)
    """The jobs that this process has begun and that have not ended."""
    suspects: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the job that is on probation."""
    coverage_permits: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(COVERAGE_REQUESTS))
    steps: StepPerTurn = field(default_factory=StepPerTurn)
    """One page is parsed, checked, taken or encoded in each turn of the loop: what arrives together wakes many jobs."""


async def end_without_running(context: JobContext, request: FetchRequest, error: TickwireError) -> None:
    """Publish that a job failed before it ran here. Raises BrokerUnavailable."""
    assert request.id is not None
    before = await last_message(context.bus, request.id)
    if before is not None and before.ended:
        return
    until = now_ms() if request.until is None else request.until
    # Not moved to where candles open: the timeframe may be an invalid one.
    job = before or Job(
        id=request.id,
        **request.key._asdict(),
        kind=request.kind,
        state="queued",
        since=request.since,
        until=max(request.since, until),
    )
    job = msgspec.structs.replace(
        job, state="failed", error=messages.error_reply(error), instance=context.instance, complete=False
    )
    job = msgspec.structs.replace(job, missing=await still_missing(context.bus, job))
    message_id = f"{job.id}.{context.instance}.unbegun"
    await context.bus.append(subjects.job(job.id), messages.encode(job), message_id=message_id)
    label = job.exchange if job.exchange in opening.ids() else UNKNOWN
    context.metrics.ended.labels(label, outcome(job)).inc()
    log.warning("job failed before it ran", job=job.id, error=str(error))
