"""Rejects times in the future, as far as this machine can tell; no I/O.

Pages are made by the exchange's clock. This is a second line of defence: a timestamp of another scale, or a year
ahead, must not become a verified range. The tolerance is wide, because the machine's clock may be wrong itself: one set
to local time is off by up to 14 hours, and one set back by a day must not make the cache refuse correct pages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from tickwire.errors import BadRequest
from tickwire.model.messages import CandlePage
from tickwire.model.ranges import Range, clip, merge

AHEAD_MS = 2 * 86_400_000
"""How far ahead of the machine's clock a time is still plausible."""


class WallClock:
    """The machine's clock, ms, but never earlier than it was before or than `witness`.

    `witness` is a time at which a file of the cache was written. With it, a clock that was set back, or starts in 1970,
    changes nothing.
    """

    def __init__(self, witness: int = 0, wall: Callable[[], float] = time.time) -> None:
        self._newest = witness
        self._wall = wall

    def now(self) -> int:
        """The time, ms; never less than an earlier result."""
        self._newest = max(self._newest, int(self._wall() * 1000))
        return self._newest

    def latest(self) -> int:
        """The first implausible open time (ms): no candle opens at it or later."""
        return self.now() + AHEAD_MS


def refuse_future(page: CandlePage, now: int) -> None:
    """Raise BadRequest for a page that reaches into the future of `now` (ms) by more than the tolerance."""
    latest = max(page.until, page.rows[-1][0] if page.rows else page.until)
    if page.since < 0 or latest > now + AHEAD_MS:
        raise BadRequest(
            f"a page of {page.key} covers [{page.since}, {page.until}), which is not in the past: it is {now}",
            "if that range is right, set this machine's clock, and fetch the range again",
        )


def reaches_future(ranges: Sequence[Range], now: int) -> bool:
    """Whether verified ranges, ascending, reach into the future of `now` (ms) by more than the tolerance."""
    return bool(ranges) and ranges[-1].until > now + AHEAD_MS


def without_future(ranges: Sequence[Range], proven: Iterable[Range], now: int) -> list[Range]:
    """Verified ranges without the parts that cannot have been verified by `now` (ms).

    When a range that reaches into the future was written, its part after that moment had not been looked at, and the
    moment is not known. So of such a range only `proven` is kept, what its rows prove by themselves, up to `now`.
    """
    sound = [each for each in ranges if each.until <= now + AHEAD_MS]
    wrong = [each for each in ranges if each.until > now + AHEAD_MS]
    rows = [part for each in wrong for part in clip(proven, Range(each.since, min(each.until, now)))]
    return merge([*sound, *rows])
