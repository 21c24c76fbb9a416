"""`tickwire candles fetch` and `tickwire candles follow`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import render
from tickwire.client import fetch_jobs as jobs
from tickwire.client import progress
from tickwire.errors import NoSuchService, from_code
from tickwire.model.messages import Job
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit


@dataclass
class Fetched:
    """What came of jobs: the last word of each that ended, by key, and whether anything failed."""

    jobs: dict[Key, Job] = field(default_factory=dict)
    failed: bool = False


@dataclass(frozen=True)
class Ordered:
    """Jobs that were ordered and followed: their ids, how they ended, what was refused, and who did not come."""

    ids: list[str]
    ended: dict[str, Job]
    refused: bool
    deserted: NoSuchService | None


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
    async with connected(settings_of(config), stop) as bus:
        done = await ordered(bus, dict.fromkeys(keys, start), end, stop, refresh=refresh)
    return report(done.ids, done.ended, refused=done.refused, json=json, deserted=done.deserted)


async def ordered(
    bus: Bus, begins: Mapping[Key, int], until: int | None, stop: asyncio.Event, *, refresh: bool = False
) -> Ordered:
    """Have keys fetched from a time (ms) on, showing the progress, and say what is refused.

    Raises the refusal where all are refused for one reason.
    """
    ids = {key: jobs.new_id() for key in begins}
    async with jobs.followed(bus, ids.values()) as following:
        async with asyncio.TaskGroup() as group:
            orders = [
                group.create_task(jobs.order(bus, key, job_id, begins[key], until, refresh))
                for key, job_id in ids.items()
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
        return Ordered(ids_accepted, following.ended, bool(refusals), deserted)


async def quietly(bus: Bus, begins: Mapping[Key, int], until: int | None, stop: asyncio.Event) -> Fetched:
    """Have keys fetched, with nothing on standard output. Raises as `ordered` does."""
    done = await ordered(bus, begins, until, stop)
    say_errors(done.ended.values())
    code = say_going_on(done.ids, done.ended, done.deserted)
    failed = done.refused or bool(code) or any(job.state == "failed" for job in done.ended.values())
    return Fetched({job.key: job for job in done.ended.values()}, failed)


async def follow(stop: asyncio.Event, config: Path | None, ids: Sequence[str], json: bool) -> int:
    """Show the progress of jobs ordered before, and print the results."""
    async with connected(settings_of(config), stop) as bus, jobs.followed(bus, ids) as following:
        known = [await jobs.find(bus, each) for each in ids]
        with progress.shown([job.key for job in known]) as show:
            for job in known:
                following.updates.put_nowait(job)
            deserted = await followed_on(following, ids, show, stop)
        return report(ids, following.ended, refused=False, json=json, deserted=deserted)


async def followed_on(
    following: jobs.FollowedJobs, ids: Sequence[str], show: jobs.ShowJob, stop: asyncio.Event
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
    say_errors(results)
    code = say_going_on(ids, ended, deserted)
    return outcome(results, refused=refused) if code is None else code


def say_errors(results: Iterable[Job]) -> None:
    """Say why jobs failed, a line for each."""
    for job in results:
        if job.error is not None:
            reason = from_code(job.error.code, job.error.message, job.error.remedy)
            render.say(f"{job.key}: {reason}")


def say_going_on(ids: Sequence[str], ended: Mapping[str, Job], deserted: NoSuchService | None) -> Exit | None:
    """Say which jobs go on without being followed any more, and the exit code where there are some."""
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
    return None


def outcome(results: Sequence[Job], *, refused: bool) -> int:
    """0 when all is complete, 1 when something failed, 3 when something is missing though nothing failed."""
    if refused or any(job.state == "failed" for job in results):
        return Exit.FAILED
    return Exit.OK if all(job.complete for job in results) else Exit.INCOMPLETE
