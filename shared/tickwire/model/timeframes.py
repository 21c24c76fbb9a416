"""Timeframes: the length of candles, and the times at which they open.

Names and lengths are ccxt's (`Exchange.parse_timeframe`), with one difference: a month is a calendar month, because
exchanges open monthly candles on calendar months.

A `Grid` is the set of open times. The functions of this module are for the usual grid: days open at midnight UTC,
weeks on Monday, months on the first. A venue may open them elsewhere (Kucoin's weeks open on Thursday, the days of
some venues at 16:00 UTC); the grid of a key is then the venue's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from tickwire.errors import UnsupportedTimeframe

_FORM = re.compile(r"([1-9]\d{0,3})([smhdwMy])\Z")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_MONTHS = {"M": 1, "y": 12}
_MOST_MONTHS = 120
_DAY_MS = 86_400_000
_CALENDAR_MS = (-62_135_596_800_000 + 366 * _DAY_MS, 253_402_300_800_000 - 20 * 366 * _DAY_MS)
"""Times (ms) far enough from the ends of Python's calendar (years 1 and 9999) for the longest timeframe."""
# Weekly candles open on Mondays; the epoch was a Thursday.
_MONDAY_MS = 4 * _DAY_MS


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


def understood(names: Iterable[str]) -> tuple[str, ...]:
    """The valid timeframes among some names: exchanges list others, such as `15` or `1Y`."""
    found = []
    for name in names:
        try:
            parse(name)
        except UnsupportedTimeframe:
            continue
        found.append(name)
    return tuple(found)


def offered(table: Mapping[str, object]) -> tuple[str, ...]:
    """The valid timeframes of ccxt's table, from names to what the exchange calls them.

    Where those are lengths in one unit, a name whose candles have another length is left out: ccxt 4.5.90 calls 15 days
    of kraken `2w`, three days of bitstamp `1w`, eight hours of zebpay `4h`. Months and years have no one length.
    """
    names = understood(table)
    units: dict[str, float] = {}
    for name in names:
        try:
            length = float(table[name])  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        if parse(name)[1] not in _MONTHS and length > 0:
            units[name] = duration_ms(name) / length
    unit, _ = Counter(units.values()).most_common(1)[0] if units else (0.0, 0)
    return tuple(name for name in names if units.get(name, unit) == unit)


def duration_ms(timeframe: str) -> int:
    """The length of a candle in milliseconds; of a month or a year, its shortest (28 and 365 days)."""
    count, unit = parse(timeframe)
    if unit in _UNIT_MS:
        return count * _UNIT_MS[unit]
    return count * (28 if unit == "M" else 365) * _DAY_MS


def longest_ms(timeframe: str) -> int:
    """The length of a candle in milliseconds; of a month or a year, its longest (31 and 366 days)."""
    count, unit = parse(timeframe)
    if unit in _UNIT_MS:
        return count * _UNIT_MS[unit]
    return count * (31 if unit == "M" else 366) * _DAY_MS


@dataclass(frozen=True, slots=True)
class Grid:
    """The open times of a timeframe. Made by `grid`; grids are equal if all their open times are.

    `step` is the time between opens (ms), or `months` the number of calendar months; the other is 0. `origin` is the
    smallest non-negative open time (ms) if opens are `step` apart. In calendar months they open `origin` ms after the
    first of the month, 00:00 UTC, of every month whose number is `phase` more than a multiple of `months`.
    """

    timeframe: str
    step: int
    months: int
    origin: int
    phase: int = 0

    @property
    def opens_at(self) -> int | None:
        """The first non-negative open time (ms); None on the usual grid."""
        return None if self == grid(self.timeframe) else self.ceil_open(0)

    def opens(self, timestamp: int) -> bool:
        """Whether a candle opens at `timestamp` (ms)."""
        if self.months and not _CALENDAR_MS[0] <= timestamp < _CALENDAR_MS[1]:
            return False
        return self.open_of(timestamp) == timestamp

    def open_of(self, timestamp: int) -> int:
        """The open time (ms) of the candle that `timestamp` (ms) falls into."""
        if self.step:
            return (timestamp - self.origin) // self.step * self.step + self.origin
        index = _month_index(timestamp - self.origin) - self.phase
        return self._month(index // self.months * self.months + self.phase)

    def next_open(self, open_time: int) -> int:
        """The open time of the candle after the one that opens at `open_time` (ms), which is also its close."""
        return self.advance(open_time, 1)

    def ceil_open(self, timestamp: int) -> int:
        """The first open time at or after `timestamp` (ms)."""
        opened = self.open_of(timestamp)
        return opened if opened == timestamp else self.next_open(opened)

    def count(self, since: int, until: int) -> int:
        """How many candles open in `[since, until)` (ms)."""
        if until <= since:
            return 0
        first, end = self.ceil_open(since), self.ceil_open(until)
        if self.step:
            return (end - first) // self.step
        return (_month_index(end - self.origin) - _month_index(first - self.origin)) // self.months

    def advance(self, open_time: int, candles: int) -> int:
        """The open time `candles` candles after `open_time` (ms)."""
        if self.step:
            return open_time + candles * self.step
        return self._month(_month_index(open_time - self.origin) + candles * self.months)

    def _month(self, index: int) -> int:
        return _month_start(index) + self.origin


@lru_cache(maxsize=1024)
def grid(timeframe: str, opens_at: int | None = None) -> Grid:
    """The grid of a timeframe on which a candle opens at `opens_at` (ms); default: the usual grid.

    A calendar month opens within half a day, or so, of the first of the month UTC (a midnight somewhere on Earth).
    Raises UnsupportedTimeframe.
    """
    number, unit = parse(timeframe)
    if unit in _UNIT_MS:
        step = number * _UNIT_MS[unit]
        start = (_MONDAY_MS if unit == "w" else 0) if opens_at is None else opens_at
        return Grid(timeframe, step, 0, start % step)
    months = number * _MONTHS[unit]
    if opens_at is None:
        return Grid(timeframe, 0, months, 0)
    # The first of the month that is nearest.
    index = _month_index(opens_at + 15 * _DAY_MS)
    return Grid(timeframe, 0, months, opens_at - _month_start(index), index % months)


def open_of(timeframe: str, timestamp: int) -> int:
    """`Grid.open_of` of the usual grid."""
    return grid(timeframe).open_of(timestamp)


def next_open(timeframe: str, open_time: int) -> int:
    """`Grid.next_open` of the usual grid."""
    return grid(timeframe).next_open(open_time)


def ceil_open(timeframe: str, timestamp: int) -> int:
    """`Grid.ceil_open` of the usual grid."""
    return grid(timeframe).ceil_open(timestamp)


def count(timeframe: str, since: int, until: int) -> int:
    """`Grid.count` of the usual grid."""
    return grid(timeframe).count(since, until)


def advance(timeframe: str, open_time: int, candles: int) -> int:
    """`Grid.advance` of the usual grid."""
    return grid(timeframe).advance(open_time, candles)


def _month_index(timestamp: int) -> int:
    date = datetime.fromtimestamp(timestamp / 1000, UTC)
    return date.year * 12 + date.month - 1


def _month_start(index: int) -> int:
    return int(datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC).timestamp()) * 1000
