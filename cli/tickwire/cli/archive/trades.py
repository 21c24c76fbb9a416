"""`tickwire trades get`: reads trades from the archive, a page at a time."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import msgspec

from tickwire.bus.connection import Bus
from tickwire.cli import arguments
from tickwire.cli.candles.writers import replacing, target
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.options import TradeFormat
from tickwire.cli.output import encoding, render
from tickwire.client import archived, archived_frames
from tickwire.client.archived_frames import Archived
from tickwire.errors import BadRequest
from tickwire.model.feeds import feed
from tickwire.model.ranges import Range
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit


class GetOptions(NamedTuple):
    """Which trades are read, as typed."""

    exchange: str
    symbol: str
    since: str
    until: str | None


async def get(
    stop: asyncio.Event, config: Path | None, options: GetOptions, form: TradeFormat, output: Path | None
) -> int:
    """Read the trades of a range; exit code 3 where some may be missing."""
    now = now_ms()
    since, until = arguments.span(options.since, options.until, now)
    assert since is not None
    wanted = feed("trade", options.exchange, options.symbol)
    if form is TradeFormat.parquet and output is None:
        raise BadRequest("Parquet cannot be written to a terminal", "name a file with --output FILE.parquet")
    async with connected(settings_of(config), stop) as bus:
        known = await archived_frames.known(bus, wanted, Range(since, now if until is None else until))
        count = await _write(bus, known, form, output)
    if output is not None:
        render.remark(f"{render.plural(count, 'trade')} in {output}")
    if known.missing:
        ranges = render.ranges([Range(each.since, each.until) for each in known.missing])
        render.remark(f"{wanted}: trades may be missing of {ranges} ({known.missing[0].reason})")
        return Exit.INCOMPLETE
    return Exit.OK


async def _write(bus: Bus, known: Archived, form: TradeFormat, output: Path | None) -> int:
    """Write all trades; their number."""
    async with aclosing(_tables(bus, known)) as tables:
        if form is TradeFormat.parquet and output is not None:
            return await _write_parquet(tables, output)
        with target(output) as file:
            return await write_lines(tables, file, form)


async def _tables(bus: Bus, known: Archived) -> AsyncGenerator[Any, None]:
    async with aclosing(archived.chunks(bus, known.feed, *known.span)) as chunks:
        async for chunk in chunks:
            if chunk.rows:
                yield archived.table_of(chunk)


async def write_lines(tables: AsyncGenerator[Any, None], file: TextIO, form: TradeFormat) -> int:
    """Write tables of trades as CSV or JSON lines; the number of trades."""
    from tickwire.archive_files.schema import TRADES

    if file is sys.stdout:
        encoding.for_programs()
    lines, encoder, count = csv.writer(file, lineterminator="\n"), msgspec.json.Encoder(), 0
    if form is TradeFormat.csv:
        lines.writerow(TRADES.names)
    async for table in tables:
        columns = [archived.plain(table.column(name)) for name in TRADES.names]
        rows = zip(*columns, strict=True)
        if form is TradeFormat.csv:
            # What is absent is empty.
            lines.writerows(rows)
        else:
            found = [encoder.encode(dict(zip(TRADES.names, row, strict=True))).decode() for row in rows]
            print("\n".join(found), file=file)
        count += table.num_rows
    return count


async def _write_parquet(tables: AsyncGenerator[Any, None], output: Path) -> int:
    import pyarrow.parquet as pq

    from tickwire.archive_files.schema import TRADES, writing_of

    count = 0
    with replacing(output) as temporary, pq.ParquetWriter(temporary, TRADES, **writing_of("trade")) as writer:
        async for table in tables:
            writer.write_table(table)
            count += table.num_rows
    return count
