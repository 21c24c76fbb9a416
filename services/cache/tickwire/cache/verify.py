"""Verifies a whole file against the rules of the format and its verified ranges; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tickwire.cache.candle_rows import HEADER
from tickwire.cache.csv_bytes import START, ScanResult, scan
from tickwire.cache.disk import Buffer
from tickwire.cache.key_facts import KeyFacts
from tickwire.cache.provenance import COMPARED, ORIGINS, ranges_of
from tickwire.model.messages import Problem, Provenance, ProvenanceRows, Verification
from tickwire.model.ranges import Range, common
from tickwire.model.subjects import Key
from tickwire.model.timeframes import Grid

PROBLEMS_LISTED = 100


def verification(
    key: Key,
    view: Buffer,
    verified: Sequence[Range],
    refused_for: Sequence[Problem],
    others: Sequence[Problem] = (),
    facts: KeyFacts | None = None,
) -> Verification:
    """Read every line of a file: order, duplicates, form, and rows outside the verified ranges.

    `refused_for` are the reasons why the file could not be opened, if so; `verified` is ignored then. `others` are
    problems found before. `facts` are those of the meta file.
    """
    grid = (facts or KeyFacts()).grid(key)
    found = scan(view, START, len(view), grid, keep=PROBLEMS_LISTED) if view[:START] == HEADER else ScanResult()
    problems = list(refused_for)
    named = {problem.line for problem in problems}
    problems += [
        Problem(line=flaw.line, message=f"line {flaw.line} {flaw.message}")
        for flaw in found.flaws
        if flaw.line not in named
    ]
    inside = candles(grid, common(found.runs, verified))
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
        provenance=None if facts is None else _rows_by_origin(grid, found, facts.provenance),
    )


def _rows_by_origin(grid: Grid, found: ScanResult, provenance: Provenance) -> ProvenanceRows:
    rows = {origin: candles(grid, common(found.runs, ranges_of(provenance, origin))) for origin in ORIGINS}
    compared = {name: candles(grid, common(found.runs, ranges_of(provenance, name))) for name in COMPARED}
    return ProvenanceRows(**rows, **compared, unknown=found.rows - sum(rows.values()))


def candles(grid: Grid, ranges: Iterable[Range]) -> int:
    """How many candles open in the ranges."""
    return sum(grid.count(since, until) for since, until in ranges)
