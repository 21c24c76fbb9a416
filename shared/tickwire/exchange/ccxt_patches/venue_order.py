"""Trades of one timestamp stay in the order in which the venue listed them, live and by REST.

ccxt 4.5.90 sorts the trades of an answer by timestamp and then by id as a text (`parse_trades_helper`). Where ids are
UUIDs or hashes, that is an arbitrary order of the trades of one millisecond: the last one is not the candle's close.
Where ccxt sorts by timestamp alone (htx, bitfinex), a list that has the newest first gets its ties reversed. So a list
is turned first if it has the newest first, which its timestamps show, and then sorted by timestamp alone.

Upstream: https://github.com/ccxt/ccxt/issues/10838 introduced the order by id, and says that UUIDs cannot be sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tickwire.venues.registry import profile_of

if TYPE_CHECKING:
    from ccxt.async_support.base.exchange import Exchange
else:
    Exchange = object

_page_of_trades: ContextVar[bool] = ContextVar("page of trades", default=False)
"""Whether the current task parses a REST page of trades."""


def oldest_first(listed: Sequence[Any], key: Any, *, newest_first: bool | None = None) -> Sequence[Any]:
    """The list, turned if the values of `key` fall from its first item to its last.

    If they are equal, `newest_first` decides; where that is unknown, ids that are whole numbers and fall throughout.
    """
    if len(listed) < 2:
        return listed
    try:
        first, last = listed[0][key], listed[-1][key]
        turned = first > last
    except (TypeError, KeyError, IndexError):
        # Items that ccxt sorts by a default value.
        return listed
    if first == last:
        turned = _ids_fall(listed) if newest_first is None else newest_first
    return listed[::-1] if turned else listed


def _ids_fall(listed: Sequence[Any]) -> bool:
    """Whether all ids are whole numbers, each below the one before."""
    ids = [str(each.get("id")) if isinstance(each, dict) else "" for each in listed]
    if not all(id_.isdecimal() for id_ in ids):
        return False
    numbers = [int(id_) for id_ in ids]
    return all(later < before for before, later in pairwise(numbers))


class VenueOrder(Exchange):  # type: ignore[misc]
    """Goes before an exchange class of ccxt among the bases of a class."""

    async def fetch_trades(self, symbol: str, since: Any = None, limit: Any = None, params: Any = None) -> Any:
        token = _page_of_trades.set(True)
        try:
            return await super().fetch_trades(symbol, since, limit, params or {})
        finally:
            _page_of_trades.reset(token)

    def sort_by(self, array: Any, key: Any, descending: bool = False, default: Any = 0) -> Any:
        if not descending and isinstance(array, list):
            newest_first = profile_of(self.id).trades.newest_first if _page_of_trades.get() else None
            array = oldest_first(array, key, newest_first=newest_first)
        return super().sort_by(array, key, descending, default)

    def sort_by_2(self, array: Any, key1: Any, key2: Any, descending: bool = False) -> Any:
        if (key1, key2) == ("timestamp", "id") and not descending:
            return self.sort_by(array, key1)
        return super().sort_by_2(array, key1, key2, descending)
