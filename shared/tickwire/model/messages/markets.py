"""Requests for the markets that an exchange lists, which a fetcher answers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from tickwire.model.subjects import SYMBOL_CHARACTERS, Exchange, Symbol
from tickwire.model.times import Count, Time

MARKETS_PAGE = 1_000
"""Most markets of one reply, about 150 KB of JSON."""


class MarketsRequest(Struct, frozen=True, kw_only=True):
    """`fetcher.markets`: the markets of an exchange, or those that match `search`, from the `offset`th on.

    A market matches if each word of `search` is in its symbol, in its symbol without signs, or in the exchange's own
    name of it, whatever the case. The best come first: the same symbol, then the base that was written, then others;
    without `search` they are in the order of their symbols. Where the markets are not loaded yet, the reply waits for
    them; with `wait` false it is the error `not_loaded`, and they are being loaded.
    """

    exchange: Exchange
    search: Annotated[str, Meta(max_length=2 * SYMBOL_CHARACTERS)] = ""
    offset: Count = 0
    limit: Annotated[int, Meta(ge=1, le=MARKETS_PAGE)] = 100
    wait: bool = True


class ListedMarket(Struct, frozen=True, kw_only=True):
    """A market as its exchange lists it. `kind` is null for options and quanto contracts.

    `active` is null where the exchange does not say whether it trades at present. `market_id` is the exchange's own
    name of it.
    """

    symbol: Symbol
    kind: Literal["spot", "linear", "inverse"] | None
    base: str
    quote: str
    active: bool | None = None
    market_id: str | None = None


class MarketList(Struct, frozen=True, kw_only=True):
    """The reply to `fetcher.markets`: one page of `total` markets that match.

    `near` are the listed symbols nearest to `search`, where none matches it. `loaded` is when the exchange was asked
    for its markets (ms); pages of different times may not fit together.
    """

    exchange: Exchange
    markets: list[ListedMarket]
    total: Count
    loaded: Time
    near: list[str] = field(default_factory=list)
