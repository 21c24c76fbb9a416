"""Writes candles as a table, a chart, CSV, JSON lines or Parquet, to standard output or a file."""

from __future__ import annotations

import shutil
import sys
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import msgspec
from rich.console import Console

from tickwire.cli.options import Format
from tickwire.cli.output import consoles, encoding, render
from tickwire.cli.output.fitting_table import FittingTable
from tickwire.client.columns import rows_of
from tickwire.errors import StorageError
from tickwire.model.messages import CandleColumns, Row
from tickwire.model.subjects import Key

Rows = AsyncGenerator[tuple[Key, CandleColumns], None]

COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
KEY_COLUMNS = ("exchange", "symbol", "timeframe")
CHART_ROWS = 30
"""Lines of a chart, where the terminal has as many."""
TABLE_ENDS = 20
"""Rows that a long table shows of its beginning and of its end."""


async def write(rows: Rows, form: Format, output: Path | None, *, with_keys: bool) -> None:
    """Write all rows; `with_keys` adds the columns of the key. Raises StorageError where a file cannot be written."""
    if form is Format.parquet and output is not None:
        await _write_parquet(rows, output, with_keys=with_keys)
        return
    with target(output) as file:
        if form is Format.table:
            console = consoles.out()
            console.file = file
            await print_table(rows, console, with_keys=with_keys)
        elif form is Format.chart:
            await _draw(rows, file)
        else:
            await _write_lines(rows, file, form, with_keys=with_keys)


async def _write_lines(rows: Rows, file: TextIO, form: Format, *, with_keys: bool) -> None:
    if file is sys.stdout:
        encoding.for_programs()
    if form is Format.csv:
        print(*(KEY_COLUMNS if with_keys else ()), *COLUMNS, sep=",", file=file)
    encoder = msgspec.json.Encoder()
    async for key, chunk in rows:
        if form is Format.csv:
            # No exchange id, symbol or timeframe of ccxt contains a comma or a quote.
            prefix = ",".join(key) + "," if with_keys else ""
            lines = [prefix + ",".join(map(repr, row)) for row in rows_of(chunk)]
        else:
            named = dict(zip(KEY_COLUMNS, key, strict=True)) if with_keys else {}
            lines = [encoder.encode(named | dict(zip(COLUMNS, row, strict=True))).decode() for row in rows_of(chunk)]
        if lines:
            print("\n".join(lines), file=file)


async def _draw(rows: Rows, file: TextIO) -> None:
    """Draw a chart of the newest candles of each key that fit into the width."""
    from tickwire.cli.output import chart

    columns, lines = shutil.get_terminal_size()
    kept: dict[Key, deque[Row]] = {}
    async for key, chunk in rows:
        kept.setdefault(key, deque(maxlen=columns)).extend(rows_of(chunk))
    for key, found in kept.items():
        height = min(CHART_ROWS, max(8, lines - 2))
        print(chart.candles(str(key), list(found), columns, height, timeframe=key.timeframe), file=file)


async def print_table(rows: Rows, console: Console, *, with_keys: bool) -> None:
    """Print a table; of a long one only its beginning and its end."""
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
    table = FittingTable("", columns, right=COLUMNS, least=("open", "high", "low", "volume"), hint=True)
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


async def _write_parquet(rows: Rows, output: Path, *, with_keys: bool) -> None:
    import numpy
    import pandas
    import pyarrow  # noqa: F401 - imported here, because pandas reports its absence with another error

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
            for index, (name, value) in enumerate(zip(KEY_COLUMNS, key, strict=True)):
                frame.insert(index, name, value)
        frames.append(frame)
    whole = pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame(columns=list(COLUMNS))
    with replacing(output) as temporary:
        whole.to_parquet(temporary, index=False)


@contextmanager
def target(output: Path | None) -> Iterator[TextIO]:
    """Yield standard output, or a file that replaces `output` when the block succeeds."""
    if output is None:
        yield sys.stdout
        return
    with replacing(output) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """Yield a temporary file that replaces `output` when the block succeeds. Raises StorageError."""
    temporary = output.with_name(f".{output.name}.partial")
    try:
        # Created first, so that an unwritable folder fails before anything is read.
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
