"""Coinbase: Advanced Trade and Exchange."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Condition, Older, Profile, TradeFacts

# "Get product candles": "No data is published for intervals where there are no ticks." ccxt 4.5.90 sends both ends of
# the range, the time of one page apart, and the response has all candles between them.
_CANDLES = CandleFacts(since="honoured", windowed=True, quiet="none")

PROFILE = Profile(
    exchanges=("coinbase",),
    # "Get Market Trades": the newest trades between `start` and `end` (s). ccxt 4.5.90 `fetch_trades` rejects `since`
    # without `until` and requests at most 1,000 trades. The same parser reads `trade_id` live and by REST.
    trades=TradeFacts(
        ids="opaque", ids_shared=True, method="by_time", needs_until=True, cut="newest", page=1000, resolution_ms=1
    ),
    candles=_CANDLES,
)

EXCHANGE = Profile(
    exchanges=("coinbaseexchange",),
    # "Get product trades", "Pagination": the newest trades, 100 by default and at most 1,000; `after` selects those
    # older than an id. ccxt 4.5.90 `fetch_trades` sends no time. Ids are `trade_id` live and by REST.
    trades=TradeFacts(
        ids="opaque", ids_shared=True, method="newest", older=Older(before="after"), page=1000, resolution_ms=1
    ),
    candles=_CANDLES,
    # The channel `level2` requires authentication (ccxt 4.5.90 signs the subscription).
    conditions=(Condition(kinds=("book",), key=True),),
)

PROFILES = (PROFILE, EXCHANGE)
