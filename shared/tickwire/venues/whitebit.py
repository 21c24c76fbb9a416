"""WhiteBIT."""

from __future__ import annotations

from tickwire.venues.profile import Profile, TradeFacts

PROFILE = Profile(
    exchanges=("whitebit",),
    # "Recent Trades": the newest, whatever the time; `trade_timestamp` is in whole seconds, which the live one is not
    # (ccxt 4.5.90, `parse_trade` and `parse_ws_trade`).
    trades=TradeFacts(ids="opaque", method="newest", resolution_ms=1000),
)
