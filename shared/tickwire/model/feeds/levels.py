"""The levels of one side of a book, kept in order. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from tickwire.model.feeds.tape import Level


def change(side: dict[float, Level], prices: list[float], levels: Sequence[Level]) -> None:
    """Set the amounts of levels in `side` (by price) and in its `prices` (ascending); amount 0 removes one."""
    for level in levels:
        price, amount = level
        if amount:
            if price not in side:
                insort(prices, price)
            side[price] = level
        elif side.pop(price, None) is not None:
            del prices[bisect_left(prices, price)]
