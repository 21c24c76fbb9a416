"""Converts rows of candles between text and numbers, and checks them; no I/O.

A line is `date,open,high,low,close,volume\\n`: the date in integer milliseconds, the floats as `repr` writes them
(the shortest form that reads back as the same number).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from tickwire.errors import BadRequest
from tickwire.model import timeframes
from tickwire.model.messages import CandlePage, Row
from tickwire.model.ranges import Range
from tickwire.model.timeframes import Grid

HEADER = b"dates,opens,highs,lows,closes,volumes\n"
SLICE_BYTES = 32 << 10
"""Of lines that are parsed in one call: it holds the interpreter's lock, and the event loop waits for that each time it
wakes. With eight times as much a process with a twentieth of a core could not renew its session."""

# Without the bounds of messages: times in files are checked by `future_guard`.
_rows_decoder = msgspec.json.Decoder(list[tuple[int, float, float, float, float, float]])
_flat_decoder = msgspec.json.Decoder(list[float])
_encoder = msgspec.json.Encoder()


class Columns(NamedTuple):
    """Candles by column, all of the same length: `dates` int64 (ms), the others float64."""

    dates: npt.NDArray[np.int64]
    opens: npt.NDArray[np.float64]
    highs: npt.NDArray[np.float64]
    lows: npt.NDArray[np.float64]
    closes: npt.NDArray[np.float64]
    volumes: npt.NDArray[np.float64]


def checked(page: CandlePage) -> list[Row]:
    """The rows of a page, ascending.

    Raises BadRequest for a row outside `[since, until)`, a date at which no candle of the timeframe opens, two rows of
    one date, a number that is not finite; UnsupportedTimeframe for an unreadable timeframe.
    """
    if page.until < page.since:
        raise BadRequest(f"a page of {page.key} ends before it starts: [{page.since}, {page.until})")
    grid = timeframes.grid(page.timeframe, page.opens_at)
    if not page.rows:
        return []
    rows: Sequence[Row] = page.rows
    table = np.array(rows, np.float64)
    dates = table[:, 0].astype(np.int64)
    if not bool((np.diff(dates) > 0).all()):
        rows = sorted(set(rows))
        table = np.array(rows, np.float64)
        dates = table[:, 0].astype(np.int64)
        twice = np.flatnonzero(np.diff(dates) == 0)
        if twice.size:
            raise BadRequest(f"a page of {page.key} has two rows of {int(dates[twice[0]])}")
    if not bool(np.isfinite(table).all()):
        raise BadRequest(f"a page of {page.key} has a number that is not finite")
    if rows[0][0] < page.since or rows[-1][0] >= page.until:
        raise BadRequest(f"a page of {page.key} has rows outside [{page.since}, {page.until})")
    odd = unaligned(dates, grid)
    if odd is not None:
        raise BadRequest(f"a page of {page.key} has a row at {odd}, where no {page.timeframe} candle opens")
    return list(rows)


def format_rows(rows: Sequence[Row]) -> bytes:
    """Rows as lines. The numbers must be finite."""
    if not rows:
        return b""
    values = np.abs(np.array([row[1:] for row in rows], np.float64))
    # The JSON encoder writes the same as repr, ten times as fast, except for numbers that repr writes with exponents.
    if bool((((values < 1e-4) & (values != 0)) | (values >= 1e16)).any()) or not _all_floats(rows):
        return b"".join(map(format_row, rows))
    return _encoder.encode(rows)[2:-2].replace(b"],[", b"\n") + b"\n"


def format_row(row: Row) -> bytes:
    """One row as a line."""
    date, *values = row
    return (f"{date}," + ",".join([repr(float(value)) for value in values]) + "\n").encode()


def _all_floats(rows: Sequence[Row]) -> bool:
    return all(
        type(o) is float and type(h) is float and type(lo) is float and type(c) is float and type(v) is float
        for _, o, h, lo, c, v in rows
    )


def parse_rows(lines: bytes) -> list[Row]:
    """Lines as rows. Raises ValueError when a line is not a well-formed row."""
    if not lines:
        return []
    # Valid in JSON, but not in a row.
    if not lines.endswith(b"\n") or any(sign in lines for sign in (b"[", b" ", b"\r", b"\t")):
        raise ValueError("not lines of rows")
    rows: list[Row] = []
    try:
        for part in _slices(lines):
            rows += _rows_decoder.decode(b"[[" + part[:-1].replace(b"\n", b"],[") + b"]]")
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    return rows


def _slices(lines: bytes) -> Iterator[bytes]:
    """Lines, each with its end, in parts of SLICE_BYTES at most, or of one longer line."""
    start = 0
    while start < len(lines):
        end = lines.rfind(b"\n", start, start + SLICE_BYTES) + 1 or lines.find(b"\n", start) + 1 or len(lines)
        yield lines[start:end]
        start = end


def columns(lines: bytes) -> Columns:
    """Lines as columns. Raises ValueError when a line is not a row, or not after the one before it."""
    flat: npt.NDArray[np.float64] = np.empty((0, 6))
    if lines:
        texts = (b"[" + part[:-1].replace(b"\n", b",") + b"]" for part in _slices(lines))
        try:
            numbers = np.concatenate([np.array(_flat_decoder.decode(text), np.float64) for text in texts])
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from error
        if not lines.endswith(b"\n") or len(numbers) != 6 * lines.count(b"\n"):
            raise ValueError("not lines of six numbers")
        flat = numbers.reshape(-1, 6)
        # A line with one number too many and one with too few would shift the columns between them.
        if not bool((np.diff(flat[:, 0]) > 0).all()):
            raise ValueError("rows that do not ascend")
    return Columns(flat[:, 0].astype(np.int64), *(np.ascontiguousarray(flat[:, at]) for at in range(1, 6)))


def joined(tables: Sequence[Columns]) -> Columns:
    """Tables one after another."""
    if not tables:
        return columns(b"")
    dates = np.concatenate([table.dates for table in tables])
    return Columns(dates, *(np.concatenate(parts) for parts in zip(*(table[1:] for table in tables), strict=True)))


def unaligned(dates: npt.NDArray[np.int64], grid: Grid) -> int | None:
    """The first of `dates` at which no candle opens."""
    if not dates.size:
        return None
    if not grid.step:
        return next((int(date) for date in dates if not grid.opens(int(date))), None)
    wrong = np.flatnonzero((dates - grid.origin) % grid.step)
    return int(dates[wrong[0]]) if wrong.size else None


def proven(dates: npt.NDArray[np.int64], grid: Grid) -> list[Range]:
    """The ranges that ascending rows prove by themselves: runs of consecutive candles."""
    if not dates.size:
        return []
    if grid.step:
        breaks = np.flatnonzero(np.diff(dates) != grid.step)
    else:
        apart = [at for at, (a, b) in enumerate(pairwise(dates.tolist())) if grid.next_open(a) != b]
        breaks = np.array(apart, np.int64)
    starts = dates[np.concatenate(([0], breaks + 1)).astype(np.int64)]
    lasts = dates[np.concatenate((breaks, [dates.size - 1])).astype(np.int64)]
    return [Range(int(start), grid.next_open(int(last))) for start, last in zip(starts, lasts, strict=True)]


def proves(rows: Sequence[Row], page: CandlePage) -> bool:
    """Whether the rows alone prove the page's whole range: no candle is absent, and the bounds are open times."""
    grid = timeframes.grid(page.timeframe, page.opens_at)
    if not rows or rows[0][0] != page.since or grid.next_open(rows[-1][0]) != page.until:
        return False
    return grid.count(page.since, page.until) == len(rows)
