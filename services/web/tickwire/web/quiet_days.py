"""Finds the complete days of a key on which nothing traded: without rows, or with rows of volume 0 alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tickwire.model.messages import Coverage
from tickwire.model.ranges import Range, clip, covers
from tickwire.model.subjects import Key
from tickwire.model.timeframes import duration_ms
from tickwire.model.times import DAY_MS

KEPT = 200_000
"""Days of keys whose answer is kept."""
Ask = Callable[[Key, Range], Awaitable[Coverage]]
"""The coverage of a part of a key, and where nothing traded."""


class QuietDays:
    """Remembers what was found: a day that is complete stays what it was."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[tuple[Key, int], bool] = {}

    async def of(self, found: Coverage, days: Range, *, ask: bool) -> tuple[set[int], bool]:
        """The quiet days within `days` (ms, midnights) by their beginnings, and whether a request was sent.

        Without `ask` only what is known already is returned.
        """
        key = found.key
        if duration_ms(key.timeframe) > DAY_MS:
            return set(), False
        whole = [at for at in range(*days, DAY_MS) if _is_within(found.verified, at)]
        new = [at for at in whole if (key, at) not in self._known]
        if asked := bool(new and ask):
            counted = await self._ask(key, Range(new[0], new[-1] + DAY_MS))
            if len(self._known) >= KEPT:
                self._known.clear()
            # What was removed meanwhile is not known any more.
            for at in filter(lambda at: _is_within(counted.verified, at), new):
                self._known[key, at] = _is_within(counted.quiet, at)
        return {at for at in whole if self._known.get((key, at))}, asked


def _is_within(ranges: list[Range], at: int) -> bool:
    day = Range(at, at + DAY_MS)
    return covers(clip(ranges, day), day)
