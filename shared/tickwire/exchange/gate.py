"""The gate of an exchange: shut while the exchange asks for a pause (`Retry-After`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

LONGEST_S = 86_400.0
"""The longest pause that is kept: a header that demands more is wrong, and would shut the exchange out for ever."""


class Gate:
    """Blocks requests to an exchange while it asks for a pause."""

    def __init__(self) -> None:
        self._until = 0.0

    def shut(self, seconds: float) -> None:
        """Block for so long, a day at most, or longer if it is shut for longer already."""
        self._until = max(self._until, time.monotonic() + min(seconds, LONGEST_S))

    @property
    def remaining_s(self) -> float:
        """How long it stays shut, s; 0.0 if it is open."""
        return max(0.0, self._until - time.monotonic())

    async def passed(self) -> None:
        """Wait until it is open."""
        while (remaining := self.remaining_s) > 0:  # noqa: ASYNC110
            # The pause may have been extended meanwhile.
            await asyncio.sleep(remaining)


def retry_after_s(value: str, now: float) -> float | None:
    """The seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3): a number, or a date after `now` (s)."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


def sent_s(headers: Mapping[str, str]) -> float:
    """When an answer was sent (s): by its `Date` header, else by this machine's clock."""
    date = next((value for name, value in headers.items() if name.lower() == "date"), "")
    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return time.time()
