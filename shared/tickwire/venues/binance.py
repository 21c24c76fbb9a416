"""Binance: spot, USD-M and COIN-M futures, and binance.us."""

from __future__ import annotations

from tickwire.venues.profile import BookFacts, CandleFacts, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("binance", "binanceus", "binanceusdm", "binancecoinm"),
    # Aggregate trades: "Compressed/Aggregate trades list" (`fromId` inclusive, at most 1,000, without a key).
    trades=TradeFacts(ids="counting", ids_shared=True, method="by_id", page=1000),
    # "Kline/Candlestick data": `startTime` inclusive, rows ascending from it; a minute without a trade has a row.
    candles=CandleFacts(since="honoured", windowed=False, quiet="rows"),
    book=BookFacts(deltas=True),
    # "Live subscribing/unsubscribing to streams": each request is answered by its id.
    sockets=SocketFacts(acknowledges=True),
    options={"watchTrades": {"name": "aggTrade"}},
)
