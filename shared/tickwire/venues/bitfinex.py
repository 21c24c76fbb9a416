"""Bitfinex."""

from __future__ import annotations

from tickwire.venues.profile import Profile, TradeFacts

PROFILE = Profile(
    exchanges=("bitfinex",),
    # "Trades": the first column is the id, live and by REST. ccxt 4.5.90 `fetch_trades` requests at most 10,000 trades
    # in ascending order, starting at `since`. Such a page does not have the trades of one millisecond in the order of
    # their ids, which is that of their execution (https://github.com/bitfinexcom/bitfinex-api-py/issues/124).
    trades=TradeFacts(ids="rising", ids_shared=True, method="by_time", cut="oldest", page=10_000, resolution_ms=1),
)
