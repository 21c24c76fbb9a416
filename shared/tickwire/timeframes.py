"""Timeframes: how long a candle is, and where candles open.

Names and lengths are ccxt's (`Exchange.parse_timeframe`), with one difference: a month is a calendar month,
because that is where exchanges open monthly candles.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from tickwire.errors import UnsupportedTimeframe

_FORM = re.compile(r"([1-9]\d{0,3})([smhdwMy])\Z")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_MONTHS = {"M": 1, "y": 12}
_MOST_MONTHS = 120
# Weekly candles open on Mondays; the epoch was a Thursday.
_MONDAY_MS = 4 * 86_400_000


def parse(timeframe: str) -> tuple[int, str]:
    """Split `15m` into (15, "m").

    Raises UnsupportedTimeframe when it is not a number and one of s, m, h, d, w, M, y.
    """
    match = _FORM.match(timeframe)
    # Calendars end with the year 9999.
    if match is None or (match[2] in _MONTHS and int(match[1]) * _MONTHS[match[2]] > _MOST_MONTHS):
        raise UnsupportedTimeframe(
            f"{timeframe[:20]!r} is not a timeframe", "write a number and a unit, such as 1m, 15m, 4h or 1d"
        )
    return int(match[1]), match[2]


def duration_ms(timeframe: str) -> int:
    """The length of a candle in milliseconds; of a month or a year, its shortest (28 and 365 days)."""
    count, unit = parse(timeframe)
    if unit in _UNIT_MS:
        return count * _UNIT_MS[unit]
    return count * (28 if unit == "M" else 365) * _UNIT_MS["d"]


def open_of(timeframe: str, timestamp: int) -> int:
    """The open time (ms) of the candle that `timestamp` (ms) falls into."""
    count, unit = parse(timeframe)
    if unit in _MONTHS:
        return _month_start(_month_index(timestamp) // (count * _MONTHS[unit]) * (count * _MONTHS[unit]))
    length = count * _UNIT_MS[unit]
    origin = _MONDAY_MS if unit == "w" else 0
    return (timestamp - origin) // length * length + origin


def next_open(timeframe: str, open_time: int) -> int:
    """The open time of the candle after the one that opens at `open_time` (ms), which is also its close."""
    count, unit = parse(timeframe)
    if unit in _MONTHS:
        return _month_start(_month_index(open_time) + count * _MONTHS[unit])
    return open_time + count * _UNIT_MS[unit]


def ceil_open(timeframe: str, timestamp: int) -> int:
    """The first open time at or after `timestamp` (ms)."""
    opened = open_of(timeframe, timestamp)
    return opened if opened == timestamp else next_open(timeframe, opened)


def count(timeframe: str, since: int, until: int) -> int:
    """How many candles open in `[since, until)` (ms)."""
    if until <= since:
        return 0
    number, unit = parse(timeframe)
    if unit in _UNIT_MS:
        length = number * _UNIT_MS[unit]
        return (ceil_open(timeframe, until) - ceil_open(timeframe, since)) // length
    months = number * _MONTHS[unit]
    first, end = ceil_open(timeframe, since), ceil_open(timeframe, until)
    return (_month_index(end) - _month_index(first)) // months


def advance(timeframe: str, open_time: int, candles: int) -> int:
    """The open time `candles` candles after `open_time` (ms)."""
    number, unit = parse(timeframe)
    if unit in _UNIT_MS:
        return open_time + candles * number * _UNIT_MS[unit]
    return _month_start(_month_index(open_time) + candles * number * _MONTHS[unit])


def _month_index(timestamp: int) -> int:
    date = datetime.fromtimestamp(timestamp / 1000, UTC)
    return date.year * 12 + date.month - 1


def _month_start(index: int) -> int:
    return int(datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000
