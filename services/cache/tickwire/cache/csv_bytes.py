"""Searches and scans the bytes of a data file, mostly without parsing; no I/O.

A view is an open file (`FileView`) or bytes. Rows lie between the header and `end`, one a line, ascending by date.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tickwire.cache.candle_rows import HEADER, SLICE_BYTES, parse_rows, proven, unaligned
from tickwire.cache.disk import Buffer
from tickwire.model.messages import Row
from tickwire.model.ranges import Range, merge
from tickwire.model.timeframes import Grid

START = len(HEADER)
"""The offset of the first row."""

_CHUNK = 1 << 18
_LONGEST_DATE = 24
_TORN_CHARACTERS = frozenset(b"0123456789.,e+-")


class MalformedLine(ValueError):
    """The line at `offset` is not a row."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Flaw:
    """A malformed line. `torn`: an interrupted write can have left it."""

    offset: int
    line: int
    message: str
    torn: bool = False


@dataclass(slots=True)
class ScanResult:
    """The result of a full scan: the well-formed ascending rows, the ranges they prove, and the flaws."""

    rows: int = 0
    first: int | None = None
    last: int | None = None
    runs: list[Range] = field(default_factory=list)
    flaws: list[Flaw] = field(default_factory=list)
    flaw_count: int = 0


def date_at(view: Buffer, offset: int) -> int:
    """The date of the line that starts at `offset`. Raises MalformedLine."""
    head = view[offset : offset + _LONGEST_DATE]
    comma = head.find(b",")
    digits = head[:comma]
    if comma < 1 or not digits.lstrip(b"-").isdigit():
        raise MalformedLine(offset)
    return int(digits)


def line_end(view: Buffer, offset: int, end: int) -> int:
    """The offset after the line that starts at `offset`. Raises MalformedLine when it has no end."""
    at = view.find(b"\n", offset, end)
    if at < 0:
        raise MalformedLine(offset)
    return at + 1


def last_line(view: Buffer, end: int) -> int:
    """The start of the last line before `end`, or `end` if there is no row."""
    return max(view.rfind(b"\n", 0, end - 1) + 1, START) if end > START else end


def bisect(view: Buffer, date: int, start: int, end: int) -> int:
    """The start of the first line in `[start, end)` whose date is not before `date`, or `end`.

    Raises MalformedLine when a line that it reads is not a row.
    """
    low, high = start, end
    while low < high:
        middle = (low + high) // 2
        begin = view.rfind(b"\n", low, middle) + 1 or low
        if date_at(view, begin) < date:
            low = line_end(view, begin, end)
        else:
            high = begin
    return low


def cut_after(view: Buffer, start: int, end: int, rows: int) -> int:
    """The end of the first `rows` lines of `[start, end)`."""
    at = start
    while rows > 0 and at < end:
        chunk = view[at : min(end, at + min(max(4096, rows * 96), _CHUNK))]
        ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == 10)
        if not ends.size:
            return end
        taken = min(rows, ends.size)
        at += int(ends[taken - 1]) + 1
        rows -= taken
    return at


def cut_before(view: Buffer, start: int, end: int, rows: int) -> int:
    """The start of the last `rows` lines of `[start, end)`, searched from the end."""
    at = end
    while rows > 0 and at > start:
        low = max(start, at - min(max(4096, rows * 96), _CHUNK))
        begins = np.flatnonzero(np.frombuffer(view[low : at - 1], np.uint8) == 10) + low + 1
        if begins.size >= rows:
            return int(begins[-rows])
        if low == start:
            return start
        rows -= int(begins.size)
        at = int(begins[0]) if begins.size else low + 1
    return at


def line_number(view: Buffer, offset: int) -> int:
    """The number, from 1, of the line that starts at `offset`. Reads everything before it."""
    return sum(view[at : min(at + _CHUNK, offset)].count(b"\n") for at in range(0, offset, _CHUNK)) + 1


