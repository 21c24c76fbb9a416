"""Requests that a streamer answers, and its replies: interests, reports of feeds, markets."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from tickwire.model.feeds.names import Feed, Kind, feed
from tickwire.model.messages import VolumeUnit
from tickwire.model.subjects import Exchange, Name, Symbol, Timeframe
from tickwire.model.times import Count, Time


class StartRequest(Struct, frozen=True, kw_only=True):
    """`streamer.start`, and the value of an interest in bucket INTEREST.

    `subscriber` is any name of one's own. The interest ends `ttl_s` (whole seconds) after it was last registered, or
    with `streamer.stop`; without `ttl_s` only so. `depth` (levels a side), `cadence_ms` and `deltas` are for books:
    of several wishes the largest depth and the shortest cadence are met.
    """

    kind: Kind
    exchange: Exchange
    symbol: Symbol
    subscriber: Name
    timeframe: Timeframe | None = None
    ttl_s: Count | None = None
    depth: Count | None = None
    cadence_ms: Count | None = None
    deltas: bool = False

    @property
    def feed(self) -> Feed:
        """The feed that it is about. Raises BadRequest."""
        return feed(self.kind, self.exchange, self.symbol, self.timeframe)


class StopRequest(Struct, frozen=True, kw_only=True):
    """`streamer.stop`: withdraw the interest of a subscriber."""

    kind: Kind
    exchange: Exchange
    symbol: Symbol
    subscriber: Name
    timeframe: Timeframe | None = None

    @property
    def feed(self) -> Feed:
        """The feed that it is about. Raises BadRequest."""
        return feed(self.kind, self.exchange, self.symbol, self.timeframe)


State = Literal["waiting", "starting", "live", "repairing", "resyncing", "disconnected", "failed", "stopped"]


class FeedReport(Struct, frozen=True, kw_only=True):
    """A feed as its owner sees it, and the reply to `streamer.start` and `streamer.stop`.

    `waiting` has no owner yet. `items` counts trades, book changes, ticker updates or candles; `messages` those
    published; the rest counts since the owner began. `built` are candles made here from the feed's trades: their state
    is that of the trades; other candles are the exchange's own. `reason` says why a feed is `failed`: it ended with an
    error and is tried again.
    """

    kind: Kind
    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe | None = None
    state: State = "waiting"
    reason: str = ""
    owner: Name | None = None
    subscribers: Count = 0
    items: Count = 0
    messages: Count = 0
    last_message: Time | None = None
    reconnects: Count = 0
    gaps: Count = 0
    repaired: Count = 0
    duplicates: Count = 0
    rejected: Count = 0
    conflated: Count = 0
    built: bool = False

    @property
    def feed(self) -> Feed:
        """The feed."""
        return Feed(self.kind, self.exchange, self.symbol, self.timeframe)


class MarketRequest(Struct, frozen=True, kw_only=True):
    """`streamer.market`: what a market is, and in which units its numbers are."""

    exchange: Exchange
    symbol: Symbol


class MarketReport(Struct, frozen=True, kw_only=True):
    """The reply to `streamer.market`, by ccxt's description of the market and what is known of the venue.

    `kind` is null for options and quanto contracts, `settle` and `contract_size` for spot markets. A contract is
    `contract_size` of the base currency, or of the quote currency on inverse markets. `amount_unit` is what the amount
    of a trade counts, null where it is not known; one unit of it is `multiplier` of the base currency, or of the quote
    currency where `inverse`. `volume_unit` is what the volume of candles that are fetched counts. `price_step` and
    `amount_step` are the smallest steps, `min_amount` the smallest order.
    """

    exchange: Exchange
    symbol: Symbol
    kind: Literal["spot", "linear", "inverse"] | None
    base: str
    quote: str
    settle: str | None = None
    contract_size: float | None = None
    amount_unit: Literal["base", "contracts", "quote"] | None = None
    multiplier: float | None = None
    inverse: bool = False
    volume_unit: VolumeUnit = "unknown"
    price_step: float | None = None
    amount_step: float | None = None
    min_amount: float | None = None
    expiry: Time | None = None
    active: bool | None = None


class FeedsRequest(Struct, frozen=True, kw_only=True):
    """`streamer.list`: every feed that somebody is interested in, of one exchange if it is named."""

    exchange: Exchange | None = None


class FeedList(Struct, frozen=True, kw_only=True):
    """A reply to `streamer.list`: one chunk. `silent` names instances that did not answer in time."""

    feeds: list[FeedReport]
    silent: list[str] = field(default_factory=list)
    chunk: Count = 0
    more: bool = False
