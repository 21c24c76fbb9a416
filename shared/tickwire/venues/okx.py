"""OKX and its regional sites."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("okx", "okxus", "myokx"),
    # API v5: "Get trades" gives the newest 500, "Get trades history" 100 before an id, three months back; the channel
    # `trades` joins what one taker order did at one price ("Trades channel").
    trades=TradeFacts(ids="opaque", ids_shared=True, joined_live=True, method="newest", older="before_id", page=500),
    # ccxt 4.5.90 `fetch_ohlcv` sends `before` and `after` one page apart; a minute without a trade has a row.
    candles=CandleFacts(windowed=True, quiet="rows"),
)
