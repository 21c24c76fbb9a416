"""Finds interests that were not renewed within their TTL and that the broker still keeps.

nats-server 2.15.1, killed and started again, brings back entries that a withdrawal had replaced, if the marker of the
withdrawal has expired and an older entry is still there. Those from before its last regular stop have lost their TTL
(measured).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

GRACE_S = 10.0
"""The broker has this long to expire an entry by itself: after a restart it took up to some seconds."""


@dataclass
class _Entry:
    sequence: int
    ttl_s: float
    renewed_at: float


class InterestExpiry:
    """The entries with a TTL, by subject. Times are monotonic, so that no clock is compared with the broker's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    def renewed(self, subject: str, sequence: int, ttl_s: float | None) -> None:
        """Record an entry of the bucket."""
        if ttl_s is None:
            self._entries.pop(subject, None)
        else:
            self._entries[subject] = _Entry(sequence, ttl_s, self._clock())

    def ended(self, subject: str) -> None:
        """Record that an entry was withdrawn or has expired."""
        self._entries.pop(subject, None)

    def restart(self) -> None:
        """Give every entry its whole time again: renewals may have been missed."""
        now = self._clock()
        for each in self._entries.values():
            each.renewed_at = now

    def overdue(self) -> list[tuple[str, int]]:
        """The entries that should be gone, each with its sequence."""
        now = self._clock()
        return [
            (subject, each.sequence)
            for subject, each in self._entries.items()
            if now - each.renewed_at > each.ttl_s + GRACE_S
        ]
