"""Crypto.com."""

from __future__ import annotations

from tickwire.venues.profile import Profile, TradeFacts

PROFILE = Profile(
    exchanges=("cryptocom",),
    # "public/get-trades": the newest trades before `end_ts`, at most 150 (`count`); ccxt 4.5.90 passes any limit
    # through. Ids are `d` live and by REST, read by the same parser.
    trades=TradeFacts(ids="opaque", ids_shared=True, method="by_time", cut="newest", page=150, resolution_ms=1),
)
