"""What tests of the Python client ask of the pipeline behind it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from support.hearing import reports
from support.pipeline import Pipeline
from tickwire.model.feeds import Feed
from tickwire.process import children

MINUTE = 60_000
HOUR = 3_600_000
DAY = 24 * HOUR

FOLLOWER = (
    "import asyncio, sys\n"
    "from tickwire.client import connect\n"
    "async def main():\n"
    "    async with connect(sys.argv[1]) as client:\n"
    "        async for trade in client.trades('binance', sys.argv[2]):\n"
    "            print(trade.id, flush=True)\n"
    "asyncio.run(main())\n"
)
"""Prints the id of each trade."""


async def now(line: Pipeline) -> int:
    """The exchange's time, ms."""
    clock: int = (await line.simulator.clock())["now"]
    return clock


async def source(line: Pipeline, symbol: str, timeframe: str, since: int, until: int) -> list[list[float]]:
    """The exchange's own candles that open in `[since, until)`."""
    found = await line.simulator.truth("candles", symbol=symbol, timeframe=timeframe, since=since, until=until)
    return [[row[0], *map(float, row[1:6])] for row in found]


async def until_released(line: Pipeline, feed: Feed, timeout_s: float = 100) -> None:
    """Wait until nobody is interested in a feed; asked again, because no message says so to everyone.

    Within 5 s, so half its TTL, it was released; later it may have expired.
    """
    async with asyncio.timeout(timeout_s):
        while any(report.feed == feed for report in await reports(line.bus)):
            await asyncio.sleep(0.05)


def program(line: Pipeline, text: str, *arguments: str) -> AbstractAsyncContextManager[children.Process]:
    """A process that runs a program with the broker's URL and `arguments` in `sys.argv`."""
    argv: list[str | Path] = [sys.executable, "-c", text, line.bus.url, *arguments]
    return children.child(argv, stdout=children.PIPE)
