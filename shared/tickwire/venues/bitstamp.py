"""Bitstamp."""

from __future__ import annotations

from tickwire.venues.profile import Profile, TradeFacts

PROFILE = Profile(
    exchanges=("bitstamp",),
    # "Transactions": all those of the last hour (ccxt 4.5.90 `fetch_trades` asks for no more), whose `date` is in whole
    # seconds, which the live `microtimestamp` is not. Ids are `tid` by REST and `id` live: "Trade unique ID" both.
    trades=TradeFacts(
        ids="opaque", ids_shared=True, method="by_time", cut="oldest", resolution_ms=1000, reach_ms=3_600_000
    ),
)
