"""`tickwire candles audit`: compares cached candles with the exchange's own, and prints what differed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tickwire.bus.connection import Bus
from tickwire.cli import arguments, jobs
from tickwire.cli.arguments import KeyNames
from tickwire.cli.candles.fetch import print_errors
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import consoles, render
from tickwire.cli.output.fitting_table import FittingTable
from tickwire.client import fetch_jobs, progress
from tickwire.errors import BadRequest, NotCached, TickwireError
from tickwire.model.messages import Coverage, Difference, FetchRequest, Job, KeyRequest
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit


@dataclass(frozen=True)
class AuditOptions:
    """What `candles audit` is to compare, as typed."""

    names: KeyNames
    since: str | None = None
    until: str | None = None


async def audit(stop: asyncio.Event, config: Path | None, options: AuditOptions, json: bool) -> int:
    """Compare a key with the exchange; exit code 1 where something differed, 3 where something was not compared."""
    keys = arguments.keys(*options.names)
    if len(keys) != 1:
        raise BadRequest("audit takes one key", "name one exchange, one symbol and one timeframe")
    key = keys[0]
    since, until = arguments.span(options.since, options.until, now_ms())
    async with connected(settings_of(config), stop) as bus:
        if since is None:
            since = await _first_cached(bus, key)
        job_id = fetch_jobs.new_id()
        async with fetch_jobs.followed(bus, [job_id]) as following:
            # An earlier version, which knows no audits, at least fetches the rows again.
            request = FetchRequest(**key._asdict(), since=since, until=until, refresh=True, audit=True, id=job_id)
            order = await fetch_jobs.order_request(bus, request)
            if order.error is not None:
                raise order.error
            with progress.shown([key]) as show:
                await following.until_ended([job_id], show, stop)
            job = following.ended.get(job_id)
            if job is None:
                return await _cancelled(bus, job_id)
    return report(job, json=json)


async def _first_cached(bus: Bus, key: Key) -> int:
    """The open time (ms) of the first cached candle. Raises NotCached."""
    request = KeyRequest(**key._asdict())
    coverage = await bus.service_wait.call(lambda: bus.request("cache.coverage", request, Coverage, timeout_s=30))
    if coverage.first is None:
        raise NotCached(f"{key} is not cached", f"tickwire candles fetch {' '.join(key)} --since ...")
    return coverage.first


async def _cancelled(bus: Bus, job_id: str) -> int:
    """Cancel the job of an audit that is no longer wanted."""
    try:
        await jobs.cancel_one(bus, job_id)
    except TickwireError as error:
        render.remark(f"{error}; the audit continues: `tickwire jobs cancel {job_id}`")
    else:
        render.remark("cancelled; what was compared until then is kept")
    return Exit.INTERRUPTED


def report(job: Job, *, json: bool) -> int:
    """Print the result of an audit; return the exit code."""
    if json:
        render.as_json(job)
    else:
        _print(job)
    print_errors([job])
    if job.state == "failed" or job.difference_count:
        return Exit.FAILED
    return Exit.OK if job.complete and job.rows_compared else Exit.INCOMPLETE


def _print(job: Job) -> None:
    if job.differences:
        consoles.out().print(differences_table(job.differences))
    if job.difference_count > len(job.differences):
        print(f"and {render.plural(job.difference_count - len(job.differences), 'more difference')}")
    compared = render.plural(job.rows_compared, "row")
    found = render.plural(job.difference_count, "difference") if job.difference_count else "no difference"
    healed = ", replaced by the exchange's" if job.difference_count else ""
    print(f"{job.key}: {compared} compared, {found}{healed}")
    if job.missing:
        render.remark(f"not compared: {render.ranges(job.missing)}")
    elif not job.rows_compared and job.state == "done":
        render.remark("nothing to compare: of that range nothing is cached, or it has not settled at the exchange")


def differences_table(differences: Sequence[Difference]) -> FittingTable:
    """Return a table of differences, a row for each field."""
    table = FittingTable("", ("time (UTC)", "field", "cached", "exchange"), right=("cached", "exchange"))
    for each in differences:
        values = ("-" if value is None else f"{value!r}" for value in (each.cached, each.exchange))
        table.add_row(render.moment(each.timestamp), each.field, *values)
    return table
