"""The heat map of what is kept: a row for each key of candles and each archived feed, a cell for each day. Pure.

A day (UTC) is `complete`: all of it is known; `quiet`: likewise, and nothing traded (see quiet_days.py);
`gap`: a part of it is missing; `unknown`: nothing of it is known; `open`: it has not ended, and is known up to its
newest candles; `removed`: it was archived, and is no longer kept.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from typing import Literal

from msgspec import Struct

from tickwire.model.messages import Certificate, Coverage
from tickwire.model.ranges import Range, clip
from tickwire.model.timeframes import duration_ms

DAY_MS = 86_400_000
State = Literal["complete", "quiet", "gap", "unknown", "open", "removed"]
OF_CONDITION: dict[str, State] = {
    "complete": "complete",
    "gaps": "gap",
    "partial": "gap",
    "missing": "unknown",
    "open": "open",
    "removed": "removed",
}
"""The state of an archived day by the condition of its certificate (docs/archive.md)."""


class Cell(Struct, frozen=True):
    """A day: its state, and the part of it that is known, from 0 to 1."""

    state: State
    known: float


class Row(Struct, frozen=True, kw_only=True):
    """A key of candles, or where there is no timeframe an archived feed of trades; a cell for each day."""

    exchange: str
    symbol: str
    timeframe: str | None
    cells: list[Cell]


class CoverageView(Struct, frozen=True, kw_only=True):
    """The view: days from `since` (ms, midnight UTC) on, by the clock of `at` (ms)."""

    at: int
    since: int
    days: int
    rows: list[Row]
    more: int = 0
    """Rows that are not shown."""
    damaged: list[str] = []
    remark: str = ""


def first_day(until: date | None, days: int, now: int) -> int:
    """When the first of the `days` days up to and with `until`, else today, begins (ms)."""
    today = datetime.fromtimestamp(now / 1000, UTC).date()
    last = min(until, today) if until is not None else today
    begin = int(datetime(last.year, last.month, last.day, tzinfo=UTC).timestamp() * 1000)
    return max(0, begin - (days - 1) * DAY_MS)


def row_of_key(found: Coverage, since: int, days: int, now: int, quiet: Collection[int] = ()) -> Row:
    """The row of a key; on the days that begin at `quiet`, between others with trades, nothing traded."""
    cells = [
        Cell("quiet", 1.0) if at in quiet else _of_candles(found, Range(at, at + DAY_MS), now)
        for at in range(since, since + days * DAY_MS, DAY_MS)
    ]
    return Row(exchange=found.exchange, symbol=found.symbol, timeframe=found.timeframe, cells=cells)


def _of_candles(found: Coverage, day: Range, now: int) -> Cell:
    length = duration_ms(found.timeframe)
    end = min(day.until, _closed_until(found, length, now))
    if end <= day.since:
        return Cell("open", 0.0) if day.since <= now else Cell("unknown", 0.0)
    within = clip(found.verified, Range(day.since, end))
    known = sum(each.until - each.since for each in within) / (end - day.since)
    if not within:
        return Cell("unknown", 0.0)
    if known >= 1.0:
        rows = found.first is not None and found.last is not None
        traded = rows and day.until > (found.first or 0) and day.since < (found.last or 0) + length
        if not traded:
            return Cell("quiet", 1.0)
        return Cell("complete" if day.until <= now else "open", 1.0)
    begins_known = len(within) == 1 and within[0].since <= day.since
    return Cell("open" if begins_known and day.until > now else "gap", known)


def _closed_until(found: Coverage, length: int, now: int) -> int:
    """Up to where (ms) candles have closed: the one that is open is not missing yet."""
    if length <= DAY_MS:
        return now - now % length
    # Weeks and months begin on days of the venue's own; the known ones say on which.
    known = found.verified[-1].until if found.verified else 0
    return max(now - length, min(known, now))


def row_of_feed(exchange: str, symbol: str, found: Sequence[Certificate], since: int, days: int) -> Row:
    """The row of an archived feed of trades."""
    by_day = {_begin(each): each for each in found}
    cells = [_of_certificate(by_day.get(at)) for at in range(since, since + days * DAY_MS, DAY_MS)]
    return Row(exchange=exchange, symbol=symbol, timeframe=None, cells=cells)


def _of_certificate(found: Certificate | None) -> Cell:
    if found is None:
        return Cell("unknown", 0.0)
    known = min(1.0, sum(each.until - each.since for each in found.watched) / DAY_MS)
    state = OF_CONDITION.get(found.condition, "unknown")
    if state == "complete" and not found.rows:
        return Cell("quiet", known)
    return Cell(state, known)


def _begin(found: Certificate) -> int:
    return int(datetime.fromisoformat(f"{found.date}T00:00:00+00:00").timestamp() * 1000)
