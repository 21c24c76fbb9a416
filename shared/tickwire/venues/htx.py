"""HTX."""

from __future__ import annotations

from tickwire.venues.profile import Profile, TradeFacts

PROFILE = Profile(
    exchanges=("htx",),
    # ccxt 4.5.90 `parse_trade` takes `trade-id` by REST, and live, where there is none, `id`, a number of 27 digits.
    # "Get the Most Recent Trades": the newest 2,000 whatever the time.
    trades=TradeFacts(ids="opaque", ids_shared=False, method="newest", page=2000),
)
