"""Deribit."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("deribit",),
    # "public/get_last_trades_by_instrument": `amount` is in USD for inverse perpetuals and futures (not in contracts,
    # although they have a contract size), and in base currency for linear ones and spot.
    # Ids are `trade_id` live and by REST. ccxt 4.5.90 `fetch_trades` requests at most 1,000 trades, by time.
    trades=TradeFacts(
        ids="opaque",
        ids_shared=True,
        method="by_time",
        page=1000,
        amount={"spot": "base", "linear": "base", "inverse": "quote"},
    ),
    candles=CandleFacts(
        # ccxt 4.5.90 sends `start_timestamp` and `end_timestamp`, the time of one page apart; the response has all
        # candles between them.
        since="honoured",
        windowed=True,
        # "public/get_tradingview_chart_data": `volume` is in base currency for every kind of instrument. The example
        # there has a candle of volume 0 whose prices are the previous close.
        volume={"spot": "base", "linear": "base", "inverse": "base"},
        quiet="rows",
    ),
    # "public/subscribe": the reply has the id of the request and the channels.
    sockets=SocketFacts(acknowledges=True),
)
