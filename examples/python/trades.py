"""Prints live trades as lines of JSON, and counts gaps: `python trades.py EXCHANGE SYMBOL [COUNT]`."""

import asyncio
import sys

import msgspec

from tickwire.client import TickwireError, connect


async def main(exchange: str, symbol: str, count: str = "0") -> None:
    printed = 0
    async with connect() as client, client.trades(exchange, symbol) as trades:
        async for trade in trades:
            print(msgspec.json.encode(trade).decode(), flush=True)
            printed += 1
            if printed == int(count):
                break
        print(f"{printed} trades, gaps: {trades.gaps}", file=sys.stderr)


try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    sys.exit(130)
except TickwireError as error:
    sys.exit(str(error))
