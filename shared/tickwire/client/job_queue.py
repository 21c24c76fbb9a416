"""Fetch jobs: the queue and the last messages, read from JetStream, and how one is cancelled."""

from __future__ import annotations

from functools import partial

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import direct_get, retry_jetstream
from tickwire.errors import BadRequest, BrokerUnavailable
from tickwire.model import subjects
from tickwire.model.messages import CancelRequest, FetchRequest, Job
from tickwire.model.times import now_ms

READ_S = 30.0
"""Time limit for each message of jobs."""
PAGE, PAGE_BYTES = 256, 4 << 20
SEQUENCE, SUBJECT = "Nats-Sequence", "Nats-Subject"
"""Headers of messages that are read by direct get (ADR-31)."""
CANCEL_S = 15.0


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


async def last_messages(bus: Bus) -> list[Job]:
    """Return the newest message of each job of the last hour, oldest first. Raises BrokerUnavailable.

    Read by direct gets, which a user may send who may not make consumers.
    """
    found: dict[str, Job] = {}
    sequence = 0
    try:
        while page := await _job_messages(bus, sequence + 1):
            for message in page:
                sequence = int((message.headers or {})[SEQUENCE])
                job = bus.undecodable.decode((message.headers or {})[SUBJECT], message.data, Job)
                if job is not None:
                    found.pop(job.id, None)
                    found[job.id] = job
    except nats.errors.NoRespondersError:
        # A broker without the stream.
        return []
    except (nats.errors.Error, TimeoutError) as error:
        message_ = f"the broker did not deliver the messages of jobs: {error!r}"
        raise BrokerUnavailable(message_, "is JetStream up?") from error
    return list(found.values())


async def _job_messages(bus: Bus, sequence: int) -> list[Msg]:
    """A page of the newest messages of jobs, from a sequence on."""
    wanted = {"seq": sequence, "next_by_subj": "md.job.*", "batch": PAGE, "max_bytes": PAGE_BYTES}
    return await direct_get(bus.client, streams.JOB_RESULTS, wanted, READ_S)


async def cancel_one(bus: Bus, job_id: str) -> Job:
    """Cancel a job; return its newest message. Raises BadRequest for an unknown job, and NoSuchService."""
    request = CancelRequest(id=job_id)
    return await bus.service_wait.call(lambda: bus.request("fetcher.cancel", request, Job, timeout_s=3 * CANCEL_S))
