"""What all jobs of a fetcher's process share, and the end of those that do not run."""

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
from tickwire.settings import Settings

log = logs.get(__name__)

STARTING = 16
"""Jobs that ask the cache what it has at once."""


@dataclass(frozen=True)
class UnopenedExchange:
    """An exchange that could not be opened, and why: its jobs fail with that."""

    exchange: str
    error: TickwireError


@dataclass(frozen=True)
class JobContext:
    """What all jobs of this process share. `begun` are those that it began and that have not ended."""

    bus: Bus
    settings: Settings
    instance: str
    metrics: FetcherMetrics
    begun: set[str] = field(default_factory=set)
    suspects: asyncio.Lock = field(default_factory=asyncio.Lock)
    starting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(STARTING))


async def end_without_running(context: JobContext, request: FetchRequest, error: TickwireError) -> None:
    """Publish that a job ended while it did not run. Raises BrokerUnavailable."""
    assert request.id is not None
    before = await last_message(context.bus, request.id)
    if before is not None and before.ended:
        return
    until = now_ms() if request.until is None else request.until
    job = before or Job(
        id=request.id,
        exchange=request.exchange,
        symbol=request.symbol,
        timeframe=request.timeframe,
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
    log.warning("job ended before it began", job=job.id, error=str(error))
