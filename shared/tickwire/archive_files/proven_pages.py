"""Collects proven trades into pages for the archive: each of one day, and bounded. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from tickwire.archive_files.layout import begin_of, date_of
from tickwire.model.feeds import Trade
from tickwire.model.messages.archive_writing import PAGE_TRADES
from tickwire.model.ranges import Range


class Proven(NamedTuple):
    """Trades in order; all that there are in `[since, until)` (ms), which may be empty."""

    since: int
    until: int
    trades: list[Trade]


class PageBuffer:
    """Proven trades that are not sent yet: neighbours of one day become one page."""

    def __init__(self, most: int = PAGE_TRADES) -> None:
        self._most = most
        self._held: Proven | None = None

    def add(self, proven: Proven) -> Iterator[Proven]:
        """Take proven trades; yields what is to be sent."""
        for part in parts_of(proven, self._most):
            held = self._held
            joined = None if held is None else _joined(held, part)
            if joined is not None and len(joined.trades) <= self._most:
                self._held = joined
                continue
            self._held = part
            if held is not None:
                yield held

    def rest(self) -> Iterator[Proven]:
        """What is left."""
        held, self._held = self._held, None
        if held is not None:
            yield held


def parts_of(proven: Proven, most: int) -> Iterator[Proven]:
    """The parts of proven trades: of one day and `most` trades each. Of several for a day only the last proves it."""
    days: dict[int, list[Trade]] = defaultdict(list)
    for each in sorted(proven.trades, key=lambda trade: trade.timestamp):
        days[begin_of(date_of(each.timestamp))].append(each)
    at = proven.since
    while at < proven.until:
        day = begin_of(date_of(at))
        days[day] += []
        at = begin_of(date_of(at) + timedelta(days=1))
    for day, trades in sorted(days.items()):
        end = begin_of(date_of(day) + timedelta(days=1))
        since, until = max(proven.since, day), min(proven.until, end)
        if since >= until:
            since = until = day
        for first in range(0, max(0, len(trades) - most), most):
            yield Proven(since, since, trades[first : first + most])
        left = (len(trades) - 1) // most * most if trades else 0
        yield Proven(since, until, trades[left:])


def _joined(one: Proven, other: Proven) -> Proven | None:
    """Both as one, if they are neighbours within a day."""
    for before, after in ((one, other), (other, one)):
        day = Range(begin_of(date_of(before.since)), begin_of(date_of(before.since) + timedelta(days=1)))
        # Those that prove nothing may be later than what is joined behind them.
        trades = sorted([*before.trades, *after.trades], key=lambda trade: trade.timestamp)
        is_one_day = after.until <= day.until and all(day.since <= each.timestamp < day.until for each in trades)
        if before.until == after.since and is_one_day:
            return Proven(before.since, after.until, trades)
    return None
