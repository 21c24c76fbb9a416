"""Kraken spot."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

# "Get OHLC Data": the newest 720 whatever `since` says (measured on ccxt 4.5.90).
PROFILE = Profile(
    exchanges=("kraken",),
    # "Get Recent Trades": 1,000 at most, from `since` on; the seventh column is `trade_id`, as live ("Trade (Trades)",
    # WebSocket v2), and ccxt 4.5.90 `parse_trade` takes both.
    trades=TradeFacts(ids="opaque", ids_shared=True, method="by_time", cut="oldest", page=1000, resolution_ms=1),
    # Recorded: of 721 minutes of XBTUSDT in one answer of "OHLC", 216 have no trade and are flat at the close before.
    candles=CandleFacts(since="ignored", newest_rows=720, quiet="rows", live_volume={"spot": "base"}),
)
