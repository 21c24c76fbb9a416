"""Crypto.com."""

from __future__ import annotations

from tickwire.venues.profile import Profile, TradeFacts

PROFILE = Profile(
    exchanges=("cryptocom",),
    # "public/get-trades": `count` is 150 at most, of the trades before `end_ts`; ccxt 4.5.90 hands any limit on. Ids
    # are `d` live and by REST, read by one parser.
    trades=TradeFacts(ids="opaque", ids_shared=True, method="by_time", cut="newest", page=150, resolution_ms=1),
)
