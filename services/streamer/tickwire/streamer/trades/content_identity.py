"""What a trade is known by, where ids do not count. No I/O.

By its id, where the same trade has the same id live and by REST. Elsewhere by what it says: timestamp, side, price,
amount, and which of its equals it is (the first, the second, …), among those of one connection or of one page. Some
venues have no ids on one side, some have others (htx: `trade-id` by REST, `id` live; mexc: none live), some count the
timestamps of REST in seconds (bitstamp): content is compared at the coarser resolution.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from tickwire.model.feeds import Trade

NUMBERED = 4096
"""Contents and ids of one connection that are kept: equal trades come within a millisecond or so."""

_id = attrgetter("id")


class Identity:
    """The keys of trades. `shared`: whether ids are the same live and by REST; None is unknown, and taken so at first.

    `resolution_ms` is that of the coarser timestamps.
    """

    def __init__(self, shared: bool | None = None, resolution_ms: int = 1) -> None:
        self.shared = shared
        self.by_id = shared is not False
        self.resolution_ms = resolution_ms
        self._counts: dict[Hashable, int] = {}
        self._numbered: dict[str, Hashable] = {}
        """By id, what was numbered on this connection: an exchange that repeats a trade adds no other one."""

    def time(self, timestamp: int) -> int:
        """A time (ms) as the coarser side would tell it."""
        return timestamp // self.resolution_ms * self.resolution_ms

    def lacks_ids(self, trades: Sequence[Trade]) -> bool:
        """Whether they cannot be told apart by ids though that was tried."""
        return self.by_id and None in map(_id, trades)

    def of_live(self, trades: Sequence[Trade]) -> list[Hashable]:
        """The keys of trades that the feed brought on the present connection."""
        keys = self._keys(trades, self._counts, self._numbered)
        tables: tuple[dict[Any, Any], ...] = (self._counts, self._numbered)
        for counted in tables:
            while len(counted) > NUMBERED:
                del counted[next(iter(counted))]
        return keys

    def of_page(self, trades: Sequence[Trade]) -> list[Hashable]:
        """The keys of trades that are in order: a page, or a piece of the tape."""
        return self._keys(trades, {}, {})

    def reconnected(self) -> None:
        """Equal trades are counted anew."""
        self._counts.clear()
        self._numbered.clear()

    def differs(self, page: Sequence[Trade], known: Iterable[Trade]) -> bool:
        """Whether a page has trades that are known, under other ids. Only where that is unknown."""
        if self.shared is not None or not self.by_id:
            return False
        ids: set[str | None] = set()
        contents: set[Hashable] = set()
        for trade in known:
            ids.add(trade.id)
            contents.add(self.content(trade))
        foreign: dict[Hashable, bool] = {}
        for trade in page:
            content = self.content(trade)
            if content in contents:
                foreign[content] = foreign.get(content, True) and trade.id not in ids
        return any(foreign.values())

    def by_content(
        self, taped: Sequence[Trade], told: Sequence[Trade], held: Sequence[Trade]
    ) -> tuple[list[Hashable], list[Hashable]]:
        """From now on trades are known by what they say: the new keys of those on the tape, and of those held back.

        `told` are those of the tape that the present connection brought: equal ones count from there on.
        """
        self.by_id = False
        self.reconnected()
        self.of_live(told)
        return self.of_page(taped), self.of_live(held)

    def content(self, trade: Trade) -> Hashable:
        """What a trade says, but for its id."""
        return self.time(trade.timestamp), trade.side, trade.price, trade.amount

    def _keys(
        self, trades: Sequence[Trade], counts: dict[Hashable, int], numbered: dict[str, Hashable]
    ) -> list[Hashable]:
        if self.by_id:
            return list(map(_id, trades))
        keys: list[Hashable] = []
        for trade in trades:
            key = numbered.get(trade.id) if trade.id is not None else None
            if key is None:
                content = self.content(trade)
                number = counts.get(content, 0)
                counts[content] = number + 1
                key = (content, number)
                if trade.id is not None:
                    numbered[trade.id] = key
            keys.append(key)
        return keys
