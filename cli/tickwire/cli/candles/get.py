"""`tickwire candles get`: reads candles from the cache; `writers.py` has the output formats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.arguments import KeyNames
from tickwire.cli.candles import missing, writers
from tickwire.cli.candles.fetch import Fetched, fetch_silently
from tickwire.cli.candles.missing import ReadRows, Requested
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.options import Format
from tickwire.cli.output import render
from tickwire.client.columns import chunks
from tickwire.client.history import begin_of_last
from tickwire.errors import BadRequest, NotCached
from tickwire.model.messages import CandleColumns
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit


@dataclass(frozen=True)
class GetOptions:
    """Which candles `candles get` reads, as typed."""

    names: KeyNames
    since: str | None = None
    until: str | None = None
    limit: int | None = None
    last: int | None = None
    fetch: bool = False


async def get(stop: asyncio.Event, config: Path | None, options: GetOptions, form: Format, output: Path | None) -> int:
    """Read every key, in the order given; exit code 3 where candles of the range are missing, 1 where it failed."""
    keys = arguments.keys(*options.names)
    now = now_ms()
    requested = _requested(options, now)
    if form is Format.parquet and output is None:
        raise BadRequest("Parquet cannot be written to a terminal", "name a file with --output FILE.parquet")
    read = {key: ReadRows() for key in keys}
    async with connected(settings_of(config), stop) as bus:
        fetched = Fetched()
        if options.fetch:
            begins = {key: _begin(key, requested, now) for key in keys}
            fetched = await fetch_silently(bus, begins, requested.until, stop)
        if stop.is_set():
            return Exit.INTERRUPTED
        # Closed while connected, also when the reader of our output closes the pipe early.
        async with aclosing(_rows(bus, requested, read, stop)) as rows:
            await writers.write(rows, form, output, with_keys=len(keys) > 1)
        incomplete = [await _report_missing(bus, requested, each, fetched, now) for each in read.items()]
    if output is not None:
        render.remark(f"{render.plural(sum(each.count for each in read.values()), 'candle')} in {output}")
    if fetched.failed:
        return Exit.FAILED
    return Exit.INCOMPLETE if any(incomplete) else Exit.OK


def _requested(options: GetOptions, now: int) -> Requested:
    """Check the options; return the requested range. Raises BadRequest."""
    start, end = arguments.span(options.since, options.until, now)
    for name, count in (("--limit", options.limit), ("--last", options.last)):
        if count is not None and count < 1:
            raise BadRequest(f"{name} {count} is less than 1", "leave it out to get everything")
    if options.limit is not None and options.last is not None:
        raise BadRequest("--limit and --last exclude each other", "--limit gives the oldest, --last the newest")
    last = options.last is not None
    if options.fetch and start is None and not last:
        raise BadRequest("--fetch needs a beginning", "add --since, such as --since 30d, or --last")
    return Requested(start, end, options.last if last else options.limit, last=last)


async def _rows(
    bus: Bus, requested: Requested, read: Mapping[Key, ReadRows], stop: asyncio.Event
) -> AsyncGenerator[tuple[Key, CandleColumns], None]:
    """Yield the cached rows of each key in chunks, and count them in `read`."""
    for key, counted in read.items():
        try:
            parts = chunks(bus, key, requested.since, requested.until, requested.limit, last=requested.last)
            async with aclosing(parts):
                async for chunk in parts:
                    counted.add(chunk)
                    yield key, chunk
                    if stop.is_set():
                        raise asyncio.CancelledError
        except NotCached:
            # Reported afterwards, in one line with whatever else is missing.
            continue


def _begin(key: Key, requested: Requested, now: int) -> int:
    """Return the time (ms) from which a key has to be fetched."""
    if requested.since is not None:
        return requested.since
    assert requested.limit is not None
    return begin_of_last(key, requested.limit, requested.until, now)


async def _report_missing(
    bus: Bus, requested: Requested, of_key: tuple[Key, ReadRows], fetched: Fetched, now: int
) -> bool:
    """Print in one line what is missing of a key, or that it had no trades; return whether something is missing."""
    key, read = of_key
    coverage = await missing.coverage_of(bus, key, requested)
    job = fetched.jobs.get(key)
    end = missing.newest_final(coverage, now) if job is None else job.until
    line = missing.message(requested, coverage, read, end, fetched=bool(fetched.jobs) or fetched.failed)
    if line is not None:
        render.remark(line)
    elif not read.count:
        render.remark(f"nothing was traded of {key} in this range")
    return line is not None
