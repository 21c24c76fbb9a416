"""`tickwire candles get`: read candles from the cache into a table, CSV, JSON lines or Parquet."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TextIO

import msgspec
from rich.console import Console

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.candles import fetch as fetching
from tickwire.cli.candles import missing as candles_missing
from tickwire.cli.candles.fetch import Fetched
from tickwire.cli.candles.missing import Asked, Given
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.options import Format
from tickwire.cli.output import encoding as output_encoding
from tickwire.cli.output import render
from tickwire.cli.output.tables import Fitting
from tickwire.client.columns import chunks, rows_of
from tickwire.client.history import begin_of_last
from tickwire.errors import BadRequest, NotCached, StorageError
from tickwire.model.messages import CandleColumns, Row
from tickwire.model.subjects import Key
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit

COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
KEY_COLUMNS = ("exchange", "symbol", "timeframe")
TABLE_ENDS = 20
"""A long table shows so many rows of its beginning and of its end."""


async def get(
    stop: asyncio.Event,
    config: Path | None,
    exchanges: str,
    symbols: str,
    timeframes: str,
    since: str | None,
    until: str | None,
    limit: int | None,
    last: int | None,
    fetched: bool,
    form: Format,
    output: Path | None,
) -> int:
    """Read every combination, in the order given; 3 where something of the range is not known, 1 where it failed."""
    keys = arguments.keys(exchanges, symbols, timeframes)
    now = now_ms()
    start, end = arguments.span(since, until, now)
    if form is Format.parquet and output is None:
        raise BadRequest("Parquet is not for a terminal", "name a file with --output FILE.parquet")
    for name, count in (("--limit", limit), ("--last", last)):
        if count is not None and count < 1:
            raise BadRequest(f"{name} {count} is less than 1", "leave it out to get everything")
    if limit is not None and last is not None:
        raise BadRequest("--limit and --last exclude each other", "--limit gives the oldest, --last the newest")
    asked = Asked(start, end, limit if last is None else last, last=last is not None)
    if fetched and start is None and last is None:
        raise BadRequest("--fetch does not know since when", "add --since, such as --since 30d, or --last")
    async with connected(settings_of(config), stop) as bus:
        fetch = Fetched()
        if fetched:
            fetch = await fetching.quietly(bus, {key: _begin(key, asked, now) for key in keys}, end, stop)
        if stop.is_set():
            return Exit.INTERRUPTED
        given = {key: Given() for key in keys}

        async def rows() -> AsyncGenerator[tuple[Key, CandleColumns], None]:
            for key in keys:
                try:
                    async with aclosing(chunks(bus, key, start, end, asked.limit, last=asked.last)) as parts:
                        async for chunk in parts:
                            given[key].take(chunk)
                            yield key, chunk
                            if stop.is_set():
                                raise asyncio.CancelledError
                except NotCached:
                    # Said below, in one line with what else is missing.
                    continue

        # Closed while the connection is there, also when whoever reads our output has seen enough.
        async with aclosing(rows()) as found:
            if form is Format.parquet and output is not None:
                await _parquet(found, output, with_keys=len(keys) > 1)
            else:
                with _target(output) as file:
                    if form is Format.table:
                        console = render.out()
                        console.file = file
                        await printed(found, console, with_keys=len(keys) > 1)
                    else:
                        await _lines(found, file, form, with_keys=len(keys) > 1)
        lacking = [await _lacking(bus, key, asked, each, fetch, now) for key, each in given.items()]
    if output is not None:
        render.say(f"{render.plural(sum(each.count for each in given.values()), 'candle')} in {output}")
    if fetch.failed:
        return Exit.FAILED
    return Exit.INCOMPLETE if any(lacking) else Exit.OK


def _begin(key: Key, asked: Asked, now: int) -> int:
    """Since when (ms) a key has to be fetched."""
    if asked.since is not None:
        return asked.since
    assert asked.limit is not None
    return begin_of_last(key, asked.limit, asked.until, now)


async def _lacking(bus: Bus, key: Key, asked: Asked, given: Given, fetch: Fetched, now: int) -> bool:
    """Say in one line what is missing of a key, or that nothing was traded; whether something is missing."""
    found = await candles_missing.known(bus, key, asked)
    job = fetch.jobs.get(key)
    end = candles_missing.newest_final(found, now) if job is None else job.until
    line = candles_missing.told(asked, found, given, end, fetched=bool(fetch.jobs) or fetch.failed)
    if line is not None:
        render.say(line)
    elif not given.count:
        render.say(f"nothing was traded of {key} in this range")
    return line is not None


async def _lines(
    rows: AsyncGenerator[tuple[Key, CandleColumns], None], file: TextIO, form: Format, *, with_keys: bool
) -> None:
    if file is sys.stdout:
        output_encoding.for_programs()
    if form is Format.csv:
        print(*(KEY_COLUMNS if with_keys else ()), *COLUMNS, sep=",", file=file)
    encoder = msgspec.json.Encoder()
    async for key, chunk in rows:
        if form is Format.csv:
            # No exchange id, symbol or timeframe of ccxt has a comma or a quote in it.
            lead = ",".join(key) + "," if with_keys else ""
            lines = [lead + ",".join(map(repr, row)) for row in rows_of(chunk)]
        else:
            named = dict(zip(KEY_COLUMNS, key, strict=True)) if with_keys else {}
            lines = [encoder.encode(named | dict(zip(COLUMNS, row, strict=True))).decode() for row in rows_of(chunk)]
        if lines:
            print("\n".join(lines), file=file)


async def printed(rows: AsyncGenerator[tuple[Key, CandleColumns], None], console: Console, *, with_keys: bool) -> None:
    """Print a table; of a long one, its beginning and its end."""
    head: list[tuple[Key, Row]] = []
    tail: deque[tuple[Key, Row]] = deque(maxlen=TABLE_ENDS)
    count = 0
    async for key, chunk in rows:
        count += chunk.count
        for row in rows_of(chunk):
            if len(head) < TABLE_ENDS:
                head.append((key, row))
            else:
                tail.append((key, row))
    if not count:
        return
    columns = (*(KEY_COLUMNS if with_keys else ()), "time (UTC)", *COLUMNS[1:])
    table = Fitting("", columns, right=COLUMNS, least=("open", "high", "low", "volume"), hint=True)
    hidden = count - len(head) - len(tail)

    def add(key: Key, row: Row) -> None:
        table.add_row(*(key if with_keys else ()), render.moment(row[0]), *(f"{value:,.10g}" for value in row[1:]))

    for each in head:
        add(*each)
    if hidden:
        table.add_row(*("..." for _ in columns))
    for each in tail:
        add(*each)
    console.print(table)
    if hidden:
        console.print(f"{render.plural(hidden, 'row')} of {count:,} not shown; --format csv prints them all")


async def _parquet(rows: AsyncGenerator[tuple[Key, CandleColumns], None], output: Path, *, with_keys: bool) -> None:
    import numpy
    import pandas
    import pyarrow  # noqa: F401 - pandas says in other words that it is not there

    frames = []
    async for key, chunk in rows:
        data = (chunk.dates, chunk.opens, chunk.highs, chunk.lows, chunk.closes, chunk.volumes)
        frame = pandas.DataFrame(
            {
                name: numpy.frombuffer(values, dtype="<i8" if name == "timestamp" else "<f8")
                for name, values in zip(COLUMNS, data, strict=True)
            }
        )
        if with_keys:
            for at, (name, value) in enumerate(zip(KEY_COLUMNS, key, strict=True)):
                frame.insert(at, name, value)
        frames.append(frame)
    whole = pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame(columns=list(COLUMNS))
    with _replacing(output) as temporary:
        whole.to_parquet(temporary, index=False)


@contextmanager
def _target(output: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears whole or not at all."""
    if output is None:
        yield sys.stdout
        return
    with _replacing(output) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file


@contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    temporary = output.with_name(f".{output.name}.partial")
    try:
        # Asked first, so that an unwritable folder is found before anything is read.
        temporary.touch()
        yield temporary
        temporary.replace(output)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise StorageError(f"cannot write {output}: {error.strerror or error}", "name another --output") from error
    finally:
        if temporary.exists():
            temporary.unlink()
