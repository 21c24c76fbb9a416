"""Limits how often a repeated failure is logged or reported.

`Episode` logs a run of failures when it begins and when it ends; `Episodes` keeps one for each key; `ReportThrottle`
reports at most once per interval and counts what it leaves out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

QUIET_S = 10.0
"""Without a call of `ends`, an episode is over after this long without an occurrence."""
REPORT_INTERVAL_S = 1.0


class Log(Protocol):
    """A structured logger."""

    def warning(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...


class Episode:
    """A run of failures of one kind, `event`; `fields` go with both log lines.

    The owner calls `ends` when it knows that the run is over. With `quiet_s`, an occurrence after that many seconds
    without one begins a new episode, and its log line has the number of occurrences of the last one.
    """

    def __init__(self, log: Log, event: str, *, quiet_s: float | None = None, **fields: Any) -> None:
        self._log = log
        self._event = event
        self._fields = fields
        self._quiet_s = quiet_s
        self._began = 0.0
        self._last = 0.0
        self._times = 0

    @property
    def lasts(self) -> bool:
        """Whether the episode has begun and not ended."""
        return self._times > 0

    def occurs(self, **details: object) -> None:
        """Count an occurrence; the first of an episode is logged, with `details`."""
        now = time.monotonic()
        is_over = self._quiet_s is not None and now - self._last > self._quiet_s
        if not self._times or is_over:
            before = {"times_before": self._times} if self._times > 1 else {}
            self._log.warning(self._event, **self._fields, **details, **before)
            self._began, self._times = now, 0
        self._last = now
        self._times += 1

    def ends(self) -> None:
        """End the episode; logged if one had begun."""
        if self._times:
            seconds = round(time.monotonic() - self._began, 1)
            self._log.info(f"over: {self._event}", **self._fields, times=self._times, seconds=seconds)
        self._times = 0


class Episodes:
    """Episodes of one event, apart by key. Of more than `most` keys the one that began first is forgotten."""

    def __init__(self, log: Log, event: str, *, most: int, quiet_s: float = QUIET_S) -> None:
        self._log = log
        self._event = event
        self._most = most
        self._quiet_s = quiet_s
        self._episodes: dict[str, Episode] = {}

    def occurs(self, key: str, /, **details: object) -> None:
        """Count an occurrence of a key; the first of its episode is logged, with `details`."""
        if key not in self._episodes:
            if len(self._episodes) >= self._most:
                del self._episodes[next(iter(self._episodes))]
            self._episodes[key] = Episode(self._log, self._event, quiet_s=self._quiet_s)
        self._episodes[key].occurs(**details)


class ReportThrottle:
    """Calls `report` at most once per `interval_s`; the next report says how many reasons came before it."""

    def __init__(self, report: Callable[[str], object], interval_s: float = REPORT_INTERVAL_S) -> None:
        self._report = report
        self._interval_s = interval_s
        self._reported = float("-inf")
        self._left_out = 0

    def add(self, reason: str) -> None:
        """Report a reason, or count it when the last report was less than the interval ago."""
        now = time.monotonic()
        if now - self._reported < self._interval_s:
            self._left_out += 1
            return
        more = f" (and {self._left_out} before it)" if self._left_out else ""
        self._reported, self._left_out = now, 0
        self._report(reason + more)
