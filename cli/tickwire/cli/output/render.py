"""Formats facts and remarks for terminals: numbers, times, JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from tickwire.cli.output import encoding
from tickwire.model.ranges import Range

_RANGES_SHOWN = 3


def remark(text: str) -> None:
    """Print a remark of one line on standard error."""
    print(f"tickwire: {text}", file=sys.stderr, flush=True)


def as_json(value: object) -> None:
    """Print a fact on standard output as indented JSON."""
    encoding.for_programs()
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def as_json_line(data: bytes) -> None:
    """Print one of many facts on standard output, as one line of JSON."""
    encoding.for_programs()
    print(data.decode(), flush=True)


def moment(timestamp: int | None) -> str:
    """Format a time (ms) in UTC as short as possible: `2024-01-31 12:00`."""
    if timestamp is None:
        return "-"
    date = datetime.fromtimestamp(timestamp / 1000, UTC)
    if timestamp % 1000:
        return date.strftime("%Y-%m-%d %H:%M:%S.") + f"{timestamp % 1000:03d}"
    return date.strftime("%Y-%m-%d %H:%M:%S" if timestamp % 60_000 else "%Y-%m-%d %H:%M")


def clock(timestamp: int) -> str:
    """Format the time of day (ms) in UTC: `12:00:00.250`."""
    return datetime.fromtimestamp(timestamp / 1000, UTC).strftime("%H:%M:%S.") + f"{timestamp % 1000:03d}"


def age(milliseconds: int) -> str:
    """Format an age (ms): `0.3 s`, `12 s`, `5 min`, `3 h`."""
    seconds = max(0, milliseconds) / 1000
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def number(value: float, decimals: int = 0) -> str:
    """Format a price or an amount with all its digits, at least `decimals` of them, no exponent: `60,000.10`."""
    exact = Decimal(repr(float(value)))
    if exact == exact.to_integral_value():
        return f"{exact:,.{decimals}f}"
    return f"{exact:,.{max(decimals, decimals_of(value))}f}"


def decimals_of(value: float) -> int:
    """Return how many decimals a number has in its shortest form."""
    exact = Decimal(repr(float(value))).normalize()
    return max(0, -int(exact.as_tuple().exponent))


def size(count: int) -> str:
    """Format a number of bytes: `3.4 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def plural(count: int, noun: str, many: str = "") -> str:
    """Format a count: `1 key`, `2 keys`; `many` is an irregular plural."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {many or noun + 's'}"


def ranges(parts: Sequence[Range]) -> str:
    """Format the first three time ranges, and the number of others."""
    shown = ", ".join(f"{moment(part.since)} to {moment(part.until)}" for part in parts[:_RANGES_SHOWN])
    more = len(parts) - _RANGES_SHOWN
    return f"{shown} and {plural(more, 'more range')}" if more > 0 else shown
