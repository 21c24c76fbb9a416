"""What has not happened yet, as far as this machine can tell; no I/O.

Whoever makes pages goes by the exchange's clock. This is the net beneath: a timestamp of another scale, or a year
ahead, must not become a verified range. It is wide, because the machine's clock may be wrong itself: set to local time
it is off by up to 14 hours, and one that was set back by a day must not make the cache refuse what is right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from tickwire.errors import BadRequest
from tickwire.model.messages import CandlePage
from tickwire.model.ranges import Range, clip, merge

AHEAD_MS = 2 * 86_400_000
"""How far beyond the machine's clock a time is still believed."""


class Present:
    """The newest moment that has certainly happened, ms: by the clock, or by what it said before.

    So a clock that is set back, or begins in 1970, changes nothing as long as a `witness` is known: a time that a file
    of ours was written at.
    """

    def __init__(self, witness: int = 0, wall: Callable[[], float] = time.time) -> None:
        self._newest = witness
        self._wall = wall

    def __call__(self) -> int:
        """Never less than it was before."""
        self._newest = max(self._newest, int(self._wall() * 1000))
        return self._newest

    def latest(self) -> int:
        """No candle that is believed opens at this moment (ms) or after it."""
        return self() + AHEAD_MS


def refuse_beyond(page: CandlePage, present: int) -> None:
    """Raises BadRequest for a page of a time that has not happened."""
    latest = max(page.until, page.rows[-1][0] if page.rows else page.until)
    if page.since < 0 or latest > present + AHEAD_MS:
        raise BadRequest(
            f"a page of {page.key} speaks of [{page.since}, {page.until}), which is not in the past: it is {present}",
            "where it is right, set this machine's clock, and fetch that range again",
        )


def is_beyond(ranges: Sequence[Range], present: int) -> bool:
    """Whether verified ranges, ascending, reach beyond what may have happened."""
    return bool(ranges) and ranges[-1].until > present + AHEAD_MS


def believed(ranges: Sequence[Range], proven: Iterable[Range], present: int) -> list[Range]:
    """Verified ranges without those that reach beyond what may have happened.

    When such a range was written, all after that moment had not been looked at; which moment it was nothing says. So
    of these ranges only what their rows prove by themselves is kept, `proven`, up to the present.
    """
    sound = [each for each in ranges if each.until <= present + AHEAD_MS]
    wrong = [each for each in ranges if each.until > present + AHEAD_MS]
    rows = [part for each in wrong for part in clip(proven, Range(each.since, min(each.until, present)))]
    return merge([*sound, *rows])
