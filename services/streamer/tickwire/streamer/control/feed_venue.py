"""What a feed uses of its venue, and what the venue calls on the feed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from msgspec import Struct

from tickwire.exchange.admission import Admission
from tickwire.exchange.past_trades import PastTrades
from tickwire.model.feeds import Feed


class BookView(Struct, frozen=True, kw_only=True):
    """A whole book as ccxt keeps it. `bids` and `asks` change under the reader: take a slice."""

    timestamp: int | None
    nonce: int | None
    bids: Any
    asks: Any


class FeedSink(Protocol):
    """Where a venue puts what a feed says. Called from the socket's reader: none of it may block or raise."""

    def take(self, items: Sequence[Any], received: int) -> None:
        """What one frame said.

        trade: `feeds.Trade`, in the exchange's order; book: `Diff` or `BookView`; ticker: dicts with some of
        Ticker's fields; candle: `feeds.Candle` as the exchange makes it.
        """

    def connected(self) -> None:
        """From now on, what happens arrives; what happened before may be missing."""

    def disconnected(self, reason: str) -> None:
        """Nothing arrives until `connected` is called again."""

    def rejected(self, reason: str) -> None:
        """A message that may have concerned the feed could not be used."""

    def left_out(self, reason: str) -> None:
        """An item of the feed, or its time, could not be used: of trades and candles, one is missing."""


class FeedVenue(Protocol):
    """One opened exchange, shared by the feeds of this process."""

    exchange: str
    rest: Any
    """The opened ccxt.pro exchange: for its REST."""
    sequential_ids: bool
    """Whether trade ids of a symbol are integers that count up by one, so that a hole shows by itself."""
    has_diffs: bool
    """Whether books arrive as changes, rather than whole as ccxt keeps them."""
    snapshots: asyncio.Lock
    """Held by whoever fetches a snapshot of a book: they weigh much, and a repair is not to wait behind many."""

    async def now(self) -> int | None:
        """The exchange's clock, ms, compared anew where that is a minute ago; None while its time is unknown."""

    past: PastTrades
    """Its past trades by REST."""
    admission: Admission
    """Which trades and candles have a time that can be right there."""

    def clock(self) -> int | None:
        """The exchange's clock, ms, as it is known without asking; None while its time is unknown."""

    async def answers(self, feed: Feed, since: int) -> bool:
        """Whether the exchange answers, on the feed's sockets, what it was asked at or after `since`.

        That is of the monotonic clock, ms (`ccxt_patches.monotonic_ms`).

        Then the sink has all that it said before. A socket may be silent for long before it is known to be broken.
        """

    def watching(self, feed: Feed, sink: FeedSink) -> AbstractAsyncContextManager[None]:
        """Have the feed pushed into `sink` within the block; unsubscribe at the exchange on leaving it."""

    async def resubscribe(self, feed: Feed, reason: str) -> None:
        """Have a feed that is watched subscribed anew; its sink is told that it was disconnected."""
