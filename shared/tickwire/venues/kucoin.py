"""KuCoin: spot and futures."""

from __future__ import annotations

from tickwire.venues.profile import CandleFacts, Profile, TradeFacts

PROFILE = Profile(
    exchanges=("kucoin", "kucoinfutures"),
    # Futures, "Match Execution Data" and "Get Trade History": `size` is in lots (contracts). Of futures candles the
    # column that ccxt 4.5.90 reads is said to be wrong by its own comment in `pro/kucoin.py`: unknown.
    # Spot, "Get Trade History": the newest 100, without ids; live they have `tradeId` (ccxt 4.5.90,
    # `parse_spot_or_uta_trade`).
    trades=TradeFacts(
        ids_shared=False,
        method="newest",
        page=100,
        amount={"spot": "base", "linear": "contracts", "inverse": "contracts"},
    ),
    # Spot, "Get Klines": the data may be incomplete, "No data is published for intervals where there are no ticks".
    # ccxt 4.5.90 sends `startAt` and `endAt` (futures: `from` and `to`), one page apart.
    candles=CandleFacts(
        since="honoured",
        windowed=True,
        quiet="none",
        live_volume={"spot": "base"},
        # Spot: weeks open on Thursday, 00:00 UTC, like the epoch.
        opens_at={"1w": 0},
    ),
)
