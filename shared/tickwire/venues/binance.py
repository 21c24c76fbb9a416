"""Binance: spot, USD-M and COIN-M futures, and binance.us."""

from __future__ import annotations

from tickwire.venues.profile import BookFacts, CandleFacts, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("binance", "binanceus", "binanceusdm", "binancecoinm"),
    # Aggregate trades: "Compressed/Aggregate trades list" (`fromId` inclusive, at most 1,000, without a key).
    # Quantities of USD-M futures are in base currency, those of COIN-M futures in contracts of 10 or 100 USD
    # ("Contract Type", `contractSize`).
    trades=TradeFacts(
        ids="counting",
        ids_shared=True,
        method="by_id",
        first_id="fromId",
        page=1000,
        resolution_ms=1,
        # "Old trade lookup": the same by the ids of trades that are not aggregated.
        raw={
            "spot": {"fetchTradesMethod": "publicGetHistoricalTrades"},
            "linear": {"fetchTradesMethod": "fapiPublicGetHistoricalTrades"},
            "inverse": {"fetchTradesMethod": "dapiPublicGetHistoricalTrades"},
        },
        amount={"spot": "base", "linear": "base", "inverse": "contracts"},
    ),
    # "Kline/Candlestick data": `startTime` inclusive, rows ascending from it; a minute without a trade has a row.
    # Of COIN-M futures ccxt 4.5.90 `parse_ohlcv` takes index 7, "Base asset volume"; live it takes `v`, contracts.
    candles=CandleFacts(
        since="honoured",
        windowed=False,
        # "Kline/Candlestick Streams": `x`, "Is this kline closed?", after which it is not sent again.
        settle_ms=0,
        quiet="rows",
        volume={"spot": "base", "linear": "base", "inverse": "base"},
        live_volume={"spot": "base", "linear": "base", "inverse": "contracts"},
    ),
    book=BookFacts(deltas=True),
    # "Live subscribing/unsubscribing to streams": each request is answered by its id.
    sockets=SocketFacts(acknowledges=True),
    options={"watchTrades": {"name": "aggTrade"}},
)
