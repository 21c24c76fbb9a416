"""What feeds publish: trades, books and their deltas, tickers, candles, status."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from tickwire.model.feeds.names import Feed, Kind
from tickwire.model.messages import VolumeUnit
from tickwire.model.numbers import Signed, Total
from tickwire.model.subjects import Exchange, Name, Symbol, Timeframe
from tickwire.model.times import Bound, Count, Sequence, Time, utc

Level = tuple[Signed, Total]
"""Price and amount of a level of an order book."""
BOOK_VALID_S = 30.0
"""A live book without a message for this long is no longer live."""


class Trade(Struct, frozen=True, kw_only=True, gc=False):
    """One trade. `id` is the exchange's (binance: of the aggregate trade); `side` is the taker's."""

    id: str | None
    timestamp: Time
    side: Literal["buy", "sell"] | None
    price: Signed
    amount: Total

    @property
    def time(self) -> datetime:
        """The exchange's time (UTC)."""
        return utc(self.timestamp)


class Gap(Struct, frozen=True, kw_only=True, gc=False):
    """Missing trades: those after `since`/`after_id` and before `until`/`before_id`, all exclusive.

    A bound is absent if it is not known.
    """

    since: Bound | None
    until: Bound | None
    after_id: str | None = None
    before_id: str | None = None
    reason: str = ""


class Trades(Struct, frozen=True, kw_only=True, gc=False):
    """`md.trade.<exchange>.<token>`: trades in the exchange's order, each once.

    `source` is `rest` for trades fetched after an interruption. `gap` describes the trades missing before the first.
    Every trade before `until` (exclusive) is on the tape up to and including this message, or within a gap; a message
    without trades carries only that, a gap, or the start of a new owner.

    On contract markets, one unit of `amount` is `multiplier` of the base currency, or of the quote currency if
    `inverse` is true; `multiplier` is null if that is not known. On spot markets both are absent: `amount` is in base
    currency.
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
        """The feed of the trades."""
        return Feed("trade", self.exchange, self.symbol)


class Book(Struct, frozen=True, kw_only=True):
    """`md.book.<exchange>.<token>`: the best `depth` levels of each side, best first.

    While `state` is `resyncing` there is no book, and both sides are empty. `sequence` is the exchange's number of the
    last change included, or a count where the exchange has no numbers; `received` is when that change came.
    `conflated` counts the changes since the last message that had no message of their own.

    The last message is repeated at least every 10 s without changes. A live book without a message for 30 s is no
    longer live: its streamer is gone. Stream BOOKS keeps no message for longer.
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

    @property
    def time(self) -> datetime | None:
        """The exchange's time (UTC), where it gives one."""
        return None if self.timestamp is None else utc(self.timestamp)


class BookDelta(Struct, frozen=True, kw_only=True):
    """One change of a book: levels with their new amounts, 0 for removed levels.

    It takes the book from the number `first - 1` to `last`: the exchange's, or a count where it has none. With
    `snapshot` it is the whole book, and earlier changes are void.
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
    """`md.ticker.<exchange>.<token>`: best prices and the last 24 hours; absent are values the exchange does not send.

    `mark` is the price by which the exchange values contracts, `mid` the one between the best prices.

    `conflated` counts the updates since the last message that had no message of their own.

    `interrupted` marks the first message since the feed was connected: updates between the one before and this one may
    be missing. `repeated` marks the first message of a new owner, which begins with the last one of the previous owner,
    or is empty: it has nothing new.
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
    mark: Signed | None = None
    mid: Signed | None = None
    conflated: Count = 0
    interrupted: bool = False
    repeated: bool = False

    @property
    def time(self) -> datetime | None:
        """The exchange's time (UTC), where it gives one."""
        return None if self.timestamp is None else utc(self.timestamp)


class Candle(Struct, frozen=True, kw_only=True):
    """`md.candle.<exchange>.<token>.<timeframe>`: the candle that opens at `timestamp`.

    Published at a bounded rate while it is open, and once when `closed`. `complete` is false if its interval was not
    wholly observed. `sequence` is that of the last message of its trades that it was built from, in their
    stream; 0 if the exchange built it.

    `repeated` marks a candle that was published before: a new owner begins with the last message of the previous one.
    Do not count repeated closed candles. For a new owner, which has these intervals fetched: `owed` is the open time
    (ms) of the oldest closed interval that neither stream OHLCV nor a fetcher had accepted, `outdated` that of the
    oldest one to be fetched again because trades came late. `volume_unit` is the unit of `volume`; candles of earlier
    versions have none.
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

    @property
    def time(self) -> datetime:
        """When it opens (UTC)."""
        return utc(self.timestamp)


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
    """`md.status.<kind>.<exchange>.<token>`: an event of a feed; the last one is kept.

    `rejected`: a message of the exchange could not be used. `limited`: something is never available for this feed,
    published once. `silent`: a feed or socket was closed because nothing came. `repaired`: so many `trades` were
    fetched. `late`: a trade came for a candle that was closed already. `failed`: the feed ended with the error in
    `message`, and is retried with exponential back-off.
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


class Handover(Struct, frozen=True, kw_only=True):
    """`tape.handover.<stream>`: `owner` has begun to write a partition of the tape. Of no feed, and not public."""

    owner: Name
    at: Time
