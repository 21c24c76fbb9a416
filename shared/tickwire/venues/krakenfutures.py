"""Kraken Futures."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("krakenfutures",),
    # A linear contract (PF_…) is one unit of base currency. For inverse contracts ccxt 4.5.90 `parse_trade` returns no
    # amount. The unit of a candle's volume is not documented, so it is unknown.
    trades=TradeFacts(amount={"linear": "contracts"}),
    candles=CandleFacts(volume={}),
)
