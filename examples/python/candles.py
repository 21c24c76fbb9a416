"""Prints candles as a DataFrame, after fetching missing ones: `python candles.py EXCHANGE SYMBOL TIMEFRAME SINCE`."""

import asyncio
import sys

from tickwire.client import TickwireError, connect


async def main(exchange: str, symbol: str, timeframe: str, since: str) -> None:
    async with connect() as client:
        frame = await client.candles(exchange, symbol, timeframe, since)
        print(frame)
        print("complete" if frame.attrs["complete"] else f"missing: {frame.attrs['missing']}")


try:
    asyncio.run(main(*sys.argv[1:]))
except TickwireError as error:
    sys.exit(str(error))
