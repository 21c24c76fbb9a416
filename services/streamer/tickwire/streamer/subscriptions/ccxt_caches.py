"""Trades as ccxt has them, and what is new in the containers in which it keeps them. No I/O.

ccxt resolves the same growing cache with each message, and sometimes one message under several names. Which class of
cache a venue uses is its own affair (all of them are lists; ccxt 4.5.90, `async_support/base/ws/cache.py`): some only
append, some replace an item of the same id in place and move it to the end, all let go of the oldest. So items are told
apart by identity, and a container is recognised by what is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Newness:
    """Tells what of a feed's containers was not there before.

    `lost` is told when a full cache has nothing left of what was in it: unseen ones may have gone as well.
    """

    def __init__(self, lost: Callable[[str], None]) -> None:
        self._lost = lost
        self._last: Any = None
        """The newest of what was taken last."""
        self._cache: Any = None
        """The cache that was looked at last."""
        self._known: dict[int, Any] = {}
        """What was in it, by identity, where its items may move; the values keep an identity from being used again."""

    def of(self, found: Sequence[Any]) -> list[Any]:
        """The items that were not there before, in order."""
        same = found is self._cache
        moves = bool(getattr(found, "hashmap", None))
        fresh = self._unknown(found) if moves else self._after_last(found)
        if same and len(fresh) == len(found) == getattr(found, "max_size", None):
            self._lost(f"more than {len(found)} trades came at once, which is all that ccxt keeps")
        self._cache = found if hasattr(found, "max_size") else None
        if fresh:
            self._last = fresh[-1]
        return fresh

    def _after_last(self, found: Sequence[Any]) -> list[Any]:
        """Of a container that only appends."""
        fresh: list[Any] = []
        for each in reversed(found):
            if each is self._last:
                break
            fresh.append(each)
        fresh.reverse()
        return fresh

    def _unknown(self, found: Sequence[Any]) -> list[Any]:
        """Of a container whose items move to the end when they are told again."""
        before = self._known
        self._known = {id(each): each for each in found}
        return [each for number, each in self._known.items() if number not in before]
