"""Feeds: their names on the bus, and every message about them.

A feed is (kind, exchange, symbol) and, for candles, a timeframe. Whatever a feed says goes to its tape subject, a
subject of a stream that refuses whoever is not the feed's one writer; what the stream accepted, the broker republishes
on the public `md.` subject of the same name. Times are integer milliseconds UTC: `timestamp` by the exchange's clock,
`received` by ours. Unknown fields are ignored, so that fields can be added.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from msgspec import UNSET, Struct, UnsetType, field

from tickwire.errors import BadRequest
from tickwire.model.messages import VolumeUnit
from tickwire.model.numbers import Signed, Total
from tickwire.model.subjects import Exchange, Name, Symbol, Timeframe, exchange_name, symbol_of, timeframe_name, token
from tickwire.model.times import Bound, Count, Sequence, Time

Kind = Literal["trade", "book", "ticker", "candle"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Level = tuple[Signed, Total]
"""Price and amount of a level of an order book."""

BOOK_VALID_S = 30.0
"""A live book of which nothing was heard for so long is not live any more."""


class Feed(NamedTuple):
    """What can be followed. `timeframe` belongs to candles only."""

    kind: Kind
    exchange: str
    symbol: str
    timeframe: str | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, self))

    @property
    def fields(self) -> dict[str, str]:
        """What a log says of it."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    @property
    def path(self) -> str:
        """`trade.binance.BTC-USDT`, `candle.binance.BTC-USDT.1m`. Raises BadRequest."""
        path = f"{self.kind}.{exchange_name(self.exchange)}.{token(self.symbol)}"
        return path if self.timeframe is None else f"{path}.{timeframe_name(self.timeframe)}"

    @property
    def tape(self) -> str:
        """The subject that its one writer publishes to."""
        return f"tape.{self.path}"

    @property
    def public(self) -> str:
        """The subject that consumers subscribe to."""
        return f"md.{self.path}"

    @property
    def market(self) -> Feed:
        """The same without timeframe: all candles of a symbol have one owner and one status."""
        return self._replace(timeframe=None)

    @property
    def status(self) -> str:
        """The tape subject of its status; public as `md.status.<kind>.<exchange>.<token>`."""
        return f"tape.status.{self.market.path}"


def feed(kind: str, exchange: str, symbol: str, timeframe: str | None = None) -> Feed:
    """A feed, checked for form. Raises BadRequest with what would be right."""
    if kind not in KINDS:
        raise BadRequest(f"{kind!r} is not a kind of feed", f"it is one of {', '.join(KINDS)}")
    if kind == "candle" and timeframe is None:
        raise BadRequest("a candle feed needs a timeframe", "name it, such as 1m")
    if kind != "candle" and timeframe is not None:
        raise BadRequest(f"a {kind} feed has no timeframe", "leave it out")
    named = Feed(kind, exchange, symbol, timeframe)
    # The names are checked here rather than at first use.
    _ = named.path
    return named


def feed_of(path: str) -> Feed:
    """The inverse of `Feed.path`. Raises BadRequest."""
    parts = path.split(".")
    if len(parts) not in (3, 4):
        raise BadRequest(f"{path[:80]!r} is not a feed", "it is kind.exchange.token and, for candles, .timeframe")
    return feed(parts[0], parts[1], symbol_of(parts[2]), parts[3] if len(parts) == 4 else None)


# ---- what feeds say


class Trade(Struct, frozen=True, kw_only=True):
    """One trade. `id` is the exchange's (binance: of the aggregate trade); `side` is the taker's."""

    id: str | None
    timestamp: Time
    side: Literal["buy", "sell"] | None
    price: Signed
    amount: Total


class Gap(Struct, frozen=True, kw_only=True):
    """What could not be had: trades after `since`/`after_id` and before `until`/`before_id`, all exclusive.

    A bound is absent where it is not known.
    """

    since: Bound | None
    until: Bound | None
    after_id: str | None = None
    before_id: str | None = None
    reason: str = ""


class Trades(Struct, frozen=True, kw_only=True):
    """`md.trade.<exchange>.<token>`: trades in the exchange's order, each once.

    `source` is `rest` for what was fetched after an interruption. `gap` names what is missing before the first of
    them. Every trade before `until` (exclusive) is on the tape up to and including this message, or within a gap; a
    message without trades says only that, a gap, or that a new owner begins.

    On contract markets, one unit of `amount` is `multiplier` of the base currency, or of the quote currency where
    `inverse` is true; `multiplier` is null where that is not known. On spot markets both are absent: `amount` is in
    base currency.
    """

    exchange: Exchange
    symbol: Symbol
    trades: list[Trade]
    received: Time
    source: Literal["live", "rest"] = "live"
    gap: Gap | None = None
    until: Time | None = None
    multiplier: float | UnsetType | None = UNSET
    inverse: bool | UnsetType = UNSET

    @property
    def feed(self) -> Feed:
        """The feed that says this."""
        return Feed("trade", self.exchange, self.symbol)


