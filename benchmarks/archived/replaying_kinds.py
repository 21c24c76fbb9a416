"""How fast books, tickers and candles are replayed: `benchmarks/archive.py --kinds`."""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from rich.table import Table

from archived.replaying import archive_of, read_bare
from tickwire.bus.connection import Bus
from tickwire.client import Client
from tickwire.client import connect as connect_client
from tickwire.client.replay_publisher import Replay, publish_replay
from tickwire.model.feeds import Feed
from tickwire.model.messages import Coverage, KeyRequest
from tickwire.process import children

ROUNDS = 3
MARKET = ("binance", "BTC/USDT")
FEEDS = {
    "book_delta": Feed("book", *MARKET),
    "ticker": Feed("ticker", *MARKET),
    "candle": Feed("candle", *MARKET, "1s"),
}


async def replayed(client: Client, feed: Feed, since: int, until: int, cadence_ms: int) -> int:
    """One feed, an item at a time."""
    items = 0
    async for _ in client.replay_of([feed], since, until, cadence_ms=cadence_ms):
        items += 1
    return items


async def published(bus: Bus, feed: Feed, since: int, until: int) -> int:
    """One feed on subjects of its own."""
    replay = Replay("benchmark", [feed], since, until, math.inf)
    return (await publish_replay(bus, replay, lambda _: None)).messages


async def cached(bus: Bus, pages: Sequence[bytes], rows: int) -> None:
    """Put pages of candles on their way to the cache, and wait until it has their rows."""
    for page in pages:
        await bus.jetstream.publish("tape.ohlcv.binance.BTC-USDT.1s", page)
    key = KeyRequest(exchange=MARKET[0], symbol=MARKET[1], timeframe="1s")
    async with asyncio.timeout(300):
        while (await bus.service_wait.call(lambda: bus.request("cache.coverage", key, Coverage))).rows < rows:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def measured(
    root: Path, folder: Path, files: dict[str, tuple[Path, int]], pages: Sequence[bytes], since: int, until: int
) -> Table:
    """Archived rows in a second of each way, medians of rounds in which each is done once."""
    table = Table("kind", "way", "rows/s", "of a bare reader", title="replay, as fast as possible")
    async with archive_of(root, folder) as url, connect_client(url) as client:
        env = {**os.environ, "TICKWIRE_NATS_URL": url, "TICKWIRE_DATA_DIR": str(folder / "data")}
        argv = [sys.executable, "-m", "tickwire.cli.main", "service", "cache"]
        with (folder / "cache.log").open("wb") as log:
            async with children.child(argv, env=env, stderr=log.fileno()):
                await cached(client.bus, pages, files["candle"][1])
                for kind, (path, rows) in files.items():
                    for name, rate, bare in await rates(client, kind, path, rows, (since, until)):
                        table.add_row(kind, name, f"{rate:,.0f}", f"{rate / bare:.3f}")
    return table


async def rates(
    client: Client, kind: str, path: Path, rows: int, span: tuple[int, int]
) -> list[tuple[str, float, float]]:
    """The ways of a kind, their rows in a second, and those of a bare reader."""
    feed = FEEDS[kind]
    ways: dict[str, Callable[[], Awaitable[int]]] = {
        "a bare reader: Arrow's batches": lambda: asyncio.to_thread(read_bare, path),
        "client.replay": lambda: replayed(client, feed, *span, 100),
        "published on replay.…": lambda: published(client.bus, feed, *span),
    }
    if kind == "book_delta":
        ways["client.replay, each change"] = lambda: replayed(client, feed, *span, 0)
    took: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            await way()
            took.setdefault(name, []).append(rows / (time.perf_counter() - began))
    found = {name: statistics.median(each) for name, each in took.items()}
    bare = next(iter(found.values()))
    return [(name, rate, bare) for name, rate in found.items()]
