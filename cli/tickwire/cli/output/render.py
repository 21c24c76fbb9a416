"""How facts look in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from rich.console import Console
from rich.text import Text

from tickwire.cli.output import encoding as output_encoding
from tickwire.cli.output.tables import Fitting
from tickwire.model.feeds import Feed, FeedReport
from tickwire.model.messages import Coverage, Job
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

_PIPED_WIDTH = 200
_RANGES_SHOWN = 3


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command end as for any other output, rather than with rich's own exit."""
        raise BrokenPipeError


def out() -> Console:
    """Standard output: facts. Not wrapped at 80 columns where nobody looks."""
    return _Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)


def err() -> Console:
    """Standard error: progress and remarks."""
    return _Console(stderr=True, width=None if sys.stderr.isatty() else _PIPED_WIDTH, highlight=False)


def say(text: str) -> None:
    """A remark of one line on standard error."""
    print(f"tickwire: {text}", file=sys.stderr, flush=True)


def as_json(value: object) -> None:
    """A fact on standard output, as indented JSON."""
    output_encoding.for_programs()
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def as_json_line(data: bytes) -> None:
    """One of many facts on standard output, as JSON in a line."""
    output_encoding.for_programs()
    print(data.decode(), flush=True)


def moment(timestamp: int | None) -> str:
    """A time in UTC as short as it can be: `2024-01-31 12:00`."""
    if timestamp is None:
        return "-"
    date = datetime.fromtimestamp(timestamp / 1000, UTC)
    if timestamp % 1000:
        return date.strftime("%Y-%m-%d %H:%M:%S.") + f"{timestamp % 1000:03d}"
    return date.strftime("%Y-%m-%d %H:%M:%S" if timestamp % 60_000 else "%Y-%m-%d %H:%M")


def clock(timestamp: int) -> str:
    """A time of day in UTC: `12:00:00.250`."""
    return datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%H:%M:%S.") + f"{timestamp % 1000:03d}"


def age(milliseconds: int) -> str:
    """How long ago something was: `0.3 s`, `12 s`, `5 min`, `3 h`."""
    seconds = max(0, milliseconds) / 1000
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def number(value: float, decimals: int = 0) -> str:
    """A price or an amount with all its digits, at least so many decimals, and no exponent: `60,000.10`."""
    exact = Decimal(repr(float(value)))
    if exact == exact.to_integral_value():
        return f"{exact:,.{decimals}f}"
    return f"{exact:,.{max(decimals, decimals_of(value))}f}"


def decimals_of(value: float) -> int:
    """How many decimals a number has, in its shortest form."""
    exact = Decimal(repr(float(value))).normalize()
    return max(0, -int(exact.as_tuple().exponent))


def size(count: int) -> str:
    """A number of bytes: `3.4 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def plural(count: int, noun: str, many: str = "") -> str:
    """`1 key`, `2 keys`; `many` where an s is not enough."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {many or noun + 's'}"


def ranges(parts: Sequence[Range]) -> str:
    """Ranges of time, the first three of them."""
    shown = ", ".join(f"{moment(part.since)} to {moment(part.until)}" for part in parts[:_RANGES_SHOWN])
    more = len(parts) - _RANGES_SHOWN
    return f"{shown} and {plural(more, 'more range')}" if more > 0 else shown


def key_cells(key: Key) -> tuple[str, str, str]:
    """The first three cells of a row about a key."""
    return key.exchange, key.symbol, key.timeframe


def coverage_table(found: Sequence[Coverage], title: str = "") -> Fitting:
    """What is cached, a row for each key."""
    made = Fitting(
        title,
        ("exchange", "symbol", "timeframe", "rows", "from", "to", "holes", "volume in", "file"),
        right=("rows", "holes", "file"),
        least=("file", "volume in", "holes", "from", "to"),
        hint=True,
    )
    for each in found:
        made.add_row(
            *key_cells(each.key),
            f"{each.rows:,}",
            moment(each.first),
            moment(each.last),
            f"{each.holes:,}",
            each.volume_unit or "?",
            size(each.bytes),
        )
    return made


def job_state(job: Job) -> str:
    """How a job ended, in words."""
    if job.state == "failed":
        reason = f"failed: {job.error.message}" if job.error else "failed"
    else:
        reason = "complete" if job.complete else "incomplete" if job.ended else job.state
    return f"{reason}; missing {ranges(job.missing)}" if job.missing and not job.complete else reason


def job_table(jobs: Sequence[Job]) -> Fitting:
    """What was fetched, a row for each key."""
    made = Fitting(
        "",
        ("exchange", "symbol", "timeframe", "from cache", "fetched", "retries", "result"),
        right=("from cache", "fetched", "retries"),
        least=("retries", "from cache", "fetched"),
        prose=("result",),
        hint=True,
    )
    for job in jobs:
        made.add_row(
            *key_cells(job.key), f"{job.rows_from_cache:,}", f"{job.rows_fetched:,}", f"{job.retries:,}", job_state(job)
        )
    return made


STATE_STYLES = {"live": "green", "disconnected": "red", "failed": "bold red", "stopped": "dim"}


COUNTS = ("reconnects", "gaps", "repaired", "rejected", "conflated")


def feed_table(feeds: Sequence[FeedReport], now: int, paces: Mapping[Feed, float] | None = None) -> Fitting:
    """The feeds at a time (ms), a row for each; with their messages per second where those are known.

    Of what rarely happens, only what has happened is a column.
    """
    counts = [name for name in COUNTS if any(getattr(each, name) for each in feeds)]
    pace = () if paces is None else ("messages/s",)
    numbers = ("subscribers", "items", "messages", *pace, "last", *counts)
    why = ("why",) if any(each.reason for each in feeds) else ()
    made = Fitting(
        "",
        ("feed", "state", "owner", *numbers, *why),
        right=numbers,
        least=(
            "owner",
            "subscribers",
            "conflated",
            "messages",
            "repaired",
            "items",
            "reconnects",
            *pace,
            "last",
            *counts,
        ),
        prose=why,
    )
    for each in feeds:
        rate = () if paces is None else (f"{paces[each.feed]:,.1f}" if each.feed in paces else "-",)
        made.add_row(
            str(each.feed),
            Text(each.state, STATE_STYLES.get(each.state, "yellow")),
            each.owner or "-",
            f"{each.subscribers:,}",
            f"{each.items:,}",
            f"{each.messages:,}",
            *rate,
            "-" if each.last_message is None else f"{age(now - each.last_message)} ago",
            *(f"{getattr(each, name):,}" for name in counts),
            *(each.reason for _ in why),
        )
    return made


def started_table(feeds: Sequence[FeedReport]) -> Fitting:
    """Feeds that were asked for: what they are at, and where to listen."""
    made = Fitting(
        "",
        ("feed", "state", "owner", "subscribers", "subject"),
        right=("subscribers",),
        least=("owner", "subscribers", "feed", "state"),
        hint=True,
    )
    for each in feeds:
        made.add_row(str(each.feed), each.state, each.owner or "-", f"{each.subscribers:,}", each.feed.public)
    return made
