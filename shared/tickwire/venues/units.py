"""Units of amounts and volumes, and their conversion to base currency. No I/O.

The volume of every candle is in base currency. A contract of a linear market is `contractSize` of the base currency,
one of an inverse market `contractSize` of the quote currency (ccxt's manual, "Market Structure"). Some venues state
amounts of contract markets in base or in quote currency, according to their profile. Without a profile it is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from functools import reduce
from typing import Any, TypedDict

import msgspec
from msgspec import Struct

from tickwire.model.feeds import Trade, Trades
from tickwire.model.messages import Row, VolumeUnit
from tickwire.venues.profile import AmountUnit, MarketKind, Profile

_EXACT = Context(prec=200)
"""Exact for sums and products of doubles with 17 digits."""
_QUOTIENT = Context(prec=40)
"""For one trade: the rounding is far below the precision of a double."""
ONE = Decimal(1)


class Measure(Struct, frozen=True):
    """One unit of an amount is `size` of the base currency, or of the quote currency where `inverse`."""

    size: Decimal = ONE
    inverse: bool = False

    @property
    def exact(self) -> bool:
        """Whether amounts convert to base currency without a division, so that sums are exact to the last digit."""
        return not self.inverse

    def base_volume(self, amount: float, price: float) -> Decimal:
        """An amount at a price, in base currency."""
        held = _EXACT.multiply(decimal(amount), self.size)
        return _QUOTIENT.divide(held, decimal(price)) if self.inverse else held

    def quote_volume(self, amount: float, price: float) -> float:
        """An amount at a price, in quote currency, to the precision of a double."""
        held = amount * float(self.size)
        return held if self.inverse else held * price

    def total(self, trades: Sequence[Trade]) -> Decimal:
        """The volume of trades (at least one), in base currency."""
        if self.inverse:
            return reduce(_EXACT.add, [self.base_volume(trade.amount, trade.price) for trade in trades])
        amount = reduce(_EXACT.add, [decimal(trade.amount) for trade in trades])
        return amount if self.size == ONE else _EXACT.multiply(amount, self.size)


BASE = Measure()


class Units(Struct, frozen=True, kw_only=True):
    """The units of one market. A measure that is None is unknown.

    `trades` measures the amount of a trade, `candles` the volume of ccxt's `fetch_ohlcv`, `live` that of its
    `watch_ohlcv`. `amount`, `volume` and `live_volume` name their units as ccxt gives them.
    """

    kind: MarketKind | None = "spot"
    contract_size: float | None = None
    amount: AmountUnit | None = "base"
    volume: AmountUnit | None = "base"
    live_volume: AmountUnit | None = "base"
    trades: Measure | None = BASE
    candles: Measure | None = BASE
    live: Measure | None = BASE

    @property
    def builds(self) -> VolumeUnit:
        """The unit of volumes built from trades."""
        return "unknown" if self.trades is None else "base"

    @property
    def cacheable(self) -> bool:
        """Whether a candle built from trades equals the venue's REST row to the last digit.

        An inverse market's volume in base currency is a sum of quotients, which each venue rounds its own way.
        """
        return self.trades is not None and self.trades.exact and self.fetches == "base"

    @property
    def fetches(self) -> VolumeUnit:
        """The unit of a fetched row after `row_in_base`."""
        return _after(self.candles, self.volume)

    @property
    def watches(self) -> VolumeUnit:
        """The unit of a candle of `watch_ohlcv` after `row_in_base`."""
        return _after(self.live, self.live_volume)


def _after(measure: Measure | None, unit: AmountUnit | None) -> VolumeUnit:
    return "base" if measure is not None and measure.exact else unit or "unknown"


SPOT = Units()
NOTHING = Units(kind=None, amount=None, volume=None, live_volume=None, trades=None, candles=None, live=None)
"""The units of a market that is neither spot nor linear nor inverse."""


def units_of(profile: Profile, market: Mapping[str, Any]) -> Units:
    """The units of a market by ccxt's description and the venue's profile."""
    kind = kind_of(market)
    size = market.get("contractSize") if kind != "spot" else None
    size = size if isinstance(size, int | float) and size > 0 else None
    if kind is None:
        return msgspec.structs.replace(NOTHING, contract_size=size)
    amount, volume = profile.trades.amount.get(kind), profile.candles.volume.get(kind)
    live = profile.candles.live_volume.get(kind)
    return Units(
        kind=kind,
        contract_size=size,
        amount=amount,
        volume=volume,
        live_volume=live,
        trades=measure(amount, kind, size),
        candles=measure(volume, kind, size),
        live=measure(live, kind, size),
    )


def kind_of(market: Mapping[str, Any]) -> MarketKind | None:
    """The kind of a ccxt market; None for options and quanto contracts."""
    if not market.get("contract"):
        return "spot"
    if market.get("option"):
        return None
    if market.get("linear"):
        return "linear"
    return "inverse" if market.get("inverse") else None


def measure(unit: AmountUnit | None, kind: MarketKind, contract_size: float | None) -> Measure | None:
    """The measure of a unit; None if it is unknown."""
    match unit:
        case "base":
            return BASE
        case "quote":
            return Measure(ONE, inverse=True)
        case "contracts" if contract_size is not None and kind != "spot":
            return Measure(decimal(contract_size), inverse=kind == "inverse")
        case _:
            return None


class Stated(TypedDict, total=False):
    """The fields of `Trades` about its amounts."""

    multiplier: float | None
    inverse: bool


def stated_in_trades(units: Units) -> Stated:
    """The fields of a market's `Trades` messages about amounts: none for spot markets."""
    if units.kind == "spot":
        return {}
    if units.trades is None:
        return {"multiplier": None}
    return {"multiplier": float(units.trades.size), "inverse": units.trades.inverse}


