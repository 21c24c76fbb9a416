"""`tickwire candles fetch` and `tickwire candles follow`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.arguments import KeyNames
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import consoles, render, tables
from tickwire.client import fetch_jobs as jobs
from tickwire.client import progress
from tickwire.errors import NoSuchService, from_code
from tickwire.model.messages import Job
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit
from tickwire.task_group import TaskGroup
from tickwire.venues.proof import not_proven


@dataclass(frozen=True)
class FetchOptions:
    """What `candles fetch` is to fetch, as typed."""

    names: KeyNames
    since: str
    until: str | None = None
    refresh: bool = False


@dataclass
class Fetched:
    """Results of jobs: the last message of each that ended, by key, and whether anything failed."""

    jobs: dict[Key, Job] = field(default_factory=dict)
    failed: bool = False


@dataclass(frozen=True)
class FollowedJobs:
    """Jobs that were requested and followed.

    `ended` has the last message of each that ended, `refused` says whether a request was refused, and `no_fetcher` is
    the error of jobs that no fetcher took.
    """

    ids: list[str]
    ended: dict[str, Job]
    refused: bool
    no_fetcher: NoSuchService | None


async def fetch(stop: asyncio.Event, config: Path | None, options: FetchOptions, json: bool) -> int:
    """Request a job for every combination, show its progress, print the results."""
    keys = arguments.keys(*options.names)
    start, end = arguments.span(options.since, options.until, now_ms())
    assert start is not None
    async with connected(settings_of(config), stop) as bus:
        done = await fetch_keys(bus, dict.fromkeys(keys, start), end, stop, refresh=options.refresh)
    return report(done.ids, done.ended, refused=done.refused, json=json, no_fetcher=done.no_fetcher)


async def fetch_keys(
    bus: Bus, begins: Mapping[Key, int], until: int | None, stop: asyncio.Event, *, refresh: bool = False
) -> FollowedJobs:
    """Fetch each key from its time (ms) on, show the progress, and print refusals.

    Raises the refusal where all jobs are refused for the same reason.
    """
    ids = {key: jobs.new_id() for key in begins}
    async with jobs.followed(bus, ids.values()) as following:
        async with TaskGroup() as group:
            orders = [
                group.create_task(jobs.order(bus, key, job_id, begins[key], until, refresh))
                for key, job_id in ids.items()
            ]
        accepted = [each.result() for each in orders if each.result().error is None]
        refusals = [error for each in orders if (error := each.result().error) is not None]
        if not accepted and len({str(error) for error in refusals}) == 1:
            raise refusals[0]
        for line in dict.fromkeys(str(error) for error in refusals):
            render.remark(line)
        ids_accepted = [each.id for each in accepted]
        with progress.shown([each.key for each in accepted]) as show:
            no_fetcher = await follow_to_end(following, ids_accepted, show, stop)
        return FollowedJobs(ids_accepted, following.ended, bool(refusals), no_fetcher)


async def fetch_silently(bus: Bus, begins: Mapping[Key, int], until: int | None, stop: asyncio.Event) -> Fetched:
    """Fetch keys as `fetch_keys` does, and print nothing on standard output."""
    done = await fetch_keys(bus, begins, until, stop)
    print_errors(done.ended.values())
    code = report_unfinished(done.ids, done.ended, done.no_fetcher)
    failed = done.refused or bool(code) or any(job.state == "failed" for job in done.ended.values())
    return Fetched({job.key: job for job in done.ended.values()}, failed)


async def follow(stop: asyncio.Event, config: Path | None, ids: Sequence[str], json: bool) -> int:
    """Show the progress of jobs that were requested before, and print the results."""
    async with connected(settings_of(config), stop) as bus, jobs.followed(bus, ids) as following:
        known = [await jobs.find(bus, each) for each in ids]
        with progress.shown([job.key for job in known]) as show:
            for job in known:
                following.updates.put_nowait(job)
            no_fetcher = await follow_to_end(following, ids, show, stop)
        return report(ids, following.ended, refused=False, json=json, no_fetcher=no_fetcher)


async def follow_to_end(
    following: jobs.FollowedJobs, ids: Sequence[str], show: jobs.ShowJob, stop: asyncio.Event
) -> NoSuchService | None:
    """Follow jobs until they end or `stop` is set; return the error where no fetcher took them in time."""
    try:
        await following.until_ended(ids, show, stop)
    except NoSuchService as error:
        return None if stop.is_set() else error
    return None


def report(
    ids: Sequence[str], ended: dict[str, Job], *, refused: bool, json: bool, no_fetcher: NoSuchService | None = None
) -> int:
    """Print the results of jobs; return the command's exit code."""
    results = [ended[each] for each in ids if each in ended]
    if json:
        render.as_json(results)
    elif any(job.state != "failed" or job.rows_from_cache or job.rows_fetched for job in results):
        consoles.out().print(tables.fetched_table(results))
    print_errors(results)
    print_not_proven(results)
    code = report_unfinished(ids, ended, no_fetcher)
    return exit_code(results, refused=refused) if code is None else code


def print_errors(results: Iterable[Job]) -> None:
    """Print why jobs failed, a line for each."""
    for job in results:
        if job.error is not None:
            reason = from_code(job.error.code, job.error.message, job.error.remedy)
            render.remark(f"{job.key}: {reason}")


def print_not_proven(results: Iterable[Job]) -> None:
    """Print a line for each exchange whose candles are missing and that no suite has tried."""
    incomplete = dict.fromkeys(job.exchange for job in results if job.state == "done" and not job.complete)
    for phrase in filter(None, map(not_proven, incomplete)):
        render.remark(phrase)


def report_unfinished(ids: Sequence[str], ended: Mapping[str, Job], no_fetcher: NoSuchService | None) -> Exit | None:
    """Print which jobs are no longer followed and still run; return the exit code, None where there are none."""
    unfinished = [each for each in ids if each not in ended]
    if not unfinished:
        return None
    jobs_text = render.plural(len(unfinished), "job")
    remedy = f"follow with `tickwire candles follow {' '.join(unfinished)}`"
    if no_fetcher is not None:
        render.remark(f"{no_fetcher}; {jobs_text} queued for the next fetcher; {remedy}")
        return Exit.FAILED
    render.remark(f"detached: {jobs_text} unfinished and continuing; {remedy}")
    return Exit.INTERRUPTED


def exit_code(results: Sequence[Job], *, refused: bool) -> int:
    """Return 0 when all jobs are complete, 1 when something failed, 3 when only candles are missing."""
    if refused or any(job.state == "failed" for job in results):
        return Exit.FAILED
    return Exit.OK if all(job.complete for job in results) else Exit.INCOMPLETE
