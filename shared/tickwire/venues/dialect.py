"""A venue's dialect: the code that reads its own messages. Pure; found by `registry.dialect_of`.

A dialect has only what a venue needs beyond ccxt's unified form. The empty one suits every ccxt venue.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from tickwire.model.feeds import Candle, Level, Trade


class Diff(Struct, frozen=True, kw_only=True):
    """A change of a book as the exchange sends it: updates `first` to `last`; `previous` is the `last` before it.

    `previous` is absent where the exchange numbers without gaps.
    """

    first: int
    last: int
    timestamp: int | None
    bids: list[Level]
    asks: list[Level]
    previous: int | None = None


class VenueCandle(Protocol):
    """A candle as the exchange sends it, before its market is known."""

    def candle(self, exchange: str, symbol: str, *, inverse: bool) -> Candle:
        """The candle as a message, its volume in base currency."""


class Decoded(NamedTuple):
    """The market data of one frame.

    `market` is the exchange's own id. `item` is a Trade, a Diff, a dict of `feeds.Ticker`'s fields or a VenueCandle,
    according to `kind`; `timeframe` is that of a candle.
    """

    kind: str
    market: str
    item: Any
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
    """What is read by code of the venue instead of ccxt's."""

    decode: Callable[[str], Decoded | None] | None = None
    """The market data of a frame; None for a frame that ccxt shall read. Raises msgspec.DecodeError."""
    is_spot_url: Callable[[str], bool] = lambda url: True
    """Whether a socket of this URL carries spot markets: ids of markets are unique per kind of market only."""
    refusal: Callable[[Mapping[str, Any]], Refusal] | None = None
    """What an error frame, parsed from JSON, refuses; None where ccxt's own reading serves."""
    stream_params: Callable[[Mapping[str, Any], str], dict[str, Any]] = lambda options, method: {}
    """(ccxt's options, name of a watch method) -> the parameters that select the stream."""
    drop_aggregated: DropAggregated | None = None
    """Drops the trades of a REST page that the live feed already sent, joined into one trade."""
