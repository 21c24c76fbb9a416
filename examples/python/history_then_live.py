"""Prints candles of the last 15 minutes, then live ones: `python history_then_live.py EXCHANGE SYMBOL`."""

import asyncio
import sys

from tickwire.client import TickwireError, connect


async def main(exchange: str, symbol: str, closed: str = "0") -> None:
    seen = 0
    async with connect() as client:
        async for candle in client.candles(exchange, symbol, "1m", since="15m"):
            print(candle.timestamp, candle.open, candle.close, "closed" if candle.closed else "open", flush=True)
            seen += candle.closed
            if seen == int(closed):
                break


try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    sys.exit(130)
except TickwireError as error:
    sys.exit(str(error))
