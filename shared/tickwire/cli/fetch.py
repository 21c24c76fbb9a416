"""`tickwire candles fetch` and `tickwire candles follow`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tickwire import jobs, progress
from tickwire.cli import arguments, render
from tickwire.cli.connection import connected, now_ms, settings_of
from tickwire.errors import NoSuchService, from_code
from tickwire.lifecycle import Exit
from tickwire.messages import Job


async def fetch(
    stop: asyncio.Event,
    config: Path | None,
    exchanges: str,
    symbols: str,
    timeframes: str,
    since: str,
    until: str | None,
    refresh: bool,
    json: bool,
) -> int:
    """Order a job for every combination, show its progress, print the results."""
    keys = arguments.keys(exchanges, symbols, timeframes)
    start, end = arguments.span(since, until, now_ms())
    assert start is not None
    ids = {key: jobs.new_id() for key in keys}
    async with connected(settings_of(config), stop) as bus, jobs.followed(bus, ids.values()) as following:
        async with asyncio.TaskGroup() as group:
            orders = [
                group.create_task(jobs.order(bus, key, job_id, start, end, refresh)) for key, job_id in ids.items()
            ]
        accepted = [each.result() for each in orders if each.result().error is None]
        refusals = [error for each in orders if (error := each.result().error) is not None]
        if not accepted and len({str(error) for error in refusals}) == 1:
            raise refusals[0]
        for line in dict.fromkeys(str(error) for error in refusals):
            render.say(line)
        ids_accepted = [each.id for each in accepted]
        with progress.shown([each.key for each in accepted]) as show:
            deserted = await followed_on(following, ids_accepted, show, stop)
        return report(ids_accepted, following.ended, refused=bool(refusals), json=json, deserted=deserted)


async def follow(stop: asyncio.Event, config: Path | None, ids: Sequence[str], json: bool) -> int:
    """Show the progress of jobs ordered before, and print the results."""
    async with connected(settings_of(config), stop) as bus, jobs.followed(bus, ids) as following:
        known = [await jobs.known(bus, each) for each in ids]
        with progress.shown([job.key for job in known]) as show:
            for job in known:
                following.words.put_nowait(job)
            deserted = await followed_on(following, ids, show, stop)
        return report(ids, following.ended, refused=False, json=json, deserted=deserted)


async def followed_on(
    following: jobs.Followed, ids: Sequence[str], show: jobs.Show, stop: asyncio.Event
) -> NoSuchService | None:
    """Follow jobs to their end, or until `stop`; the error where no fetcher came in time, and the jobs stay."""
    try:
        await following.until_ended(ids, show, stop)
    except NoSuchService as error:
        return None if stop.is_set() else error
    return None


def report(
    ids: Sequence[str], ended: dict[str, Job], *, refused: bool, json: bool, deserted: NoSuchService | None = None
) -> int:
    """Print how the jobs ended; the command's exit code."""
    results = [ended[each] for each in ids if each in ended]
    if json:
        render.as_json(results)
    elif any(job.state != "failed" or job.rows_from_cache or job.rows_fetched for job in results):
        render.out().print(render.job_table(results))
    for job in results:
        if job.error is not None:
            reason = from_code(job.error.code, job.error.message, job.error.remedy)
            render.say(f"{job.key}: {reason}")
    going_on = [each for each in ids if each not in ended]
    if deserted is not None and going_on:
        render.say(
            f"{deserted}; {render.plural(len(going_on), 'job')} not ended yet, and kept for the next fetcher; "
            f"follow with `tickwire candles follow {' '.join(going_on)}`"
        )
        return Exit.FAILED
    if going_on:
        render.say(
            f"detached: {render.plural(len(going_on), 'job')} not ended yet, and not stopped either; "
            f"follow with `tickwire candles follow {' '.join(going_on)}`"
        )
        return Exit.INTERRUPTED
    return outcome(results, refused=refused)


def outcome(results: Sequence[Job], *, refused: bool) -> int:
    """0 when all is complete, 1 when something failed, 3 when something is missing though nothing failed."""
    if refused or any(job.state == "failed" for job in results):
        return Exit.FAILED
    return Exit.OK if all(job.complete for job in results) else Exit.INCOMPLETE
