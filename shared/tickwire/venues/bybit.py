"""Bybit."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("bybit", "bybiteu"),
    # API v5, "Place Order": amounts are in USD for inverse contracts, and in base currency for USDT and USDC contracts.
    # "Get Recent Public Trades" returns the newest trades, whatever the requested time.
    trades=TradeFacts(ids="opaque", method="newest", amount={"spot": "base", "linear": "base", "inverse": "quote"}),
    candles=CandleFacts(
        # "Get Kline": `volume` is in base currency. For inverse contracts it is in USD, and `turnover` is in base
        # currency, which ccxt 4.5.90 `parse_ohlcv` and `parse_ws_ohlcv` read for them.
        volume={"spot": "base", "linear": "base", "inverse": "base"},
        live_volume={"spot": "base", "linear": "base", "inverse": "base"},
    ),
)
