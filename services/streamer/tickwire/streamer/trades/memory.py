"""Remembers the trades that a feed released last, for exchanges whose ids do not count up. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

from tickwire.model.feeds import Trade

REMEMBERED = 4096
"""Number of trades that are remembered: four of the largest REST pages."""


class Taped(NamedTuple):
    """A trade of the tape. `connection` numbers the connection that brought it; None if it was none of this process."""

    key: Hashable
    trade: Trade
    connection: int | None


class TradeMemory:
    """The last trades on the tape, oldest first, and their keys."""

    def __init__(self) -> None:
        self.keys: set[Hashable] = set()
        self._taped: deque[Taped] = deque()

    def __len__(self) -> int:
        return len(self._taped)

    def __iter__(self) -> Iterator[Taped]:
        return iter(self._taped)

    @property
    def oldest(self) -> Taped | None:
        """The oldest trade that is remembered."""
        return self._taped[0] if self._taped else None

    def add(self, keys: Sequence[Hashable], trades: Sequence[Trade], connection: int | None) -> None:
        """Remember released trades."""
        self.keys.update(keys)
        self._taped.extend(Taped(key, trade, connection) for key, trade in zip(keys, trades, strict=True))
        while len(self._taped) > REMEMBERED:
            self.keys.discard(self._taped.popleft().key)

    def rekey(self, keys: Sequence[Hashable]) -> None:
        """Replace all keys."""
        self.keys = set(keys)
        self._taped = deque(each._replace(key=key) for key, each in zip(keys, self._taped, strict=True))


class RestContents:
    """Contents of the trades that REST brought, the last `REMEMBERED` of them: a later connection may repeat them.

    A live trade with one of these contents and another id shows that ids are not shared.
    """

    def __init__(self) -> None:
        self._contents: dict[Hashable, None] = {}

    def __bool__(self) -> bool:
        return bool(self._contents)

    def __contains__(self, content: Hashable) -> bool:
        return content in self._contents

    def add(self, contents: Iterable[Hashable]) -> None:
        """Remember contents."""
        self._contents.update(dict.fromkeys(contents))
        while len(self._contents) > REMEMBERED:
            del self._contents[next(iter(self._contents))]

    def clear(self) -> None:
        """Forget all."""
        self._contents.clear()
