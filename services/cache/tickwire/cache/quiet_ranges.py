"""Finds the long stretches of a key in which nothing traded: candles are absent there, or have volume 0. No I/O.

Which of the two it is, is the exchange's convention (docs/decisions/0023).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tickwire.cache.candle_rows import Columns
from tickwire.model.ranges import Range, common
from tickwire.model.times import DAY_MS


def quiet_ranges(tables: Iterable[Columns], length: int, part: Range, verified: Sequence[Range]) -> list[Range]:
    """The stretches of a day or longer within `part` and `verified`, ascending; none if candles are longer than a day.

    `tables` are consecutive candles of `length` ms, from the one on that may reach into the part.
    """
    if length > DAY_MS:
        return []
    found: list[Range] = []
    reached = part.since
    for table in tables:
        traded = table.dates[table.volumes > 0]
        if not traded.size:
            continue
        begins = np.concatenate(([reached], traded[:-1] + length))
        for at in np.flatnonzero(traded - begins >= DAY_MS):
            found.append(Range(int(begins[at]), int(traded[at])))
        reached = int(traded[-1]) + length
    found.append(Range(min(reached, part.until), part.until))
    return [each for each in common(found, verified) if each.until - each.since >= DAY_MS]
