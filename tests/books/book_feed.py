"""A book feed of the scripted exchange, and what that exchange says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from support.feeds import Running
from tickwire.model.feeds import Book, Feed, Level
from tickwire.venues.dialect import Diff

FEED = Feed("book", "binance", "BTC/USDT")
DELTAS = "md.book_delta.binance.BTC-USDT"
"""The public subject of its changes."""
BIDS: list[Level] = [(100.0 - n, 1.0) for n in range(5)]
ASKS: list[Level] = [(101.0 + n, 1.0) for n in range(5)]


def answer(nonce: int, bids: Sequence[Level] = BIDS, asks: Sequence[Level] = ASKS) -> dict[str, Any]:
    """As ccxt's `fetch_order_book` gives it."""
    return {"nonce": nonce, "timestamp": None, "bids": [list(level) for level in bids], "asks": [[*a] for a in asks]}


def diff(last: int, bids: list[Level] | None = None, asks: list[Level] | None = None, first: int | None = None) -> Diff:
    """A change of the spot market; of one update unless `first` says otherwise."""
    return Diff(first=last if first is None else first, last=last, timestamp=last, bids=bids or [], asks=asks or [])


def is_live(book: Book) -> bool:
    """Whether a message has a book."""
    return book.state == "live"


def at(sequence: int) -> Any:
    """Whether a message is the live book as of this update."""
    return lambda book: book.state == "live" and book.sequence == sequence


async def made_live(running: Running, nonce: int = 10) -> None:
    """Connected, with a snapshot."""
    sink = await running.venue.sink()
    sink.connected()
    running.venue.rest.answers.put_nowait(answer(nonce))
    sink.take([diff(nonce)], 1000)
    await running.public.first(at(nonce))
