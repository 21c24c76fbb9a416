"""What fails again and again is logged when it begins and when it ends, not at each turn."""

from __future__ import annotations

import time
from typing import Any, Protocol

QUIET_S = 10.0
"""An episode whose end nobody sees is over after so long without an occurrence."""


class Log(Protocol):
    """A structured logger."""

    def warning(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...


class Episode:
    """A run of failures of one kind, `event`; `fields` go with both log lines.

    Whoever can tell that it is over calls `ends`. With `quiet_s`, an occurrence after so many seconds without one
    begins a new episode, and says how many the last one had.
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
        """Whether it has begun and not ended."""
        return self._times > 0

    def occurs(self, **details: object) -> None:
        """It happened; logged, with `details`, where that begins an episode."""
        now = time.monotonic()
        over = self._quiet_s is not None and now - self._last > self._quiet_s
        if not self._times or over:
            before = {"times_before": self._times} if self._times > 1 else {}
            self._log.warning(self._event, **self._fields, **details, **before)
            self._began, self._times = now, 0
        self._last = now
        self._times += 1

    def ends(self) -> None:
        """It is over; logged where it had begun."""
        if self._times:
            seconds = round(time.monotonic() - self._began, 1)
            self._log.info(f"over: {self._event}", **self._fields, times=self._times, seconds=seconds)
        self._times = 0
