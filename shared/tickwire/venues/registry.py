"""Which profile belongs to which ccxt id."""

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


@cache
def profile_of(exchange: str) -> Profile:
    """The profile of a ccxt exchange id; `generic` where nothing is declared."""
    return next((profile for profile in PROFILES if exchange in profile.exchanges), generic.PROFILE)


def grid_of(exchange: str, timeframe: str, opens_at: int | None = None) -> Grid:
    """Where the candles of a venue open, by its profile; `opens_at` is what is known of a key besides (ms).

    Raises UnsupportedTimeframe.
    """
    return grid(timeframe, profile_of(exchange).candles.opens_at.get(timeframe) if opens_at is None else opens_at)
