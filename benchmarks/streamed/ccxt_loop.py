"""The baseline: a loop around ccxt.pro's awaits that publishes to NATS, as one would write it.

`python ccxt_loop.py trade|book GATEWAY NATS_URL SYMBOL,…` publishes on `plain.trade` and `plain.book`. Each symbol has
a task of its own: with `watch_trades_for_symbols`, each await makes a future of every symbol.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import ccxt.pro
import nats
from nats.aio.client import Client

from tickwire.exchange.opening import through_gateway


async def trades(exchange: Any, client: Client, symbol: str) -> None:
    """Publish the trades of a symbol until the process is ended."""
    while True:
        for trade in await exchange.watch_trades(symbol):
            fields = {name: trade[name] for name in ("symbol", "id", "timestamp", "side", "price", "amount")}
            await client.publish("plain.trade", json.dumps(fields).encode())


async def books(exchange: Any, client: Client, symbol: str) -> None:
    """Publish the book of a symbol until the process is ended."""
    while True:
        book = await exchange.watch_order_book(symbol)
        top = {
            "symbol": symbol,
            "timestamp": book["timestamp"],
            "sequence": book["nonce"],
            "bids": book["bids"][:20],
            "asks": book["asks"][:20],
        }
        await client.publish("plain.book", json.dumps(top).encode())


async def main(kind: str, gateway: str, nats_url: str, symbols: str) -> None:
    """Publish until the process is ended."""
    client = await nats.connect(nats_url)
    options = {"fetchMarkets": {"types": ["spot"]}, "watchTrades": {"name": "aggTrade"}}
    # What is not a user's: the exchange is on this machine, and subscribing hundreds of symbols is not measured.
    exchange = ccxt.pro.binance({"rateLimit": 2, "options": options})
    exchange.urls = through_gateway(exchange.urls, gateway)
    await exchange.load_markets()
    publish = trades if kind == "trade" else books
    async with asyncio.TaskGroup() as group:
        for symbol in symbols.split(","):
            group.create_task(publish(exchange, client, symbol))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
