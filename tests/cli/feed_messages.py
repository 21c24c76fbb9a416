"""Messages of live feeds, of fixed data."""

from __future__ import annotations

from typing import Any

from tickwire.model.feeds import Book, Candle, Trade, Trades

NOON = 1_767_268_800_000
"""`date -u -d 2026-01-01T12:00 +%s000`."""


def trade(id_: int = 1, price: float = 60_000.1, amount: float = 0.005, side: Any = "buy", at: int = NOON) -> Trade:
    return Trade(id=str(id_), timestamp=at, side=side, price=price, amount=amount)


def said(*trades: Trade, **more: Any) -> Trades:
    return Trades(exchange="binance", symbol="BTC/USDT", trades=list(trades), received=NOON, **more)


def book(**more: Any) -> Book:
    told: dict[str, Any] = {"state": "live", "bids": [(99.5, 2.0), (99.0, 4.0)], "asks": [(100.0, 1.0), (100.5, 8.0)]}
    return Book(exchange="binance", symbol="BTC/USDT", timestamp=NOON, received=NOON, **(told | more))


def candle(at: int = NOON, **more: Any) -> Candle:
    told: dict[str, Any] = {"open": 1, "high": 4, "low": 0.5, "close": 2, "volume": 7, "trades": 3, "closed": False}
    return Candle(
        exchange="binance", symbol="BTC/USDT", timeframe="1m", timestamp=at, **({"complete": True} | told | more)
    )
