"""Bitfinex."""

from __future__ import annotations

from tickwire.venues.profile import Profile, TradeFacts

PROFILE = Profile(
    exchanges=("bitfinex",),
    # "Trades": the first column is the id, live and by REST. ccxt 4.5.90 `fetch_trades` requests at most 10,000 trades
    # in ascending order, starting at `since`.
    trades=TradeFacts(ids="opaque", ids_shared=True, method="by_time", cut="oldest", page=10_000, resolution_ms=1),
)
