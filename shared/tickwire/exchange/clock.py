"""The exchange's clock, as an offset to this machine's monotonic clock: a step of the wall clock does not change it.

Sources, the best first: the exchange's own `fetch_time`; the `Date` header of any of its answers (RFC 9110, 6.6.1,
whole seconds); else the time is unknown. An unknown time is never replaced by this machine's (a candle then counts as
closed only when a later one exists).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Literal

Source = Literal["fetch_time", "date", "unknown"]

STEP_MS = 500
"""If the wall clock moved this far against the monotonic one since the comparison, it was set, or the machine slept."""
DATE_AGE_S = 60.0
"""For how long a `Date` header outweighs later headers with earlier times: a proxy may repeat an old one."""
DATE_LATE_MS = 60_000.0
"""The most that a `Date` header may lag: it precedes a body that may take long, and has whole seconds."""


class ExchangeClock:
    """The clock of one exchange. Times are ms epoch; ages are seconds of the monotonic clock.

    `fetch_time` asks the exchange; None if the exchange has no such call. It raises ccxt's errors.
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
        """The exchange's time minus the monotonic clock, ms."""
        self._drift = 0.0
        """The wall clock minus the monotonic clock at the comparison, ms."""
        self._compared = float("-inf")
        self._late = 0.0
        """The most by which the exchange's clock may be ahead of `now`, ms."""

    @property
    def age_s(self) -> float:
        """The age of the comparison; infinite without one, and after this machine slept or its clock was set."""
        moved = abs(self._wall_ahead() - self._drift)
        return float("inf") if moved > STEP_MS else self._monotonic() - self._compared

    @property
    def asks(self) -> bool:
        """Whether the exchange can be asked for its time."""
        return self._fetch_time is not None

    def now(self) -> int | None:
        """The exchange's time, ms, never ahead of it; None while it is unknown."""
        if self.source == "unknown":
            return None
        return int(self._monotonic() * 1000 + self._ahead)

    def latest(self) -> int | None:
        """The latest possible time of the exchange's clock, ms; None while it is unknown."""
        return None if self.source == "unknown" else int(self._monotonic() * 1000 + self._ahead) + int(self._late)

    async def compare(self, max_age_s: float) -> None:
        """Ask the exchange for its time unless the last comparison is at most `max_age_s` old.

        Raises ccxt's errors, and ValueError if the answer is no time. Does nothing if the exchange cannot be asked.
        """
        if self._fetch_time is None or self.age_s < max_age_s:
            return
        asked = self._monotonic()
        answer = await self._fetch_time()
        if isinstance(answer, bool) or not isinstance(answer, int | float) or not 0 < answer < 1e14:
            raise ValueError(f"the exchange answered {answer!r} for its time")
        # The answer is older than its arrival: so `now` is never ahead of the exchange's clock.
        self._set(float(answer), "fetch_time", (self._monotonic() - asked) * 1000)

    def observe(self, headers: Mapping[str, str]) -> None:
        """Use the headers of an answer, if the exchange cannot be asked for its time."""
        if self._fetch_time is not None:
            return
        found = {name.lower(): value for name, value in headers.items() if name.lower() in ("date", "age")}
        try:
            sent_at = parsedate_to_datetime(found["date"]).timestamp() * 1000 + float(found.get("age", 0)) * 1000
        except (KeyError, TypeError, ValueError, OverflowError):
            return
        now = self.now()
        # The fraction of the second is cut off, so the latest time is the nearest.
        if now is None or sent_at > now or self.age_s > DATE_AGE_S:
            self._set(sent_at, "date", DATE_LATE_MS)

    def _set(self, at: float, source: Source, late: float) -> None:
        self._compared = self._monotonic()
        self._ahead = at - self._compared * 1000
        self._drift = self._wall_ahead()
        self._late = late
        self.source = source

    def _wall_ahead(self) -> float:
        return (self._wall() - self._monotonic()) * 1000
