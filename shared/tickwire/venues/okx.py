"""OKX and its regional sites."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Older, Profile, SocketFacts, TradeFacts

PROFILE = Profile(
    exchanges=("okx", "okxus", "myokx"),
    # API v5: "Get trades" gives the newest 500, "Get trades history" 100 before an id, three months back; the channel
    # `trades` joins what one taker order did at one price ("Trades channel").
    # Sizes of derivatives are in contracts of `ctVal`, which ccxt takes for `contractSize`.
    trades=TradeFacts(
        ids="opaque",
        ids_shared=True,
        joined_live=True,
        method="newest",
        older=Older(before="after", page=100, params={"method": "publicGetMarketHistoryTrades"}),
        page=500,
        resolution_ms=1,
        amount={"spot": "base", "linear": "contracts", "inverse": "contracts"},
    ),
    # ccxt 4.5.90 `fetch_ohlcv` sends `before` and `after` one page apart; a minute without a trade has a row. Of
    # derivatives `parse_ohlcv` takes index 6, `volCcy`: "the value is the number of base currency"; live it does, too.
    candles=CandleFacts(
        since="honoured",
        windowed=True,
        # "Get candlesticks": `confirm`, "1: K line is completed".
        settle_ms=0,
        quiet="rows",
        volume={"spot": "base", "linear": "base", "inverse": "base"},
        live_volume={"spot": "base", "linear": "base", "inverse": "base"},
    ),
    # API v5, "WebSocket, Subscribe": each channel is answered by `"event":"subscribe"` with its `arg`.
    sockets=SocketFacts(acknowledges=True),
)
