"""The exchange's clock, kept on this machine's monotonic clock, so that a step of the wall clock changes nothing.

Sources, the best first: the exchange's own `fetch_time`; the `Date` header of any of its answers (RFC 9110, 6.6.1,
whole seconds); else the time is unknown. An unknown time is never guessed from ours: whoever needs it must do without
(a candle then counts as closed only when a later one exists).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Literal

Source = Literal["fetch_time", "date", "unknown"]

STEP_MS = 500
"""A wall clock that moved so far against the monotonic one since the comparison was stepped, or the machine slept."""
DATE_AGE_S = 60.0
"""For how long a `Date` header that ran ahead of later ones is trusted: a proxy may repeat an old one."""
DATE_LATE_MS = 60_000.0
"""By how much a `Date` header may be late: it is written before a body that may take long, and cut to the second."""


class ExchangeClock:
    """One venue's clock. Times in ms epoch; ages in seconds of the monotonic clock.

    `fetch_time` asks the exchange, where it tells the time; raises ccxt's errors.
    """

    def __init__(
        self,
        fetch_time: Callable[[], Awaitable[object]] | None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.source: Source = "unknown"
        self._fetch_time = fetch_time
        self._monotonic = monotonic
        self._wall = wall
        self._ahead = 0.0
        """The exchange's time (ms) less the monotonic clock (ms)."""
        self._drift = 0.0
        """The wall clock less the monotonic clock (ms) when they were compared."""
        self._compared = float("-inf")
        self._late = 0.0
        """By how much (ms) the exchange's clock may be later than `now` says."""

    @property
    def age_s(self) -> float:
        """How long ago the clocks were compared; infinite before that, and after this machine slept or was set."""
        moved = abs(self._wall_ahead() - self._drift)
        return float("inf") if moved > STEP_MS else self._monotonic() - self._compared

    @property
    def asks(self) -> bool:
        """Whether the exchange tells the time when asked."""
        return self._fetch_time is not None

    def now(self) -> int | None:
        """The exchange's time, ms, never later than it is; None while it is unknown."""
        if self.source == "unknown":
            return None
        return int(self._monotonic() * 1000 + self._ahead)

    def latest(self) -> int | None:
        """The latest that the exchange's clock may show, ms; None while that is unknown."""
        now = self.now()
        return None if now is None else now + int(self._late)

    async def compare(self, max_age_s: float) -> None:
        """Ask the exchange for its time unless it was compared within `max_age_s`.

        Raises ccxt's errors, and ValueError when the answer is no time. Asks nothing where it does not tell the time.
        """
        if self._fetch_time is None or self.age_s < max_age_s:
            return
        asked = self._monotonic()
        told = await self._fetch_time()
        if isinstance(told, bool) or not isinstance(told, int | float) or not 0 < told < 1e14:
            raise ValueError(f"the exchange tells the time as {told!r}")
        # The answer was made before it arrived: the time that it tells is never later than it is.
        self._set(float(told), "fetch_time", (self._monotonic() - asked) * 1000)

    def observe(self, headers: Mapping[str, str]) -> None:
        """Take in the headers of an answer of the exchange, where it does not tell the time otherwise."""
        if self._fetch_time is not None:
            return
        found = {name.lower(): value for name, value in headers.items() if name.lower() in ("date", "age")}
        try:
            told = parsedate_to_datetime(found["date"]).timestamp() * 1000 + float(found.get("age", 0)) * 1000
        except (KeyError, TypeError, ValueError, OverflowError):
            return
        now = self.now()
        # A whole second is cut off, so the latest that was told is the nearest.
        if now is None or told > now or self.age_s > DATE_AGE_S:
            self._set(told, "date", DATE_LATE_MS)

    def _set(self, told: float, source: Source, late: float) -> None:
        self._compared = self._monotonic()
        self._ahead = told - self._compared * 1000
        self._drift = self._wall_ahead()
        self._late = late
        self.source = source

    def _wall_ahead(self) -> float:
        return (self._wall() - self._monotonic()) * 1000
