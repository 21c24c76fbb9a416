"""`tickwire jobs list` and `jobs cancel`: fetch jobs that are queued or running, and those that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import consoles, render, tables
from tickwire.client.job_queue import cancel_one, last_messages, queued_jobs
from tickwire.errors import JobCancelled, TickwireError
from tickwire.model import subjects
from tickwire.model.messages import Job
from tickwire.process.lifecycle import Exit

SHOWN = 1000
"""The most queued and running jobs that are listed."""


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
