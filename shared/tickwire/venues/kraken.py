"""Kraken spot."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("kraken",),
    # "Get Recent Trades": at most 1,000 trades, starting at `since`. The seventh column is `trade_id`, as live ("Trade
    # (Trades)", WebSocket v2); ccxt 4.5.90 `parse_trade` reads both.
    trades=TradeFacts(ids="opaque", ids_shared=True, method="by_time", cut="oldest", page=1000, resolution_ms=1),
    # "Get OHLC Data": the newest 720 candles, whatever `since` is (measured on ccxt 4.5.90). Recorded: of 721 minutes
    # of XBTUSDT in one response, 216 have no trade, and their prices are the previous close.
    candles=CandleFacts(since="ignored", newest_rows=720, quiet="rows", live_volume={"spot": "base"}),
)
