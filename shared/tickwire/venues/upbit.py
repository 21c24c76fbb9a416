"""Upbit."""

from __future__ import annotations

from tickwire.venues.profile import Condition, Older, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("upbit",),
    # "Recent Trades History": the newest, 500 at most; `cursor` is the `sequential_id` before which others are wanted.
    # ccxt 4.5.90 reads `sequential_id` live and by REST by one parser.
    trades=TradeFacts(
        ids="opaque", ids_shared=True, method="newest", older=Older(before="cursor"), page=500, resolution_ms=1
    ),
    # ccxt 4.5.90 `watch_ohlcv` has only candles of one second, which are built from trades.
    conditions=(Condition(kinds=("candle",), instead="ask for a timeframe that divides a day"),),
)
