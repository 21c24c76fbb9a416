"""Trades as ccxt has them, and what is new in the containers in which it keeps them. No I/O.

ccxt resolves the same growing cache with each message, and sometimes one message under several names. Which class of
cache a venue uses is its own affair (all of them are lists; ccxt 4.5.90, `async_support/base/ws/cache.py`): some only
append, some replace an item of the same id in place and move it to the end, all let go of the oldest. So items are told
apart by identity, and a container is recognised by what is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tickwire.model import numbers
from tickwire.model.feeds import Trade

OF_A_TRADE = frozenset({"price", "amount", "side", "timestamp"})
OF_AN_ORDER = frozenset({"status", "remaining"})
"""Orders have all that trades have, and these."""


def is_trade(item: Any) -> bool:
    """Whether it is a trade as ccxt describes one."""
    return isinstance(item, dict) and item.keys() >= OF_A_TRADE and item.keys().isdisjoint(OF_AN_ORDER)


def are_trades(result: Any) -> bool:
    """Whether it is a container of trades, judged by the newest; an empty one is not."""
    return isinstance(result, list) and len(result) > 0 and is_trade(result[-1])


def trade(found: dict[str, Any], symbol: str) -> Trade:
    """A trade of ccxt's in a market. Raises KeyError, TypeError and ValueError."""
    side = found.get("side")
    return Trade(
        id=None if found.get("id") is None else str(found["id"]),
        timestamp=int(found["timestamp"]),
        side=side if side in ("buy", "sell") else None,
        price=numbers.price(found["price"], symbol),
        amount=numbers.amount(found["amount"]),
    )


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
