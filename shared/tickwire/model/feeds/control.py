"""Requests that a streamer answers, and its replies: interests, reports of feeds, markets."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from tickwire.model.feeds.names import Feed, Kind, feed
from tickwire.model.messages import VolumeUnit
from tickwire.model.subjects import Exchange, Name, Symbol, Timeframe
from tickwire.model.times import LATEST_MS, Count, Time


class StartRequest(Struct, frozen=True, kw_only=True):
    """`streamer.start`, and the value of an interest in bucket INTEREST.

    `subscriber` is any name that the client chooses. The interest expires `ttl_s` (whole seconds) after it was last
    registered, or ends with `streamer.stop`; without `ttl_s` only with that. `depth` (levels a side), `cadence_ms` and
    `deltas` are for books: of several interests the largest depth and the shortest cadence apply.
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
        """The feed of the request. Raises BadRequest."""
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
        """The feed of the request. Raises BadRequest."""
        return feed(self.kind, self.exchange, self.symbol, self.timeframe)


Lag = Annotated[int, Meta(ge=-LATEST_MS, le=LATEST_MS)]
State = Literal["waiting", "starting", "live", "repairing", "resyncing", "disconnected", "failed", "stopped"]


class FeedReport(Struct, frozen=True, kw_only=True):
    """The state of a feed by its owner, and the reply to `streamer.start` and `streamer.stop`.

    `waiting`: the feed has no owner yet. `items` counts trades, book changes, ticker updates or candles; `messages` the
    published messages; all counts are since the owner started. `subscriber_names` are the first 50 of those who want
    the feed by their names; candles count as subscribers of their symbol's trades, without a name. `built`: candles are
    built from the feed's trades, whose state they have; other candles are the exchange's own. `reason` is the error of
    a `failed` feed, which is retried. `lag_ms` is how long after the exchange's timestamp the newest live message was
    received, by two clocks: it may be negative; absent where the exchange gives no time.
    """

    kind: Kind
    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe | None = None
    state: State = "waiting"
    reason: str = ""
    owner: Name | None = None
    subscribers: Count = 0
    subscriber_names: list[str] = field(default_factory=list)
    items: Count = 0
    messages: Count = 0
    last_message: Time | None = None
    lag_ms: Lag | None = None
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
    """`streamer.market`: the kind of a market, and the units of its numbers."""

    exchange: Exchange
    symbol: Symbol


class MarketReport(Struct, frozen=True, kw_only=True):
    """The reply to `streamer.market`, from ccxt's description of the market and the venue's profile.

    `kind` is null for options and quanto contracts, `settle` and `contract_size` for spot markets. A contract is
    `contract_size` of the base currency, or of the quote currency on inverse markets. `amount_unit` is the unit of the
    amount of a trade, null if it is not known; one unit is `multiplier` of the base currency, or of the quote currency
    if `inverse`. `volume_unit` is the unit of the volume of fetched candles. `price_step` and `amount_step` are the
    smallest steps, `min_amount` the smallest order. `market_id` is the exchange's own name of the market. `listed` (ms)
    is when it was listed, null where the exchange does not say.
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
    market_id: str | None = None
    listed: Time | None = None


class FeedsRequest(Struct, frozen=True, kw_only=True):
    """`streamer.list`: every feed with an interest, or those of one exchange, or of one symbol.

    A streamer of an earlier version does not know `symbol`.
    """

    exchange: Exchange | None = None
    symbol: Symbol | None = None


class FeedList(Struct, frozen=True, kw_only=True):
    """A reply to `streamer.list`: one chunk. `silent` names the instances that did not report in time."""

    feeds: list[FeedReport]
    silent: list[str] = field(default_factory=list)
    chunk: Count = 0
    more: bool = False
