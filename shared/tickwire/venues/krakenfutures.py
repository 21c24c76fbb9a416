"""Kraken Futures."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("krakenfutures",),
    # Linear contracts (PF_…) are one unit of the base currency each. Of inverse ones ccxt 4.5.90 `parse_trade` gives
    # no amount; what the volume of candles counts is not documented: unknown.
    trades=TradeFacts(amount={"linear": "contracts"}),
    candles=CandleFacts(volume={}),
)
