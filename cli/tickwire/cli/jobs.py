"""`tickwire jobs list` and `jobs cancel`: the fetch jobs that wait or run, and those that failed."""

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
from tickwire.cli.output import render
from tickwire.cli.status import view as status_view
from tickwire.cli.status.survey import queued
from tickwire.errors import BrokerUnavailable, JobCancelled, TickwireError
from tickwire.model import subjects
from tickwire.model.messages import CancelRequest, Job
from tickwire.process.lifecycle import Exit

SHOWN = 1000
"""Jobs listed that wait or run."""
READ_S = 30.0
"""How long reading what was said of jobs within the last hour may take."""
CANCEL_S = 15.0


async def list_(stop: asyncio.Event, config: Path | None, ended: bool, json: bool) -> int:
    """Print the jobs that wait or run, then those of the last hour that failed, or all that `ended`."""
    async with connected(settings_of(config), stop) as bus:
        open_ones = await queued(bus, SHOWN)
        over = [job for job in await words(bus) if job.ended and (ended or job.state == "failed")]
    found = [*open_ones, *over]
    if json:
        render.as_json({"jobs": found})
    elif found:
        render.out().print(status_view.jobs_table(found))
        for job in over:
            if job.error is not None and job.error.code != JobCancelled.code:
                render.say(f"{job.id}: {job.error.message}")
    else:
        render.say("no job waits or runs, and none failed within the last hour")
    if len(open_ones) == SHOWN:
        render.say(f"only the first {SHOWN:,} that wait are shown")
    return Exit.OK


async def words(bus: Bus) -> list[Job]:
    """The last word of each job, as long as it is kept (an hour), oldest first. Raises BrokerUnavailable."""
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

    reading = await bus.subscribe_ordered("md.job.*", streams.JOB_RESULTS, take, policy=DeliverPolicy.ALL)
    try:
        async with asyncio.timeout(READ_S):
            await all_read.wait()
    except TimeoutError as error:
        raise BrokerUnavailable("the broker does not hand out what was said of jobs", "is JetStream up?") from error
    finally:
        await graceful_close.unsubscribe(bus.client, reading)
    return list(found.values())


async def cancel(stop: asyncio.Event, config: Path | None, ids: Sequence[str], json: bool) -> int:
    """Have jobs end; 1 when one of them is not known. Raises BadRequest for what is no id of a job."""
    for job_id in ids:
        subjects.job_name(job_id)
    results: list[Job] = []
    refused: list[str] = []
    async with connected(settings_of(config), stop) as bus:
        for job_id in dict.fromkeys(ids):
            try:
                results.append(await cancelled(bus, job_id))
            except TickwireError as error:
                refused.append(f"{job_id}: {error}")
    if json:
        render.as_json({"jobs": results})
    elif results:
        render.out().print(status_view.jobs_table(results))
    for job in results:
        if not job.ended:
            render.say(
                f"{job.id} is told, and ends with its present page; follow with `tickwire candles follow {job.id}`"
            )
    for line in refused:
        render.say(line)
    return Exit.FAILED if refused else Exit.OK


async def cancelled(bus: Bus, job_id: str) -> Job:
    """Have a job end; its last word. Raises BadRequest where none is known, and NoSuchService."""
    request = CancelRequest(id=job_id)
    return await bus.service_wait.call(lambda: bus.request("fetcher.cancel", request, Job, timeout_s=3 * CANCEL_S))