class Book(Struct, frozen=True, kw_only=True):
    """`md.book.<exchange>.<token>`: the best `depth` levels of each side, best first.

    While `state` is `resyncing` there is no book, and both sides are empty. `sequence` is the exchange's number of the
    last change included, `received` when that came. `conflated` counts the changes since the message before that had
    none of their own.

    The last message is repeated at least every 10 s though nothing changes. A live book of which nothing was heard for
    30 s is not live: its streamer is gone. Stream BOOKS keeps no message for longer.
    """

    exchange: Exchange
    symbol: Symbol
    state: Literal["live", "resyncing"]
    timestamp: Time | None
    received: Time
    sequence: Sequence | None = None
    bids: list[Level] = field(default_factory=list)
    asks: list[Level] = field(default_factory=list)
    depth: Count = 0
    conflated: Count = 0


class BookDelta(Struct, frozen=True, kw_only=True):
    """One change of a book: levels with their new amounts, 0 for those that are gone.

    It takes the book from the exchange's number `first - 1` to `last`. With `snapshot` it is the whole book, and what
    came before it is void.
    """

    first: Sequence
    last: Sequence
    timestamp: Time | None
    bids: list[Level]
    asks: list[Level]
    snapshot: bool = False


class BookDeltas(Struct, frozen=True, kw_only=True):
    """`md.book_delta.<exchange>.<token>`: every change of a book, in order."""

    exchange: Exchange
    symbol: Symbol
    received: Time
    deltas: list[BookDelta]


class Ticker(Struct, frozen=True, kw_only=True):
    """`md.ticker.<exchange>.<token>`: best prices and the last 24 hours; absent is what the exchange does not say.

    `conflated` counts the updates since the message before that had none of their own.
    """

    exchange: Exchange
    symbol: Symbol
    timestamp: Time | None
    received: Time
    last: Signed | None = None
    bid: Signed | None = None
    bid_amount: Total | None = None
    ask: Signed | None = None
    ask_amount: Total | None = None
    open: Signed | None = None
    high: Signed | None = None
    low: Signed | None = None
    volume: Total | None = None
    quote_volume: Total | None = None
    conflated: Count = 0


class Candle(Struct, frozen=True, kw_only=True):
    """`md.candle.<exchange>.<token>.<timeframe>`: the candle that opens at `timestamp`.

    Published at a bounded rate while it is open, and once `closed`. `complete` is false where its interval was not
    wholly observed. `sequence` is that of the last message of stream TRADES that it was built from, 0 where the
    exchange made it.

    `repeated` is what was said before already: a new owner begins with the last message of the one before. Whoever
    counts closed candles leaves repeated ones out. `owed` is the open time (ms) of the oldest closed interval that
    neither stream OHLCV nor a fetcher had accepted by then, `outdated` of the oldest one that is to be fetched anew
    because trades came late: what a new owner has fetched. `volume_unit` is what `volume` counts; a candle that does
    not say it is of an earlier version.
    """

    exchange: Exchange
    symbol: Symbol
    timeframe: Timeframe
    timestamp: Time
    open: Signed
    high: Signed
    low: Signed
    close: Signed
    volume: Total
    trades: Count
    closed: bool
    complete: bool
    sequence: Sequence = 0
    repeated: bool = False
    owed: Time | None = None
    outdated: Time | None = None
    volume_unit: VolumeUnit | None = None


Event = Literal[
    "starting",
    "connected",
    "disconnected",
    "gap",
    "repaired",
    "rejected",
    "limited",
    "silent",
    "late",
    "failed",
    "stopped",
]


class Status(Struct, frozen=True, kw_only=True):
    """`md.status.<kind>.<exchange>.<token>`: what happened to a feed; the last one is kept.

    `rejected` is a message of the exchange that could not be used, `limited` what cannot be had of this feed for good,
    said once, `silent` a feed or socket given up for lack of
    signs of life, `repaired` says how many `trades` were fetched, `late` is a trade of a candle already closed,
    `failed` a feed that ended with an error, named in `message`, and is tried again with a growing delay.
    """

    kind: Kind
    exchange: Exchange
    symbol: Symbol
    event: Event
    at: Time
    message: str = ""
    owner: Name = ""
    trades: Count = 0
    gap: Gap | None = None


# ---- control


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