def scan(view: Buffer, start: int, end: int, grid: Grid, *, after: int | None = None, keep: int = 1) -> ScanResult:
    """Check every line of `[start, end)`: well-formed, ascending (after `after`), at an open time of the grid.

    At most `keep` flaws are kept; if `keep` is 1 the scan stops at the first.
    """
    found = ScanResult(last=after)
    line = line_number(view, start)
    while start < end:
        stop = view.rfind(b"\n", start, min(start + SLICE_BYTES, end)) + 1
        if not stop:
            stop = (view.find(b"\n", start, end) + 1) or end
        chunk = view[start:stop]
        if not _take(found, chunk, grid):
            _take_lines(found, chunk, start, line, grid, keep)
            if keep == 1 and found.flaws:
                break
        line += chunk.count(b"\n")
        start = stop
    if not found.rows:
        found.last = after
    found.runs = merge(found.runs)
    return found


def is_torn(line: bytes) -> bool:
    """Whether an interrupted write can have left this: a last line without an end, or blocks never written."""
    return b"\0" in line or (not line.endswith(b"\n") and _TORN_CHARACTERS.issuperset(line))


def split_lines(data: bytes) -> list[bytes]:
    """Lines with their ends; unlike `splitlines`, only a line feed ends a line."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def parse_line(line: bytes) -> Row | None:
    """The row of one line with its end, or None."""
    try:
        rows = parse_rows(line)
    except ValueError:
        return None
    return rows[0] if len(rows) == 1 and np.isfinite(rows[0]).all() else None


def first_malformed(lines: bytes) -> int | None:
    """The offset of the first line that is not a row, or not later than the row before it."""
    offset, before = 0, None
    for text in split_lines(lines):
        row = parse_line(text)
        if row is None or (before is not None and row[0] <= before):
            return offset
        before = row[0]
        offset += len(text)
    return None


def _take(found: ScanResult, chunk: bytes, grid: Grid) -> bool:
    """Add a chunk without flaws; False, with nothing added, if it has one."""
    try:
        rows = parse_rows(chunk)
    except ValueError:
        return False
    table = np.array(rows, np.float64)
    dates = table[:, 0].astype(np.int64)
    if len(rows) != chunk.count(b"\n") or not np.isfinite(table).all() or not (np.diff(dates) > 0).all():
        return False
    if unaligned(dates, grid) is not None or (found.last is not None and dates[0] <= found.last):
        return False
    _add(found, int(dates[0]), int(dates[-1]), len(rows), proven(dates, grid))
    return True


def _take_lines(found: ScanResult, chunk: bytes, offset: int, line: int, grid: Grid, keep: int) -> None:
    for text in split_lines(chunk):
        flaw = _flaw_of(text, found.last, grid)
        if flaw is None:
            date = date_at(text, 0)
            _add(found, date, date, 1, [Range(date, grid.next_open(date))])
        else:
            found.flaw_count += 1
            if len(found.flaws) < keep:
                found.flaws.append(Flaw(offset, line, flaw, is_torn(text)))
            if keep == 1:
                return
        offset += len(text)
        line += 1


def _flaw_of(text: bytes, last: int | None, grid: Grid) -> str | None:
    row = parse_line(text)
    if row is None:
        return "is cut off" if is_torn(text) else "is not a row of six numbers"
    if last is not None and row[0] <= last:
        return f"repeats {row[0]}" if row[0] == last else f"goes back in time, from {last} to {row[0]}"
    if not grid.opens(row[0]):
        return f"has {row[0]}, where no {grid.timeframe} candle opens"
    return None


def _add(found: ScanResult, first: int, last: int, rows: int, runs: list[Range]) -> None:
    if not found.rows:
        found.first = first
    found.rows += rows
    found.last = last
    if found.runs and found.runs[-1].until == runs[0].since:
        found.runs[-1] = Range(found.runs[-1].since, runs[0].until)
        runs = runs[1:]
    found.runs += runs
