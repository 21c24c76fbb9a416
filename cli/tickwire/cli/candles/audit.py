"""`tickwire candles audit`: compares cached candles with the exchange's own, and prints what differed.

Then with those that the archive rebuilds from its trades, where there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from msgspec import to_builtins
from msgspec.structs import replace

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.arguments import KeyNames
from tickwire.cli.candles.fetch import print_errors
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import consoles, render
from tickwire.cli.output.fitting_table import FittingTable
from tickwire.client import fetch_jobs, job_queue, progress
from tickwire.errors import BadRequest, NoSuchService, NotCached, TickwireError
from tickwire.model import messages
from tickwire.model.messages import (
    Comparison,
    Coverage,
    Difference,
    FetchRequest,
    Job,
    KeyRequest,
    RebuiltDifference,
)
from tickwire.model.ranges import merge
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit

COMPARE_S = 120.0
"""Time limit for each part of the comparison with archived trades, a day or so."""
LISTED = 100
"""Differences from archived trades that are listed; all are counted."""


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
        archived = await compared(bus, key, since, until)
    return report(job, archived, json=json)


async def compared(bus: Bus, key: Key, since: int, until: int | None) -> Comparison:
    """The comparison of a key with archived trades, its chunks in one."""
    request = KeyRequest(**key._asdict(), since=since, until=until)
    decode = partial(messages.decode, kind=Comparison)
    whole = Comparison(**key._asdict())
    try:
        async with aclosing(bus.request_chunks("cache.compare", request, decode, timeout_s=COMPARE_S)) as chunks:
            async for each in chunks:
                whole = replace(
                    each,
                    compared=merge([*whole.compared, *each.compared]),
                    rows=whole.rows + each.rows,
                    difference_count=whole.difference_count + each.difference_count,
                    differences=[*whole.differences, *each.differences][:LISTED],
                    volumes=whole.volumes and each.volumes,
                    chunk=0,
                )
    except NoSuchService:
        return replace(whole, remarks=["not compared with archived trades: the cache is of an earlier version"])
    except TickwireError as error:
        return replace(whole, remarks=[*whole.remarks, f"not compared with archived trades: {error}"])
    return whole


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
        await job_queue.cancel_one(bus, job_id)
    except TickwireError as error:
        render.remark(f"{error}; the audit continues: `tickwire jobs cancel {job_id}`")
    else:
        render.remark("cancelled; what was compared until then is kept")
    return Exit.INTERRUPTED


def report(job: Job, archived: Comparison, *, json: bool) -> int:
    """Print the result of an audit; return the exit code."""
    if json:
        render.as_json({**to_builtins(job), "archived": to_builtins(archived)})
    else:
        _print(job)
        _print_archived(archived)
    print_errors([job])
    if job.state == "failed" or job.difference_count or (archived.made_of_trades and archived.difference_count):
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


def _print_archived(found: Comparison) -> None:
    for remark in found.remarks:
        render.remark(remark)
    if not found.compared:
        return
    if found.differences:
        consoles.out().print(rebuilt_table(found.differences))
    differ = render.plural(found.difference_count, "difference") if found.difference_count else "no difference"
    volumes = "" if found.volumes else " (volumes not compared: their units differ, or are not known)"
    print(f"{render.plural(found.rows, 'row')} compared with archived trades, {differ}{volumes}")
    if found.difference_count and found.made_of_trades:
        render.remark("the exchange's own rows are kept: they differ from the trades that it gave")
    elif found.difference_count:
        render.remark(
            f"not comparable, as far as is known: {found.exchange} may not make its candles of its public trades alone"
        )


def rebuilt_table(differences: Sequence[RebuiltDifference]) -> FittingTable:
    """Return a table of differences from archived trades, a row for each field."""
    table = FittingTable("", ("time (UTC)", "field", "cached", "archived trades"), right=("cached", "archived trades"))
    for each in differences:
        values = ("-" if value is None else f"{value!r}" for value in (each.cached, each.rebuilt))
        table.add_row(render.moment(each.timestamp), each.field, *values)
    return table


def differences_table(differences: Sequence[Difference]) -> FittingTable:
    """Return a table of differences, a row for each field."""
    table = FittingTable("", ("time (UTC)", "field", "cached", "exchange"), right=("cached", "exchange"))
    for each in differences:
        values = ("-" if value is None else f"{value!r}" for value in (each.cached, each.exchange))
        table.add_row(render.moment(each.timestamp), each.field, *values)
    return table
