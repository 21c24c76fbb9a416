"""`tickwire jobs list` and `jobs cancel`: fetch jobs that are queued or running, and those that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import nats.js.errors
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from tickwire.bus import graceful_close, streams
from tickwire.bus.connection import Bus
from tickwire.bus.requests import retry_jetstream
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import consoles, render, tables
from tickwire.cli.status.queue import queued_jobs
from tickwire.errors import BrokerUnavailable, JobCancelled, TickwireError
from tickwire.model import subjects
from tickwire.model.messages import CancelRequest, Job
from tickwire.process.lifecycle import Exit

SHOWN = 1000
"""The most queued and running jobs that are listed."""
READ_S = 30.0
"""Time limit for reading the job messages of the last hour."""
CANCEL_S = 15.0


async def list_(stop: asyncio.Event, config: Path | None, ended: bool, json: bool) -> int:
    """Print queued and running jobs, then those of the last hour that failed, or all that `ended`."""
    async with connected(settings_of(config), stop) as bus:
        unfinished = await queued_jobs(bus, SHOWN)
        over = [job for job in await last_messages(bus) if job.ended and (ended or job.state == "failed")]
    found = [*unfinished, *over]
    if json:
        render.as_json({"jobs": found})
    elif found:
        consoles.out().print(tables.jobs_table(found))
        for job in over:
            if job.error is not None and job.error.code != JobCancelled.code:
                render.remark(f"{job.id}: {job.error.message}")
    else:
        render.remark("no job is queued or running, and none failed in the last hour")
    if len(unfinished) == SHOWN:
        render.remark(f"only the first {SHOWN:,} queued jobs are shown")
    return Exit.OK


async def last_messages(bus: Bus) -> list[Job]:
    """Return the newest message of each job of the last hour, oldest first. Raises BrokerUnavailable."""
    try:
        info = await retry_jetstream(lambda: bus.jetstream.stream_info(streams.JOB_RESULTS, subjects_filter="md.job.*"))
    except nats.js.errors.NotFoundError:
        return []
    found: dict[str, Job] = {}
    if not info.state.subjects:
        return []
    all_read = asyncio.Event()

    async def take(message: Msg) -> None:
        job = bus.undecodable.decode(message.subject, message.data, Job)
        if job is not None:
            found.pop(job.id, None)
            found[job.id] = job
        if message.metadata.num_pending == 0:
            all_read.set()

    subscription = await bus.subscribe_ordered("md.job.*", streams.JOB_RESULTS, take, policy=DeliverPolicy.ALL)
    try:
        async with asyncio.timeout(READ_S):
            await all_read.wait()
    except TimeoutError as error:
        message = f"the broker did not deliver the messages of jobs within {READ_S:g} s"
        raise BrokerUnavailable(message, "is JetStream up?") from error
    finally:
        await graceful_close.unsubscribe(bus.client, subscription)
    return list(found.values())


async def cancel(stop: asyncio.Event, config: Path | None, ids: Sequence[str], json: bool) -> int:
    """Cancel jobs; exit code 1 when one of them is unknown. Raises BadRequest for an invalid id."""
    for job_id in ids:
        subjects.job_name(job_id)
    results: list[Job] = []
    refused: list[str] = []
    async with connected(settings_of(config), stop) as bus:
        for job_id in dict.fromkeys(ids):
            try:
                results.append(await cancel_one(bus, job_id))
            except TickwireError as error:
                refused.append(f"{job_id}: {error}")
    if json:
        render.as_json({"jobs": results})
    elif results:
        consoles.out().print(tables.jobs_table(results))
    for job in results:
        if not job.ended:
            render.remark(
                f"{job.id} is being cancelled and ends with its current page; "
                f"follow with `tickwire candles follow {job.id}`"
            )
    for line in refused:
        render.remark(line)
    return Exit.FAILED if refused else Exit.OK


async def cancel_one(bus: Bus, job_id: str) -> Job:
    """Cancel a job; return its newest message. Raises BadRequest for an unknown job, and NoSuchService."""
    request = CancelRequest(id=job_id)
    return await bus.service_wait.call(lambda: bus.request("fetcher.cancel", request, Job, timeout_s=3 * CANCEL_S))
