"""Contracts of the simulated exchanges: unmodified ccxt reads their sizes, trades and candles."""

from __future__ import annotations

from decimal import Decimal

import pytest

from support.simulated import client, simulated

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
MINUTE = 60_000
SYMBOLS = [{"symbol": "BTC/USDT", "price": 60_000, "tick": "0.1", "lot": "1", "amount": 3, "history_rate": 4}]
MARKETS = [
    ("okx", "BTC/USDT:USDT", 0.01, "linear"),
    ("okx", "BTC/USD:BTC", 100, "inverse"),
    ("binancecoinm", "BTC/USD:BTC", 100, "inverse"),
    ("binance", "BTC/USD:BTC", 100, "inverse"),
]


@pytest.mark.parametrize(("exchange", "symbol", "size", "kind"), MARKETS)
async def test_ccxt_reads_contracts_their_trades_and_the_base_volume_of_their_candles(
    exchange: str, symbol: str, size: float, kind: str
) -> None:
    async with simulated(now=NOW, symbols=SYMBOLS) as running, client(running.url, exchange) as venue:
        market = (await venue.load_markets())[symbol]
        assert (market["swap"], market[kind], market["contractSize"]) == (True, True, size)
        since = NOW // MINUTE * MINUTE - 3 * MINUTE
        candles = [row for row in await venue.fetch_ohlcv(symbol, "1m", since, 3) if row[0] < since + 3 * MINUTE]
        assert [row[0] for row in candles] == [since, since + MINUTE, since + 2 * MINUTE]
        trades = await venue.fetch_trades(symbol, limit=100)
        assert all(float(trade["amount"]).is_integer() for trade in trades)
        for row in candles:
            inside = [trade for trade in trades if row[0] <= trade["timestamp"] < row[0] + MINUTE]
            assert inside
            amounts = [Decimal(str(size)) * Decimal(str(trade["amount"])) for trade in inside]
            if kind == "inverse":
                amounts = [held / Decimal(str(each["price"])) for held, each in zip(amounts, inside, strict=True)]
            assert row[5] == pytest.approx(float(sum(amounts)), abs=1e-7)
            if kind == "linear":
                assert row[5] == float(sum(amounts))


@pytest.mark.parametrize(("exchange", "symbol", "size", "kind"), MARKETS)
async def test_ccxt_watches_contracts(exchange: str, symbol: str, size: float, kind: str) -> None:
    named = {"watchTrades": {"name": "aggTrade"}}
    options = named if exchange.startswith("binance") else {}
    async with (
        simulated(now=NOW, speed=1, symbols=SYMBOLS, live_rate=20) as running,
        client(running.url, exchange, pro=True, newUpdates=True, options=options) as venue,
    ):
        seen = await venue.watch_trades(symbol)
        assert all(float(trade["amount"]).is_integer() for trade in seen)
        assert (await venue.watch_ohlcv(symbol, "1m"))[-1][0] == NOW // MINUTE * MINUTE
