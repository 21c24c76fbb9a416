"""WhiteBIT."""

from __future__ import annotations

from tickwire.venues.profile import Profile, TradeFacts

PROFILE = Profile(
    exchanges=("whitebit",),
    # "Recent Trades" returns the newest trades, whatever the requested time. Its `trade_timestamp` is in whole seconds;
    # the live time is finer (ccxt 4.5.90 `parse_trade` and `parse_ws_trade`).
    trades=TradeFacts(ids="opaque", method="newest", resolution_ms=1000),
)
