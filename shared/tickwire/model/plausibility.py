"""Checks whether a time from an exchange is plausible, before data is ordered, closed or stored by it. No I/O.

Exchanges occasionally stamp a trade a year ahead, in seconds or in microseconds (public reports against most of them).
One such time, accepted as it is, makes everything before it look complete.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, NamedTuple

AHEAD_MS = 5_000
"""How far a time may be ahead of the exchange's clock: trades and clock come from different machines of the exchange,
synchronised by NTP or PTP. Far more than such machines differ, far less than an interval of candles; and nothing is
closed before the clock has reached its end anyway."""
UNKNOWN_AHEAD_MS = 86_400_000
"""The same relative to our own clock if the exchange's is unknown: ours may be wrong by hours, or by a time zone."""
FIRST_MS = 1_230_940_800_000
"""2009-01-03, the day of Bitcoin's first block: no trade here is older."""

_SCALES = (("seconds", 1_000, 1), ("microseconds", 1, 1_000), ("nanoseconds", 1, 1_000_000))


class Implausible(NamedTuple):
    """Why a time is implausible."""

    kind: Literal["absent", "negative", "early", "scale", "ahead"]
    reason: str


def latest(clock: int | None, wall: int) -> int:
    """The latest plausible time (ms). `clock`: the latest reading of the exchange's clock, `wall`: of ours, both ms."""
    return wall + UNKNOWN_AHEAD_MS if clock is None else clock + AHEAD_MS


def implausible(timestamp: object, latest: int) -> Implausible | None:
    """Why a time (ms) of an exchange is implausible; None if it is plausible. `latest`: from the function `latest`."""
    if type(timestamp) is int and FIRST_MS <= timestamp <= latest:
        return None
    if timestamp is None:
        return Implausible("absent", "it has no time")
    if type(timestamp) is not int:
        return Implausible("absent", f"{str(timestamp)[:40]!r} is no time in milliseconds")
    if timestamp < 0:
        return Implausible("negative", f"its time is negative ({_short(timestamp)})")
    for unit, times, by in _SCALES:
        if FIRST_MS <= timestamp * times // by <= latest:
            return Implausible("scale", f"its time {timestamp} is in {unit}, not in milliseconds")
    if timestamp < FIRST_MS:
        return Implausible("early", f"its time {timestamp} is {_iso(timestamp)}, before anything was traded")
    return Implausible(
        "ahead", f"its time {_short(timestamp)} is {_iso(timestamp)}, later than {_iso(latest)}, the latest that can be"
    )


def _iso(timestamp: int) -> str:
    try:
        return datetime.fromtimestamp(timestamp / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "beyond all years"


def _short(timestamp: int) -> str:
    return str(timestamp) if abs(timestamp) < 10**20 else "of more than 20 digits"
