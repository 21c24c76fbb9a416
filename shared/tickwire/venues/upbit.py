"""Upbit."""

from __future__ import annotations

from tickwire.venues.profile import Condition, Older, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("upbit",),
    # "Recent Trades History": the newest trades, at most 500; `cursor` selects those before a `sequential_id`.
    # ccxt 4.5.90 reads `sequential_id` live and by REST with the same parser.
    trades=TradeFacts(
        ids="opaque", ids_shared=True, method="newest", older=Older(before="cursor"), page=500, resolution_ms=1
    ),
    # ccxt 4.5.90 `watch_ohlcv` offers only candles of one second, and tickwire builds those from trades.
    conditions=(Condition(kinds=("candle",), instead="ask for a timeframe that divides a day"),),
)
