"""The baseline: a loop around ccxt.pro's awaits that publishes to NATS, as one would write it.

`python ccxt_loop.py trade|book GATEWAY NATS_URL` publishes on `plain.trade` and `plain.book`.
"""

from __future__ import annotations

import asyncio
import json
import sys

import ccxt.pro
import nats

from tickwire.exchange.opening import through_gateway

SYMBOL = "BTC/USDT"


async def main(kind: str, gateway: str, nats_url: str) -> None:
    """Publish until the process is ended."""
    client = await nats.connect(nats_url)
    exchange = ccxt.pro.binance({"options": {"fetchMarkets": {"types": ["spot"]}, "watchTrades": {"name": "aggTrade"}}})
    # The only thing that is not a user's: the exchange is on this machine.
    exchange.urls = through_gateway(exchange.urls, gateway)
    while kind == "trade":
        for trade in await exchange.watch_trades(SYMBOL):
            fields = {name: trade[name] for name in ("symbol", "id", "timestamp", "side", "price", "amount")}
            await client.publish("plain.trade", json.dumps(fields).encode())
    while True:
        book = await exchange.watch_order_book(SYMBOL)
        top = {
            "symbol": SYMBOL,
            "timestamp": book["timestamp"],
            "sequence": book["nonce"],
            "bids": book["bids"][:20],
            "asks": book["asks"][:20],
        }
        await client.publish("plain.book", json.dumps(top).encode())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
