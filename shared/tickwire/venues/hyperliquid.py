"""Hyperliquid."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("hyperliquid",),
    # "Info endpoint" and "Subscriptions": sizes (`sz`, `v`) are in units of the coin; ccxt 4.5.90 has contracts of 1.
    # ccxt 4.5.90 `fetch_trades` asks for the fills of a wallet (`userFills`), which are not the market's trades: past
    # public trades are not available by REST.
    trades=TradeFacts(ids="opaque", method="none", amount={"spot": "base", "linear": "base"}),
    candles=CandleFacts(
        volume={"spot": "base", "linear": "base"},
        live_volume={"spot": "base", "linear": "base"},
        # "Candle snapshot": "Only the most recent 5000 candles are available".
        newest_rows=5000,
    ),
)
