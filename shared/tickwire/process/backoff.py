"""How long to wait before the next attempt: the one computation of delays that grow. No I/O."""

from __future__ import annotations

import random

_MOST_DOUBLINGS = 30
"""Bounds the exponent: 2.0 ** 1024 is an OverflowError."""


def delay_s(failures: int, first_s: float, longest_s: float) -> float:
    """Seconds to wait after so many failures in a row: none after 0, then `first_s` doubled up to `longest_s`.

    Jitter takes off up to half, so that what failed together is not tried again together.
    """
    if failures < 1:
        return 0.0
    return min(longest_s, first_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)) * random.uniform(0.5, 1.0)


class Backoff:
    """Counts failures in a row and computes the delay after each.

    The first retry is immediate; without `at_once` it waits `first_s`.
    """

    def __init__(self, first_s: float, longest_s: float, *, at_once: bool = True) -> None:
        self.failures = 0
        """In a row."""
        self._first_s = first_s
        self._longest_s = longest_s
        self._at_once = at_once

    def worked(self) -> None:
        """Reset: the next failure counts as the first."""
        self.failures = 0

    def next(self) -> float:
        """Count a failure; seconds until the next attempt."""
        self.failures += 1
        return delay_s(self.failures - self._at_once, self._first_s, self._longest_s)
