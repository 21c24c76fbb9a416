"""Extracts the rows that can be kept of a damaged data file, or of one that another program saved; line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tickwire.cache import foreign_csv
from tickwire.cache.candle_rows import HEADER, format_row
from tickwire.cache.disk import Buffer
from tickwire.cache.foreign_csv import UnreadableLine
from tickwire.model.messages import Problem, Row
from tickwire.model.ranges import Range, merge
from tickwire.model.timeframes import Grid

NAMED = 100
"""Most dropped lines that are listed."""
NEVER, EVER = -(2**62), 2**62
"""Bounds of ranges that are open at one end."""
_CHUNK = 1 << 18

_Line = tuple[int, Row | UnreadableLine]


@dataclass(slots=True)
class SalvageResult:
    """The number of rows kept, ranges with lost lines, number of dropped lines, and reasons for the first hundred."""

    rows: int = 0
    lost: list[Range] = field(default_factory=list)
    dropped: int = 0
    problems: list[Problem] = field(default_factory=list)

    def drop(self, line: int, why: str) -> None:
        self.dropped += 1
        if len(self.problems) < NAMED:
            self.problems.append(Problem(line=line, message=why))


def salvage(view: Buffer, end: int, grid: Grid, keep: Callable[[bytes], None], latest: int = EVER) -> SalvageResult:
    """Pass the rows that can be kept to `keep`, as lines in the cache's format, many at once.

    Nothing is kept of a file without the cache's column names. A row is kept if it can be read exactly
    (`tickwire.cache.foreign_csv`), lies between its neighbours in time, and before `latest` (ms); of different rows
    with one date none is kept. Raises foreign_csv.Ambiguous.
    """
    done = SalvageResult()
    known = foreign_csv.dialect_of(view, end, grid, latest)
    if known is None:
        done.dropped = sum(1 for _ in foreign_csv.lines_of(view, end, "utf-8"))
        done.problems.append(Problem(line=1, message=f"is not {HEADER.decode().strip()}"))
        done.lost.append(Range(NEVER, EVER))
        return done
    chunk = bytearray()
    for row in _kept(foreign_csv.rows_of(view, end, known, grid), grid, latest, done):
        chunk += format_row(row)
        done.rows += 1
        if len(chunk) >= _CHUNK:
            keep(bytes(chunk))
            chunk.clear()
    keep(bytes(chunk))
    done.lost = merge(done.lost)
    return done


def _kept(lines: Iterator[_Line], grid: Grid, latest: int, done: SalvageResult) -> Iterator[Row]:
    last: tuple[int, Row] | None = None
    """The line number and the row to keep, unless a different row of its date follows."""
    before, conflict = NEVER, NEVER
    lost = False
    for number, row, following in _with_following(lines, latest):
        date = row[0] if not isinstance(row, UnreadableLine) else None
        newest = last[1][0] if last else before
        if isinstance(row, UnreadableLine):
            done.drop(number, str(row))
        elif last is not None and row[0] == newest:
            if row == last[1]:
                done.drop(number, f"repeats {date}")
                continue
            done.drop(last[0], f"is another row of {date} than line {number}")
            done.drop(number, f"is another row of {date} than line {last[0]}")
            last, conflict = None, row[0]
        elif row[0] <= max(newest, conflict):
            done.drop(number, f"has {date} again" if row[0] == conflict else f"goes back in time, to {date}")
        elif following is not None and newest < following < row[0]:
            done.drop(number, f"jumps ahead in time, to {date}")
        else:
            if last is not None:
                yield last[1]
                before = newest
            if lost:
                done.lost.append(Range(_after(before, grid), row[0]))
            last, lost = (number, row), False
            continue
        lost = True
    if last is not None:
        yield last[1]
        before = last[1][0]
    if lost:
        done.lost.append(Range(_after(before, grid), EVER))


def _with_following(lines: Iterator[_Line], latest: int) -> Iterator[tuple[int, Row | UnreadableLine, int | None]]:
    """Each line with the date of the next, None if that is not a row. Rows at `latest` or later are unreadable."""
    waiting: _Line | None = None
    for number, row in lines:
        if not isinstance(row, UnreadableLine) and row[0] >= latest:
            row = UnreadableLine(f"has {row[0]}, which is in the future")
        if waiting is not None:
            yield *waiting, None if isinstance(row, UnreadableLine) else row[0]
        waiting = number, row
    if waiting is not None:
        yield *waiting, None


def _after(date: int, grid: Grid) -> int:
    return NEVER if date == NEVER else grid.next_open(date)
