"""Bitstamp."""

from __future__ import annotations

from tickwire.venues.profile import Profile, TradeFacts

PROFILE = Profile(
    exchanges=("bitstamp",),
    # "Transactions": all trades of the last hour; ccxt 4.5.90 `fetch_trades` does not request a longer time. `date` is
    # in whole seconds by REST; live, `microtimestamp` is finer. Ids are `tid` by REST and `id` live; the documentation
    # calls both "Trade unique ID".
    trades=TradeFacts(
        ids="opaque", ids_shared=True, method="by_time", cut="oldest", resolution_ms=1000, reach_ms=3_600_000
    ),
)