def measure_of(message: Trades) -> Measure | None:
    """The measure of the amounts of a message; None if a message of a contract market does not state it."""
    return stated_measure(message.symbol, message.multiplier, message.inverse)


def stated_measure(
    symbol: str, multiplier: float | msgspec.UnsetType | None, inverse: bool | msgspec.UnsetType
) -> Measure | None:
    """The measure of amounts by these fields of `Trades`; None if they do not state that of a contract market."""
    if isinstance(multiplier, int | float):
        if not (math.isfinite(multiplier) and multiplier > 0):
            return None
        return Measure(decimal(multiplier), inverse=inverse is True)
    if multiplier is None or is_contract(symbol):
        # Earlier versions did not state it for contract markets.
        return None
    return BASE


def row_in_base(row: Row, measure: Measure | None) -> Row:
    """A fetched row with its volume in base currency; unchanged if that cannot be converted exactly."""
    if measure is None or not measure.exact or measure.size == ONE:
        return row
    return (*row[:5], float(measure.base_volume(row[5], row[4])))


def is_contract(symbol: str) -> bool:
    """Whether a symbol names a contract: ccxt writes the settlement currency after a colon."""
    return ":" in symbol


def stated(symbol: str, unit: VolumeUnit | None) -> VolumeUnit | None:
    """The unit of a volume that a message or file states as `unit`; None if it is unknown.

    Earlier versions did not state it: on spot markets it was base currency, on contract markets it was mixed.
    """
    return "base" if unit is None and not is_contract(symbol) else unit


def kind_by_symbol(symbol: str) -> MarketKind | None:
    """The kind of a market by its symbol, such as `BTC/USD:BTC-260327`; None for options and quanto contracts."""
    pair, _, settled = symbol.partition(":")
    if not settled:
        return "spot"
    base, _, quote = pair.partition("/")
    settle, *terms = settled.split("-")
    if len(terms) > 1 or settle not in (base, quote):
        return None
    return "inverse" if settle == base else "linear"


def decimal(value: float) -> Decimal:
    """A number with the digits of its shortest text."""
    return Decimal(repr(value))
