"""Ranges of one timeframe that are to be fetched: they settle, merge, and are taken one at a time. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from tickwire.model.ranges import Range, merge
from tickwire.process.backoff import delay_s

RANGES = 500
"""Ranges of one timeframe that may wait; more are replaced by one that spans them."""
BACKOFF_S = 3.0
"""The jitter takes off up to half: the tape still states what is pending (`feed.PENDING_S`) before the next request."""
MAX_BACKOFF_S = 60.0


class _Settling(NamedTuple):
    due: float
    missing: Range
    refresh: bool


class RefetchQueue:
    """What is to be fetched of one timeframe. Times are of the monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.due = 0.0
        """When the next range may be requested."""
        self.failures = 0
        """Number of requests in a row that left something missing."""
        self.requested: tuple[Range, bool] | None = None
        """The range being requested, and whether it is a refresh, until a fetcher has accepted it."""
        self._settling: deque[_Settling] = deque()
        """What the exchange may not have yet, in the order in which it will have it."""
        self._missing: list[Range] = []
        self._refresh: list[Range] = []

    def __bool__(self) -> bool:
        return bool(self._missing or self._refresh)

    def add_settling(self, due: float, missing: Range, *, refresh: bool) -> None:
        """Add a range that the exchange has from `due` on."""
        self._settling.append(_Settling(due, missing, refresh))

    def settle(self, now: float) -> None:
        """Move what has settled by now to the ranges to be requested."""
        while self._settling and (self._settling[0].due <= now or len(self._settling) > RANGES):
            settled = self._settling.popleft()
            self.add([settled.missing], refresh=settled.refresh)

    def add(self, ranges: Iterable[Range], *, refresh: bool) -> None:
        """Add ranges to be requested from `due` on; with `refresh`, even if they are cached."""
        kept = merge([*(self._refresh if refresh else self._missing), *ranges])
        if len(kept) > RANGES:
            kept = [Range(kept[0].since, kept[-1].until)]
        if refresh:
            self._refresh = kept
        else:
            self._missing = kept

    def take(self) -> tuple[Range, bool]:
        """The next range to request, and whether it is a refresh. Requires one."""
        refresh = not self._missing
        self.requested = (self._refresh if refresh else self._missing).pop(0), refresh
        return self.requested

    def retry(self, ranges: Iterable[Range], now: float, *, refresh: bool) -> None:
        """Add ranges that a request left missing, and back off."""
        self.failures += 1
        self.add(ranges, refresh=refresh)
        self.due = now + delay_s(self.failures, BACKOFF_S, MAX_BACKOFF_S)

    def succeeded(self, now: float) -> None:
        """The last request left nothing missing."""
        self.failures = 0
        self.due = now

    @property
    def next_due(self) -> float:
        """When the next range settles or may be requested; infinite if there is none."""
        if self:
            return self.due
        return self._settling[0].due if self._settling else float("inf")

    def oldest(self, *, refresh: bool) -> int | None:
        """Start (ms) of the oldest range that no fetcher has accepted."""
        begins = [each.missing.since for each in self._settling if each.refresh == refresh]
        begins += [each.since for each in (self._refresh if refresh else self._missing)[:1]]
        if self.requested is not None and self.requested[1] == refresh:
            begins.append(self.requested[0].since)
        return min(begins, default=None)
