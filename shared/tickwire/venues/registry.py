"""The profile and the dialect of each ccxt id."""

from __future__ import annotations

from functools import cache

from tickwire.model.timeframes import Grid, grid
from tickwire.venues import (
    binance,
    bitfinex,
    bitget,
    bitstamp,
    bybit,
    coinbase,
    cryptocom,
    deribit,
    gate,
    generic,
    htx,
    hyperliquid,
    kraken,
    krakenfutures,
    kucoin,
    limited,
    mexc,
    okx,
    upbit,
    whitebit,
)
from tickwire.venues.dialect import Dialect
from tickwire.venues.profile import Profile

PROFILES: tuple[Profile, ...] = (
    binance.PROFILE,
    bitfinex.PROFILE,
    bitget.PROFILE,
    bitstamp.PROFILE,
    bybit.PROFILE,
    coinbase.PROFILE,
    coinbase.EXCHANGE,
    cryptocom.PROFILE,
    deribit.PROFILE,
    gate.PROFILE,
    htx.PROFILE,
    hyperliquid.PROFILE,
    kraken.PROFILE,
    krakenfutures.PROFILE,
    kucoin.PROFILE,
    mexc.PROFILE,
    okx.PROFILE,
    upbit.PROFILE,
    whitebit.PROFILE,
    *limited.PROFILES,
)

DIALECTS: tuple[tuple[Profile, Dialect], ...] = ((binance.PROFILE, binance.DIALECT), (okx.PROFILE, okx.DIALECT))
"""Dialects, each of the exchanges of a profile."""


@cache
def profile_of(exchange: str) -> Profile:
    """The profile of a ccxt exchange id; `generic` where nothing is declared."""
    return next((profile for profile in PROFILES if exchange in profile.exchanges), generic.PROFILE)


@cache
def dialect_of(exchange: str) -> Dialect:
    """The dialect of a ccxt exchange id; `generic` where ccxt reads everything."""
    return next((dialect for profile, dialect in DIALECTS if exchange in profile.exchanges), generic.DIALECT)


def grid_of(exchange: str, timeframe: str, opens_at: int | None = None) -> Grid:
    """The grid of a venue's candles by its profile; `opens_at` (ms), if known for a key, replaces the profile's.

    Raises UnsupportedTimeframe.
    """
    return grid(timeframe, profile_of(exchange).candles.opens_at.get(timeframe) if opens_at is None else opens_at)
