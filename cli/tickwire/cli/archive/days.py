"""`tickwire archive days`: a calendar of the archived days of a feed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from rich.text import Text

from tickwire.archive_files.layout import ArchivedFeed
from tickwire.cli import arguments
from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import consoles, render
from tickwire.cli.output.fitting_table import FittingTable
from tickwire.client import archived
from tickwire.model.feeds import feed
from tickwire.model.messages import Certificate
from tickwire.model.times import now_ms
from tickwire.process.lifecycle import Exit

STYLES = {
    "complete": "green",
    "gaps": "yellow",
    "partial": "yellow",
    "missing": "red",
    "open": "cyan",
    "removed": "dim",
}
ABSENT = ("missing", "removed")
"""Conditions of days without rows."""
GAPS_SHOWN = 20


class DaysOptions(NamedTuple):
    """Which days are shown, as typed."""

    exchange: str
    symbol: str
    since: str | None = None
    until: str | None = None
    kind: str = "trade"


async def days(stop: asyncio.Event, config: Path | None, options: DaysOptions, json: bool) -> int:
    """Print the days of a feed."""
    start, end = arguments.span(options.since, options.until, now_ms())
    market = feed("trade", options.exchange, options.symbol)
    wanted = ArchivedFeed(options.kind, market.exchange, market.symbol)
    async with connected(settings_of(config), stop) as bus:
        found = await archived.days(bus, wanted, start, end)
    if json:
        render.as_json({"days": found})
        return Exit.OK
    if not found:
        render.remark("no day of that range is archived; leave out --since and --until to see all")
        return Exit.OK
    console = consoles.out()
    console.print(calendar(found))
    for line in gap_lines(found):
        console.print(line, markup=False)
    console.print(summary(found), markup=False)
    return Exit.OK


def calendar(found: Sequence[Certificate]) -> FittingTable:
    """Return a table with a row for each day; missing or removed days in a row have one together."""
    columns = ("date", "condition", "rows", "by rest", "added", "gaps", "watched", "size")
    right = ("rows", "by rest", "added", "gaps", "watched", "size")
    table = FittingTable("", columns, right=right, least=("size", "added", "by rest", "watched", "gaps"), hint=True)
    for _, group in groupby(enumerate(found), key=_run):
        run = [day for _, day in group]
        first, last = run[0], run[-1]
        date = first.date if len(run) == 1 else f"{first.date} to {last.date[5:]}"
        condition = Text(first.condition, STYLES.get(first.condition, ""))
        if first.condition in ABSENT:
            table.add_row(date, condition)
        else:
            watched = sum(each.until - each.since for each in first.watched)
            table.add_row(
                date,
                condition,
                f"{first.rows:,}",
                f"{first.rest:,}",
                f"{first.history + first.imported:,}",
                str(len(first.gaps) or ""),
                f"{watched / 86_400_000:.1%}",
                render.size(first.bytes) if first.bytes else "-",
            )
    return table


def _run(numbered: tuple[int, Certificate]) -> object:
    """The same for missing days in a row, and for removed ones."""
    number, day = numbered
    return day.condition if day.condition in ABSENT else number


def gap_lines(found: Sequence[Certificate]) -> Iterator[str]:
    """Return a line for each gap, of the first ones."""
    gaps = [(day, gap) for day in found for gap in day.gaps]
    for day, gap in gaps[:GAPS_SHOWN]:
        since = "?" if gap.since is None else render.clock(max(0, gap.since))
        until = "?" if gap.until is None else render.clock(gap.until)
        yield f"{day.date} {since} to {until}: {gap.reason or 'rows are missing'}"
    if len(gaps) > GAPS_SHOWN:
        yield f"and {render.plural(len(gaps) - GAPS_SHOWN, 'more gap')}; --json has all"


def summary(found: Sequence[Certificate]) -> str:
    """Return how many days have which condition, and all rows."""
    counts = {name: sum(day.condition == name for day in found) for name in STYLES}
    row = "trade" if all(day.kind == "trade" for day in found) else "row"
    named = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{render.plural(len(found), 'day')}: {named}; {render.plural(sum(day.rows for day in found), row)}"
