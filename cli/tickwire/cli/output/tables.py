"""Tables of facts that several commands print: cached keys, fetch jobs, feeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.text import Text

from tickwire.cli.output import render
from tickwire.cli.output.fitting_table import FittingTable
from tickwire.model.feeds import Feed, FeedReport
from tickwire.model.messages import Coverage, Job
from tickwire.model.subjects import Key

STATE_STYLES = {"live": "green", "disconnected": "red", "failed": "bold red", "stopped": "dim"}


def key_cells(key: Key) -> tuple[str, str, str]:
    """Return the first three cells of a row about a key."""
    return key.exchange, key.symbol, key.timeframe or "trades"


def coverage_table(found: Sequence[Coverage], title: str = "") -> FittingTable:
    """Return a table of what is cached, a row for each key."""
    table = FittingTable(
        title,
        ("exchange", "symbol", "timeframe", "rows", "from", "to", "holes", "volume in", "file"),
        right=("rows", "holes", "file"),
        least=("file", "volume in", "holes", "from", "to"),
        hint=True,
    )
    for each in found:
        table.add_row(
            *key_cells(each.key),
            f"{each.rows:,}",
            render.moment(each.first),
            render.moment(each.last),
            f"{each.holes:,}",
            each.volume_unit or "?",
            render.size(each.bytes),
        )
    return table


def job_result(job: Job) -> str:
    """Return the result of a job in words."""
    if job.state == "failed":
        reason = f"failed: {job.error.message}" if job.error else "failed"
    else:
        reason = "complete" if job.complete else "incomplete" if job.ended else job.state
        if job.ended and job.refused and not job.complete:
            reason += f": {job.refused[0].message}"
    return f"{reason}; missing {render.ranges(job.missing)}" if job.missing and not job.complete else reason


def fetched_table(jobs: Sequence[Job]) -> FittingTable:
    """Return a table of what was fetched, a row for each key."""
    table = FittingTable(
        "",
        ("exchange", "symbol", "timeframe", "from cache", "fetched", "retries", "result"),
        right=("from cache", "fetched", "retries"),
        least=("retries", "from cache", "fetched"),
        prose=("result",),
        hint=True,
    )
    for job in jobs:
        table.add_row(
            *key_cells(job.key),
            f"{job.rows_from_cache:,}",
            f"{job.rows_fetched:,}",
            f"{job.retries:,}",
            job_result(job),
        )
    return table


NAMES_SHOWN = 3
"""Subscribers of a feed that a table names."""
MANY_NAMES = 50
"""So many names, and a report may not have all."""
COUNTS = ("reconnects", "gaps", "repaired", "rejected", "conflated")


def feed_table(feeds: Sequence[FeedReport], now: int, rates: Mapping[Feed, float] | None = None) -> FittingTable:
    """Return a table of feeds at `now` (ms), a row for each; with messages per second where `rates` has them.

    Counters that are zero for all feeds, such as `gaps`, get no column.
    """
    counts = [name for name in COUNTS if any(getattr(each, name) for each in feeds)]
    rate_column = () if rates is None else ("messages/s",)
    numbers = ("subscribers", "items", "messages", *rate_column, "last", *counts)
    by = ("wanted by",) if any(each.subscriber_names for each in feeds) else ()
    why = ("why",) if any(each.reason for each in feeds) else ()
    table = FittingTable(
        "",
        ("feed", "state", "owner", *numbers, *by, *why),
        right=numbers,
        least=(
            "owner",
            "subscribers",
            "conflated",
            "messages",
            "repaired",
            "items",
            "reconnects",
            *rate_column,
            "last",
            *counts,
        ),
        prose=(*by, *why),
    )
    for each in feeds:
        rate = () if rates is None else (f"{rates[each.feed]:,.1f}" if each.feed in rates else "-",)
        table.add_row(
            str(each.feed),
            Text(each.state, STATE_STYLES.get(each.state, "yellow")),
            each.owner or "-",
            f"{each.subscribers:,}",
            f"{each.items:,}",
            f"{each.messages:,}",
            *rate,
            "-" if each.last_message is None else f"{render.age(now - each.last_message)} ago",
            *(f"{getattr(each, name):,}" for name in counts),
            *(wanted_by(each) for _ in by),
            *(each.reason for _ in why),
        )
    return table


def wanted_by(report: FeedReport) -> str:
    """Return the names of the subscribers of a feed, some of them where there are many: `cli, my-bot, 2 others`."""
    shown = report.subscriber_names[:NAMES_SHOWN]
    if report.kind == "trade" and report.subscribers > len(report.subscriber_names) < MANY_NAMES:
        # Candles that are built from its trades.
        shown = [*shown, "candles"]
        others = len(report.subscriber_names) - NAMES_SHOWN
    else:
        others = report.subscribers - len(shown)
    return ", ".join([*shown, render.plural(others, "other")] if others > 0 else shown)


def started_table(feeds: Sequence[FeedReport]) -> FittingTable:
    """Return a table of started feeds: their states and subjects."""
    table = FittingTable(
        "",
        ("feed", "state", "owner", "subscribers", "subject"),
        right=("subscribers",),
        least=("owner", "subscribers", "feed", "state"),
        hint=True,
    )
    for each in feeds:
        table.add_row(str(each.feed), each.state, each.owner or "-", f"{each.subscribers:,}", each.feed.public)
    return table


def jobs_table(jobs: Sequence[Job]) -> FittingTable:
    """Return a table of fetch jobs, a row for each."""
    numbers = ("fetched", "retries")
    columns = ("job", "key", "state", "instance", *numbers)
    table = FittingTable("", columns, right=numbers, least=("instance", "retries", "fetched"))
    for job in jobs:
        counts = (f"{job.rows_fetched:,}", f"{job.retries:,}")
        state = job.error.code if job.error is not None else job.state
        table.add_row(job.id, " ".join(job.key), state, job.instance or "-", *counts)
    return table
