"""Bybit."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("bybit", "bybiteu"),
    # API v5, "Place Order": quantities of inverse contracts are in USD, of USDT and USDC contracts in base currency.
    # "Get Recent Public Trades": the newest, whatever the time.
    trades=TradeFacts(ids="opaque", method="newest", amount={"spot": "base", "linear": "base", "inverse": "quote"}),
    candles=CandleFacts(
        # "Get Kline": `volume` is in base currency, of inverse contracts in USD, where `turnover` is in base currency;
        # ccxt 4.5.90 `parse_ohlcv` and `parse_ws_ohlcv` take the latter there.
        volume={"spot": "base", "linear": "base", "inverse": "base"},
        live_volume={"spot": "base", "linear": "base", "inverse": "base"},
    ),
)
