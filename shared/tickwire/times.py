"""Moments as people write them. Pure; raises BadRequest with the remedy."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from tickwire.errors import BadRequest

TIME_FORMS = "write 2024-01-31, 2024-01-31T12:00, a number of milliseconds, or an age such as 30d or 12h"

_AGE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])\Z")
_AGE_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_COMPACT_DATE_DIGITS = 8
_OLDEST_MS = 100_000_000_000
"""Numbers between 0 and this (1973) are taken for a slip: seconds instead of milliseconds."""


def time_ms(text: str, now: int, option: str = "time") -> int:
    """A moment as ms epoch: ISO 8601 (UTC unless it says otherwise), ms epoch, or an age before `now` (ms).

    Raises BadRequest, naming the option.
    """
    text = text.strip()
    if match := _AGE.match(text):
        moment = now - round(float(match[1]) * _AGE_MS[match[2]])
        if moment < 0:
            raise BadRequest(f"{option} {text} is before 1970", "choose a shorter age")
        return moment
    if text.isascii() and text.isdigit() and len(text) != _COMPACT_DATE_DIGITS:
        number = int(text) if len(text) <= 16 else -1
        if number == 0 or _OLDEST_MS <= number <= 10**14:
            return number
        raise BadRequest(f"{option} {text} is not a time in milliseconds", TIME_FORMS)
    try:
        moment_ = datetime.fromisoformat(text)
        if moment_.tzinfo is None:
            moment_ = moment_.replace(tzinfo=UTC)
        value = round(moment_.timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{option} {text!r} is not a time", TIME_FORMS) from error
    if value < 0:
        raise BadRequest(f"{option} {text} is before 1970", "choose a later time")
    return value
