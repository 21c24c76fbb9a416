"""KuCoin: spot and futures."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("kucoin", "kucoinfutures"),
    # Futures, "Match Execution Data" and "Get Trade History": `size` is in lots (contracts). The unit of the volume of
    # futures candles is unknown: a comment in ccxt 4.5.90 `pro/kucoin.py` says that ccxt reads the wrong column.
    # Spot, "Get Trade History": the newest 100 trades, without ids. Live trades have `tradeId` (ccxt 4.5.90
    # `parse_spot_or_uta_trade`).
    trades=TradeFacts(
        ids_shared=False,
        method="newest",
        page=100,
        amount={"spot": "base", "linear": "contracts", "inverse": "contracts"},
    ),
    # Spot, "Get Klines": data may be incomplete, "No data is published for intervals where there are no ticks".
    # ccxt 4.5.90 sends `startAt` and `endAt` (futures: `from` and `to`), the time of one page apart.
    candles=CandleFacts(
        since="honoured",
        windowed=True,
        quiet="none",
        live_volume={"spot": "base"},
        # Spot: weeks open on Thursday at 00:00 UTC, as they are counted from the epoch.
        opens_at={"1w": 0},
    ),
)
