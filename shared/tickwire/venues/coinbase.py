"""Coinbase: Advanced Trade and Exchange."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile

PROFILE = Profile(
    exchanges=("coinbase", "coinbaseexchange"),
    # "Get product candles": "No data is published for intervals where there are no ticks." ccxt 4.5.90 asks with both
    # ends, one page's time apart.
    candles=CandleFacts(windowed=True, quiet="none"),
)
