"""The gate of an exchange: shut while the exchange asks for a pause (`Retry-After`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


class Gate:
    """Shut while the exchange wants to be left alone."""

    def __init__(self) -> None:
        self._until = 0.0

    def shut(self, seconds: float) -> None:
        """Let nothing through for so long, or longer if it is already shut for longer."""
        self._until = max(self._until, time.monotonic() + seconds)

    @property
    def remaining_s(self) -> float:
        """How long it stays shut, 0.0 when it is open."""
        return max(0.0, self._until - time.monotonic())

    async def passed(self) -> None:
        """Wait until it is open."""
        while (remaining := self.remaining_s) > 0:  # noqa: ASYNC110
            # It may be shut for longer meanwhile.
            await asyncio.sleep(remaining)


def retry_after_s(value: str, now: float) -> float | None:
    """The seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3): a number, or a date after `now` (s)."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def sent_s(headers: Mapping[str, str]) -> float:
    """When an answer was sent (s), by its own `Date` header; by our clock where it has none."""
    date = next((value for name, value in headers.items() if name.lower() == "date"), "")
    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return time.time()
