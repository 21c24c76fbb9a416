"""The queue of fetch jobs, read from JetStream."""

from __future__ import annotations

from functools import partial

import nats.js.errors

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import retry_jetstream
from tickwire.errors import BadRequest
from tickwire.model import subjects
from tickwire.model.messages import FetchRequest, Job
from tickwire.model.times import now_ms


async def queued_jobs(bus: Bus, most: int) -> list[Job]:
    """Return the first queued and running jobs, each by its newest message. Raises BrokerUnavailable."""
    found: list[Job] = []
    sequence = 0
    while len(found) < most:
        try:
            queued = await retry_jetstream(
                partial(bus.jetstream.get_msg, streams.JOBS, sequence + 1, subject=">", next=True)
            )
        except nats.js.errors.NotFoundError:
            # The end of the queue, or a broker without the stream.
            break
        sequence = queued.seq or sequence + 1
        request = bus.undecodable.decode(queued.subject or "", queued.data or b"", FetchRequest)
        if request is None or request.id is None:
            continue
        try:
            found.append(await _job(bus, request.id, request))
        except BadRequest as error:
            # A job with an invalid id does not hide the others.
            bus.undecodable.skip(queued.subject or "", queued.data or b"", error)
    return found


async def _job(bus: Bus, job_id: str, request: FetchRequest) -> Job:
    """Return a job's newest message; where none is kept or readable, a queued job as requested."""
    subject = subjects.job(job_id)
    try:
        last = await retry_jetstream(lambda: bus.jetstream.get_last_msg(streams.JOB_RESULTS, subject, direct=True))
    except nats.js.errors.NotFoundError:
        found = None
    else:
        found = bus.undecodable.decode(subject, last.data or b"", Job)
    return found or Job(
        id=job_id,
        exchange=request.exchange,
        symbol=request.symbol,
        timeframe=request.timeframe,
        state="queued",
        since=request.since,
        until=now_ms() if request.until is None else request.until,
    )
