"""Which profile belongs to which ccxt id."""

from __future__ import annotations

from functools import cache

from tickwire.venues import (
    binance,
    bitget,
    bybit,
    coinbase,
    deribit,
    gate,
    generic,
    hyperliquid,
    kraken,
    krakenfutures,
    kucoin,
    okx,
)
from tickwire.venues.profile import Profile

PROFILES: tuple[Profile, ...] = (
    binance.PROFILE,
    bitget.PROFILE,
    bybit.PROFILE,
    coinbase.PROFILE,
    deribit.PROFILE,
    gate.PROFILE,
    hyperliquid.PROFILE,
    kraken.PROFILE,
    krakenfutures.PROFILE,
    kucoin.PROFILE,
    okx.PROFILE,
)


@cache
def profile_of(exchange: str) -> Profile:
    """The profile of a ccxt exchange id; `generic` where nothing is declared."""
    return next((profile for profile in PROFILES if exchange in profile.exchanges), generic.PROFILE)
