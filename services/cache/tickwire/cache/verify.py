"""Verifies a whole file against the rules of the format and its verified ranges; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tickwire.cache.candle_rows import HEADER
from tickwire.cache.csv_bytes import START, ScanResult, scan
from tickwire.cache.disk import Buffer
from tickwire.model import timeframes
from tickwire.model.messages import Problem, Verification
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.model.timeframes import Grid

PROBLEMS_LISTED = 100


def verification(
    key: Key,
    view: Buffer,
    verified: Sequence[Range],
    refused_for: Sequence[Problem],
    others: Sequence[Problem] = (),
    opens_at: int | None = None,
) -> Verification:
    """Read every line of a file: order, duplicates, form, and rows outside the verified ranges.

    `refused_for` are the reasons why the file could not be opened, if so; `verified` is ignored then. `others` are
    problems found before. `opens_at` as in CandlePage.
    """
    grid = timeframes.grid(key.timeframe, opens_at)
    found = scan(view, START, len(view), grid, keep=PROBLEMS_LISTED) if view[:START] == HEADER else ScanResult()
    problems = list(refused_for)
    named = {problem.line for problem in problems}
    problems += [
        Problem(line=flaw.line, message=f"line {flaw.line} {flaw.message}")
        for flaw in found.flaws
        if flaw.line not in named
    ]
    inside = candles(grid, _common(found.runs, verified))
    if not refused_for and inside != found.rows:
        problems.append(Problem(line=0, message=f"{found.rows - inside} rows lie outside the verified ranges"))
    problems += others
    return Verification(
        exchange=key.exchange,
        symbol=key.symbol,
        timeframe=key.timeframe,
        rows=found.rows,
        holes=candles(grid, verified) - inside,
        problems=problems[:PROBLEMS_LISTED],
        problem_count=len(problems) + found.flaw_count - len(found.flaws),
    )


def candles(grid: Grid, ranges: Iterable[Range]) -> int:
    """How many candles open in the ranges."""
    return sum(grid.count(since, until) for since, until in ranges)


def _common(one: Sequence[Range], other: Sequence[Range]) -> list[Range]:
    """The ranges that lie in both; both are ascending and disjoint."""
    common: list[Range] = []
    i = j = 0
    while i < len(one) and j < len(other):
        since, until = max(one[i].since, other[j].since), min(one[i].until, other[j].until)
        if since < until:
            common.append(Range(since, until))
        if one[i].until < other[j].until:
            i += 1
        else:
            j += 1
    return common
