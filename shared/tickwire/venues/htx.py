"""HTX."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

_MIDNIGHT_MS = 57_600_000
_YEAR_MS = 1_672_502_400_000

PROFILE = Profile(
    exchanges=("htx",),
    # ccxt 4.5.90 `parse_trade` reads `trade-id` by REST. Live trades lack it, and their `id`, a number of 27 digits, is
    # read instead. "Get the Most Recent Trades" returns at most the newest 2,000, whatever the requested time.
    trades=TradeFacts(ids="opaque", ids_shared=False, method="newest", page=2000),
    # "The candles are calculated using GMT+8" (huobiapi/API_Docs_en, issue 8): days open at 16:00 UTC (ccxt's pull
    # request 17783); months and years open at that time on the day before their first (18014).
    candles=CandleFacts(opens_at={"1d": _MIDNIGHT_MS, "1M": _YEAR_MS, "1y": _YEAR_MS}),
)
