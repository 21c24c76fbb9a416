"""Times, counts and sequences of messages with their bounds; times as people write them; the wall clock."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

from tickwire.errors import BadRequest

LATEST_MS = 7_258_118_400_000
"""2200-01-01, ms: no message has a later time. InfluxDB's nanoseconds end in 2262, Python's years in 9999."""

Time = Annotated[int, Meta(ge=0, le=LATEST_MS)]
"""A time, ms since the epoch."""
Bound = Annotated[int, Meta(ge=-1, le=LATEST_MS)]
"""An exclusive bound of a gap, ms; -1 is before the epoch."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
"""A count; every language reads numbers up to 2^53 exactly from JSON."""
Sequence = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A sequence of a stream, or an exchange's number of a change."""

TIME_FORMS = (
    "write 2024, 2024-01, 2024-01-31, 2024-01-31T12:00, yesterday, a number of milliseconds, "
    "or an age such as 30d or 12h"
)

DAY_MS = 86_400_000
_AGE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdwy])\Z")
_AGE_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS, "y": 365 * DAY_MS}
_DAYS_AGO = {"today": 0, "yesterday": 1}
_YEAR_OR_MONTH = re.compile(r"[12]\d{3}(-(0[1-9]|1[0-2]))?\Z", re.ASCII)
_COMPACT_DATE_DIGITS = 8
_OLDEST_MS = 100_000_000_000
"""Numbers between 0 and this (1973) are rejected: probably seconds instead of milliseconds."""


def iso_ms(moment: int) -> str:
    """A time (ms) as text, `2026-03-27T12:00:00.000Z`."""
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc(moment: int) -> datetime:
    """A time (ms) as a datetime in UTC."""
    return datetime.fromtimestamp(moment / 1000, UTC)


def now_ms() -> int:
    """The wall clock of this machine, ms since the epoch."""
    return time.time_ns() // 1_000_000


def time_ms(text: str, now: int, option: str = "time") -> int:
    """A time as ms epoch, from ISO 8601 (default UTC), ms epoch, or an age before `now` (ms).

    A year, a month, a day, `today` and `yesterday` are their beginnings in UTC; `1y` is 365 days ago, `now` is now.
    Raises BadRequest, naming the option.
    """
    moment = _moment(text.strip(), now, option)
    if moment > LATEST_MS:
        raise BadRequest(f"{option} {text[:40]} is after the year 2199", "choose an earlier time")
    return moment


def _moment(text: str, now: int, option: str) -> int:
    if match := _AGE.match(text):
        moment = now - round(float(match[1]) * _AGE_MS[match[2]])
        if moment < 0:
            raise BadRequest(f"{option} {text} is before 1970", "choose a shorter age")
        return moment
    if text == "now":
        return now
    if text in _DAYS_AGO:
        return now - now % DAY_MS - _DAYS_AGO[text] * DAY_MS
    if _YEAR_OR_MONTH.match(text):
        text = f"{text}-01-01"[:10]
    elif text.isascii() and text.isdigit() and len(text) != _COMPACT_DATE_DIGITS:
        number = int(text) if len(text) <= 16 else -1
        if number == 0 or _OLDEST_MS <= number <= 10**14:
            return number
        raise BadRequest(f"{option} {text[:40]} is not a time in milliseconds", TIME_FORMS)
    try:
        moment_ = datetime.fromisoformat(text)
        if moment_.tzinfo is None:
            moment_ = moment_.replace(tzinfo=UTC)
        value = round(moment_.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{option} {text[:80]!r} is not a time", TIME_FORMS) from error
    if value < 0:
        raise BadRequest(f"{option} {text} is before 1970", "choose a later time")
    return value
