"""Deribit."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("deribit",),
    # "public/get_last_trades_by_instrument": `amount` is in USD for inverse perpetuals and futures (not in contracts,
    # whatever the contract size), in base currency for linear ones and spot.
    # Ids are `trade_id` live and by REST, 1,000 trades at most are asked for by time (ccxt 4.5.90, `fetch_trades`).
    trades=TradeFacts(
        ids="opaque",
        ids_shared=True,
        method="by_time",
        page=1000,
        amount={"spot": "base", "linear": "base", "inverse": "quote"},
    ),
    candles=CandleFacts(
        # ccxt 4.5.90 sends `start_timestamp` and `end_timestamp`, one page apart; the answer has all bars between.
        since="honoured",
        windowed=True,
        # "public/get_tradingview_chart_data": `volume` is in base currency, of every kind of instrument; its example
        # has a bar of volume 0 at the close before it.
        volume={"spot": "base", "linear": "base", "inverse": "base"},
        quiet="rows",
    ),
    # "public/subscribe": the answer has the id of the request and the channels.
    sockets=SocketFacts(acknowledges=True),
)
