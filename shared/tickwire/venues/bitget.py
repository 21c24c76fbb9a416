"""Bitget: spot and futures."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("bitget",),
    # API v2: sizes of USDT and USDC futures are in base currency (ccxt 4.5.90 has a contract size of 1). Of futures
    # settled in coins the documentation does not say it: unknown.
    # Ids are `tradeId` live and by REST; trades are asked for by time, 1,000 at most (ccxt 4.5.90 `fetch_trades`).
    trades=TradeFacts(
        ids="opaque", ids_shared=True, method="by_time", page=1000, amount={"spot": "base", "linear": "base"}
    ),
    # "Get Candlestick Data": index 5 is "Trading volume of the base coin", by REST and live.
    candles=CandleFacts(
        volume={"spot": "base", "linear": "base"},
        live_volume={"spot": "base", "linear": "base"},
    ),
    # API v2, "Websocket API, Subscribe": each channel is answered by `"event":"subscribe"` with its `arg`.
    sockets=SocketFacts(acknowledges=True),
)
