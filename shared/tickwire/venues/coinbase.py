"""Coinbase: Advanced Trade and Exchange."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Condition, Older, Profile, TradeFacts

# "Get product candles": "No data is published for intervals where there are no ticks." ccxt 4.5.90 asks with both
# ends, one page's time apart, and the answer has all that lies between.
_CANDLES = CandleFacts(since="honoured", windowed=True, quiet="none")

PROFILE = Profile(
    exchanges=("coinbase",),
    # "Get Market Trades": the newest trades between `start` and `end` (s). ccxt 4.5.90 `fetch_trades` refuses `since`
    # without `until`, and asks for 1,000 at most; live and by REST it reads `trade_id` by one parser.
    trades=TradeFacts(
        ids="opaque", ids_shared=True, method="by_time", needs_until=True, cut="newest", page=1000, resolution_ms=1
    ),
    candles=_CANDLES,
)

EXCHANGE = Profile(
    exchanges=("coinbaseexchange",),
    # "Get product trades", "Pagination": the newest 100 unless asked for more, 1,000 at most; `after` is the id before
    # which older ones are wanted. ccxt 4.5.90 `fetch_trades` sends no time; ids are `trade_id` live and by REST.
    trades=TradeFacts(
        ids="opaque", ids_shared=True, method="newest", older=Older(before="after"), page=1000, resolution_ms=1
    ),
    candles=_CANDLES,
    # The channel `level2` is for members alone (ccxt 4.5.90 signs it).
    conditions=(Condition(kinds=("book",), key=True),),
)

PROFILES = (PROFILE, EXCHANGE)
