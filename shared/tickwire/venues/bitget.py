"""Bitget: spot and futures."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("bitget",),
    # API v2: amounts of USDT and USDC futures are in base currency (contract size 1 in ccxt 4.5.90). The documentation
    # does not give the unit for coin-settled futures, so it is unknown.
    # Ids are `tradeId` live and by REST. ccxt 4.5.90 `fetch_trades` requests at most 1,000 trades, by time.
    trades=TradeFacts(
        ids="opaque", ids_shared=True, method="by_time", page=1000, amount={"spot": "base", "linear": "base"}
    ),
    # "Get Candlestick Data": index 5 is "Trading volume of the base coin", by REST and live.
    candles=CandleFacts(
        volume={"spot": "base", "linear": "base"},
        live_volume={"spot": "base", "linear": "base"},
    ),
    # API v2, "Websocket API, Subscribe": the reply to each channel is `"event":"subscribe"` with the channel's `arg`.
    sockets=SocketFacts(acknowledges=True),
)
