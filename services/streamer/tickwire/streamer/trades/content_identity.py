"""Keys that tell trades apart, for exchanges whose ids do not count up. No I/O.

The key of a trade is its id, where the same trade has the same id live and by REST. Otherwise the key is its content:
timestamp, side, price, amount, and its number among equal trades of one connection or one page. Some venues have ids on
one side only, some have different ones (htx: `trade-id` by REST, `id` live; mexc: none live), and some have REST
timestamps in whole seconds (bitstamp): contents are compared at the coarser resolution. Where one id may be that of
several trades (`TradeFacts.ids` is `of orders`), ids count for nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from tickwire.model.feeds import Trade

NUMBERED = 4096
"""Contents and ids of one connection that are remembered: equal trades arrive within a millisecond or so."""

_id = attrgetter("id")


class Identity:
    """Computes the keys of trades.

    `shared`: whether ids are the same live and by REST; None means unknown, and is taken for true until disproved.
    `resolution_ms` is that of the coarser timestamps. `unique`: whether no two trades have the same id.
    """

    def __init__(self, shared: bool | None = None, resolution_ms: int = 1, *, unique: bool = True) -> None:
        self.shared = shared
        self.by_id = unique and shared is not False
        """Whether keys are ids."""
        self.resolution_ms = resolution_ms
        self._unique = unique
        self._counts: dict[Hashable, int] = {}
        """By content, how many equal trades came on this connection."""
        self._numbered: dict[str, Hashable] = {}
        """By id, the keys given on this connection: a repeated trade keeps its key."""

    def time(self, timestamp: int) -> int:
        """A time (ms), rounded down to the coarser resolution."""
        return timestamp // self.resolution_ms * self.resolution_ms

    def lacks_ids(self, trades: Sequence[Trade]) -> bool:
        """Whether keys are ids, and some of these trades have none."""
        return self.by_id and None in map(_id, trades)

    def of_live(self, trades: Sequence[Trade]) -> list[Hashable]:
        """Keys of live trades of the present connection."""
        keys = self._keys(trades, self._counts, self._numbered)
        tables: tuple[dict[Any, Any], ...] = (self._counts, self._numbered)
        for table in tables:
            while len(table) > NUMBERED:
                del table[next(iter(table))]
        return keys

    def of_page(self, trades: Sequence[Trade]) -> list[Hashable]:
        """Keys of trades in order: a REST page, or a part of the tape."""
        return self._keys(trades, {}, {})

    def reconnected(self) -> None:
        """Count equal trades from 0 again."""
        self._counts.clear()
        self._numbered.clear()

    def differs(self, page: Sequence[Trade], known: Iterable[Trade]) -> bool:
        """Whether a page has known trades under other ids. False once it is settled whether ids are shared."""
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

    def switch_to_content(
        self, taped: Sequence[Trade], connection: Sequence[Trade], held: Sequence[Trade]
    ) -> tuple[list[Hashable], list[Hashable]]:
        """Use contents as keys from now on; returns the new keys of the trades on the tape and of those held back.

        `connection` are the trades of `taped` that the present connection brought: equal trades are counted from them.
        """
        self.by_id = False
        self.reconnected()
        self.of_live(connection)
        return self.of_page(taped), self.of_live(held)

    def content(self, trade: Trade) -> Hashable:
        """The content of a trade, without its id."""
        return self.time(trade.timestamp), trade.side, trade.price, trade.amount

    def _keys(
        self, trades: Sequence[Trade], counts: dict[Hashable, int], numbered: dict[str, Hashable]
    ) -> list[Hashable]:
        if self.by_id:
            return list(map(_id, trades))
        keys: list[Hashable] = []
        for trade in trades:
            id_ = trade.id if self._unique else None
            key = numbered.get(id_) if id_ is not None else None
            if key is None:
                content = self.content(trade)
                number = counts.get(content, 0)
                counts[content] = number + 1
                key = (content, number)
                if id_ is not None:
                    numbered[id_] = key
            keys.append(key)
        return keys
