"""The interfaces between a feed and its venue. No I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from msgspec import Struct

from tickwire.exchange.admission import Admission
from tickwire.exchange.ccxt_types import CcxtOrderBook, Levels
from tickwire.exchange.gate import Gate
from tickwire.exchange.past_trades import PastTrades
from tickwire.model.feeds import Feed
from tickwire.streamer.control.minute_marks import MinuteMarks


class BookView(Struct, frozen=True, kw_only=True):
    """A whole book as ccxt keeps it. `bids` and `asks` change under the reader: take a slice."""

    timestamp: int | None
    nonce: int | None
    bids: Levels
    asks: Levels


class FeedSink(Protocol):
    """Receives a feed from its venue. Called from the socket's reader: no method may block or raise."""

    def take(self, items: Sequence[Any], received: int) -> None:
        """The items of one frame.

        trade: `feeds.Trade`, in the exchange's order; book: `Diff` or `BookView`; ticker: dicts with some of
        Ticker's fields; candle: `feeds.Candle` as the exchange sends it.
        """

    def connected(self) -> None:
        """From now on every item arrives; items from before may be missing."""

    def disconnected(self, reason: str) -> None:
        """No item arrives until `connected` is called again."""

    def rejected(self, reason: str) -> None:
        """A message that may concern the feed could not be used."""

    def left_out(self, reason: str) -> None:
        """An item of the feed, or its time, could not be used: a trade or a candle is missing."""


class FeedRest(Protocol):
    """The REST API of an exchange as feeds use it. Methods raise ccxt's errors."""

    gate: Gate

    @property
    def has(self) -> Mapping[str, Any]:
        """ccxt's manual, "Exchange capabilities"."""

    async def fetch_order_book(self, symbol: str, limit: int | None = None) -> CcxtOrderBook:
        """A snapshot of a book in ccxt's unified form."""


class FeedVenue(Protocol):
    """One opened exchange, shared by the feeds of this process."""

    exchange: str
    sequential_ids: bool
    """Whether trade ids of a symbol are integers that count up by one, so that a gap is visible."""
    has_diffs: bool
    """Whether books arrive as `Diff`, not as `BookView`."""
    snapshots: asyncio.Lock
    """Held while a snapshot of a book is fetched: it costs much of the rate limit, and must not delay repairs."""
    past: PastTrades
    """Requests its past trades by REST."""
    admission: Admission
    """Rejects items with an implausible time."""
    minutes: MinuteMarks
    """Has its trade feeds declare each minute complete."""

    @property
    def rest(self) -> FeedRest:
        """The opened exchange."""

    async def now(self) -> int | None:
        """The exchange's time, ms, from a comparison within the last minute; None while it is unknown."""

    def clock(self) -> int | None:
        """The exchange's time, ms, as far as it is known without asking; None while it is unknown."""

    async def answering(self, feeds: Collection[Feed], since: int) -> Collection[Feed]:
        """The feeds of which all sockets answer a ping that was sent at or after `since` (monotonic, ms).

        Their sinks have everything that the exchange sent before. A broken socket may stay silent for long.
        """

    def watching(self, feed: Feed, sink: FeedSink) -> AbstractAsyncContextManager[None]:
        """Push the feed into `sink` within the block; unsubscribe at the exchange at the end of it."""

    async def resubscribe(self, feed: Feed, reason: str) -> None:
        """Subscribe a watched feed again, after a call of its sink's `disconnected`."""
