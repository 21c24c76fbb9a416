"""A venue's dialect: the code that reads its own messages. Pure; found by `registry.dialect_of`.

A dialect has only what a venue needs beyond ccxt's unified form. The empty one suits every ccxt venue.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from msgspec import Struct

from tickwire.model.feeds import Candle, Feed, Level, Trade
from tickwire.venues.candle_forms import NO_FORMS, CandleForms
from tickwire.venues.profile import MarketKind

Texts = tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]]
"""The price and amount of each bid and of each ask, as the venue wrote them."""


class NoTrade(Trade, frozen=True, kw_only=True):
    """An id that counts up with those of trades, but was given to no trade of the market: without it, it seems missing.

    A dialect has it among the trades of a frame. It takes part in their order, and does not come on the tape.
    """

    side: Literal["buy", "sell"] | None = None
    price: float = 0.0
    amount: float = 0.0


class BookSnapshot(Struct, frozen=True, kw_only=True):
    """A whole book as the venue sends it on the socket: it replaces what was known. Levels of amount 0 are dropped.

    `sequence` is the venue's number of its last update, absent where the venue has none. `checksum` is the venue's, of
    the book after this message; `texts` are the levels as it wrote them, where its checksum is made of texts.
    """

    timestamp: int | None
    bids: list[Level]
    asks: list[Level]
    sequence: int | None = None
    checksum: int | None = None
    texts: Texts | None = None


class Diff(Struct, frozen=True, kw_only=True):
    """A change of a book as the venue sends it: levels with their new amounts, 0 for removed levels.

    Updates `first` to `last`; `previous` is the `last` before it. `BookFacts.sequence` says which of the three the
    venue sends. `checksum` and `texts`: see `BookSnapshot`.
    """

    timestamp: int | None
    bids: list[Level]
    asks: list[Level]
    first: int | None = None
    last: int | None = None
    previous: int | None = None
    checksum: int | None = None
    texts: Texts | None = None


class VenueCandle(Protocol):
    """A candle as the venue sends it, before its market is known."""

    def candle(self, feed: Feed, kind: MarketKind | None) -> Candle:
        """The candle as a message of its feed, of a market of this kind.

        Its volume is in base currency with `volume_unit="base"`, or without a `volume_unit` in the unit that the
        profile states as `candles.live_volume`. `trades` is 0 where the venue does not count them.
        """


class Decoded(NamedTuple):
    """Market data of one feed in one frame.

    `market` is the name by which frames call the market: `Dialect.market_name`. `items`, oldest first, are according to
    `kind`: trade: `Trade` or `NoTrade`; book: `BookSnapshot` or `Diff`; ticker: dicts of `feeds.Ticker`'s fields;
    candle: `VenueCandle`. `timeframe` is that of a candle, by ccxt's name.
    """

    kind: str
    market: str
    items: Sequence[Any]
    timeframe: str | None = None


class Refusal(NamedTuple):
    """An error frame. `request`: the id of the refused request, if any. `is_general`: it concerns the whole socket."""

    request: str | None
    is_general: bool


DropAggregated = Callable[
    [list[Hashable], Sequence[Trade], Iterable[tuple[Hashable, Trade]]], tuple[list[Hashable], Sequence[Trade]]
]
"""(keys, trades of a REST page in order, known trades with their keys) -> the keys and trades that remain."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The venue's own functions, used instead of ccxt's."""

    decode: Callable[[str], Sequence[Decoded] | None] | None = None
    """The market data of a frame: one `Decoded` for each feed that it is about; empty if it says nothing new.

    Gets every frame that is UTF-8 text, also those that are no JSON (`pong`), and `""`. None for every frame that ccxt
    shall read: acknowledgements, errors, pongs, other channels. Raises msgspec.DecodeError for a frame of a channel of
    its own that is malformed: the frame is counted and dropped, ccxt does not get it.
    """
    candles: CandleForms = NO_FORMS
    """How answers of REST have their candles."""
    market_name: Callable[[Mapping[str, Any]], str] = operator.itemgetter("id")
    """The name by which frames call a market, by ccxt's description of it. Unique on a socket per kind of feed, or with
    `is_spot_url`. Where frames name the kind of market beside its id, `decode` and this join both."""
    is_spot_url: Callable[[str], bool] | None = None
    """Whether a socket of this URL carries spot markets; where spot markets and contracts share names."""
    checksum: Callable[[Sequence[tuple[str, str]], Sequence[tuple[str, str]]], int] | None = None
    """(bids, asks), the best `BookFacts.checksum_levels` of each side as the venue wrote them, best first -> the
    venue's checksum."""
    frame_number: Callable[[str], int | None] | None = None
    """The number of a frame, where the venue numbers all frames of a socket by one each; None for a frame without. If
    one is missing, the socket is reopened."""
    refusal: Callable[[Mapping[str, Any]], Refusal] | None = None
    """Reads an error frame, parsed from JSON; None if ccxt reads it correctly."""
    stream_params: Callable[[Mapping[str, Any], str], dict[str, Any]] = lambda options, method: {}
    """(ccxt's options, name of a watch method: `watchTrades`, `watchOrderBook`, `watchTicker` or `watchOHLCV`) -> the
    parameters that select the stream; the same ones unsubscribe."""
    unsubscribe_params: Callable[[Mapping[str, Any], str], dict[str, Any]] = lambda market, method: {}
    """(ccxt's description of a market, name of a watch method) -> further parameters that unsubscribe, where ccxt would
    name another stream than it subscribes."""
    unsubscription: Callable[[Sequence[str]], Any] | None = None
    """The message that unsubscribes, by ccxt's names of the subscriptions; where ccxt has no unwatch methods."""
    drop_aggregated: DropAggregated | None = None
    """Drops the trades of a REST page that are part of an aggregated trade of the live feed."""
