"""The present book of a feed, from which messages are made: kept from deltas, copied from ccxt, or none. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tickwire.model import numbers
from tickwire.model.feeds import Level
from tickwire.streamer.books.orderbook import OrderBook
from tickwire.streamer.control.feed_venue import BookView


class Top(NamedTuple):
    """The best levels of a book, best first, and the exchange's time (ms) and number of its last update."""

    bids: list[Level]
    asks: list[Level]
    timestamp: int | None
    sequence: int | None


class PresentBook:
    """The book, when it was received (ms), and the number of changes since it was published last."""

    def __init__(self) -> None:
        self.kept: OrderBook | None = None
        """The book kept from deltas."""
        self.levels = 0
        """Levels of a side that its snapshot was requested with."""
        self.copied: Top | None = None
        """The book copied from ccxt."""
        self.received = 0
        self.changes = 0

    def __bool__(self) -> bool:
        return self.kept is not None or self.copied is not None

    def changed(self, received: int) -> None:
        """Count a change."""
        self.received = received
        self.changes += 1

    def clear(self) -> None:
        """There is no book any more."""
        self.kept = self.copied = None

    def top(self, depth: int) -> Top:
        """The best `depth` levels. Requires a book."""
        if self.kept is not None:
            bids, asks = self.kept.top(depth)
            return Top(bids, asks, self.kept.timestamp, self.kept.sequence)
        assert self.copied is not None
        return self.copied._replace(bids=self.copied.bids[:depth], asks=self.copied.asks[:depth])


def copied(view: BookView, depth: int, symbol: str) -> Top:
    """A copy of ccxt's book: ccxt keeps changing its lists, and empties them when it loses track.

    Raises ValueError with the reason if the book is impossible.
    """
    try:
        bids = [numbers.level(level, symbol) for level in view.bids[:depth]]
        asks = [numbers.level(level, symbol) for level in view.asks[:depth]]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(f"a book that cannot be read: {error!r}") from error
    if (reason := _impossible(bids, asks)) is not None:
        raise ValueError(reason)
    return Top(bids, asks, view.timestamp, view.nonce)


def _impossible(bids: Sequence[Level], asks: Sequence[Level]) -> str | None:
    if not bids and not asks:
        return "the book has no level on either side"
    if bids and asks and bids[0][0] >= asks[0][0]:
        return f"the best bid {bids[0][0]} is not below the best ask {asks[0][0]}"
    return None
