"""Finds the complete days of a key on which nothing traded, by counts of the rows in parts of its range.

Where a venue's own candles have rows of volume 0 for intervals without trades, no day is without rows: none is found.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from tickwire.model.messages import Coverage
from tickwire.model.ranges import Range, clip
from tickwire.model.subjects import Key
from tickwire.model.timeframes import duration_ms
from tickwire.model.times import DAY_MS

KEPT = 200_000
"""Days of keys whose answer is kept."""
Ask = Callable[[Key, Range], Awaitable[Coverage]]
"""The coverage of a part of a key."""


class QuietDays:
    """Remembers what was found: a day that is complete stays what it was."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[tuple[Key, int], bool] = {}
        self._waiting: dict[Key, list[Range]] = {}
        """Parts that were not asked for yet."""

    async def of(self, found: Coverage, days: Range, most: int) -> tuple[set[int], int]:
        """The quiet days within `days` (ms, midnights) by their beginnings, and how many requests they took.

        After `most` requests the rest is left for the next time.
        """
        key, length = found.key, duration_ms(found.timeframe)
        if length > DAY_MS or found.holes < DAY_MS // length:
            return set(), 0
        whole = [at for at in range(*days, DAY_MS) if _is_whole(found, at)]
        waiting = self._waiting.setdefault(key, [])
        later = {at for part in waiting for at in range(*part, DAY_MS)}
        waiting += _runs([at for at in whole if (key, at) not in self._known and at not in later])
        asked = 0
        while waiting and asked < most:
            part = waiting.pop()
            asked += 1
            counted = await self._ask(key, part)
            if counted.holes < DAY_MS // length or not counted.rows:
                self._keep(counted, part, quiet=not counted.rows)
            elif part.until - part.since <= DAY_MS:
                self._keep(counted, part, quiet=False)
            else:
                middle = part.since + (part.until - part.since) // DAY_MS // 2 * DAY_MS
                waiting += [Range(part.since, middle), Range(middle, part.until)]
        if not waiting:
            del self._waiting[key]
        return {at for at in whole if self._known.get((key, at))}, asked

    def _keep(self, counted: Coverage, part: Range, *, quiet: bool) -> None:
        if len(self._known) >= KEPT:
            self._known.clear()
        # What was removed meanwhile is not known any more.
        whole = (at for at in range(*part, DAY_MS) if _is_whole(counted, at))
        self._known |= {(counted.key, at): quiet for at in whole}


def _is_whole(found: Coverage, at: int) -> bool:
    day = Range(at, at + DAY_MS)
    return clip(found.verified, day) == [day]


def _runs(days: Sequence[int]) -> list[Range]:
    """Days that follow each other, as ranges."""
    found: list[Range] = []
    for at in days:
        if found and found[-1].until == at:
            found[-1] = Range(found[-1].since, at + DAY_MS)
        else:
            found.append(Range(at, at + DAY_MS))
    return found
