"""Kraken spot."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile

# "Get OHLC Data": the newest 720 whatever `since` says (measured on ccxt 4.5.90).
PROFILE = Profile(
    exchanges=("kraken",),
    candles=CandleFacts(since="ignored", newest_rows=720, live_volume={"spot": "base"}),
)
