"""Hyperliquid."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("hyperliquid",),
    # "Info endpoint" and "Subscriptions": amounts (`sz`, `v`) are in units of the coin; contract size 1 in ccxt 4.5.90.
    # ccxt 4.5.90 `fetch_trades` requests the fills of a wallet (`userFills`), not the trades of the market: past public
    # trades are not available by REST.
    trades=TradeFacts(ids="opaque", method="none", amount={"spot": "base", "linear": "base"}),
    candles=CandleFacts(
        volume={"spot": "base", "linear": "base"},
        live_volume={"spot": "base", "linear": "base"},
        # "Candle snapshot": "Only the most recent 5000 candles are available".
        newest_rows=5000,
    ),
)
