"""How fast archived trades are replayed, from an archive that is another process, over an embedded broker."""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pyarrow.parquet as pq

from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.client import Client, Trade
from tickwire.client import connect as connect_client
from tickwire.client.replay_publisher import Replay, publish_replay
from tickwire.model.feeds import Feed
from tickwire.process import children
from tickwire.settings import NatsSettings, Settings

ROUNDS = 5
Market = tuple[str, str]
COLUMNS = ("id", "timestamp", "side", "price", "amount")


@asynccontextmanager
async def archive_of(root: Path, folder: Path) -> AsyncIterator[str]:
    """The address of a broker with an archive of the files in `root`."""
    async with embedded.embedded(folder / "nats") as url, connect(NatsSettings(url=url), name="benchmark") as bus:
        await streams.declare_for(bus.jetstream, Settings(nats=NatsSettings(url=url)))
        env = {
            **os.environ,
            "TICKWIRE_NATS_URL": url,
            "TICKWIRE_ARCHIVE_ROOT": str(root),
            "TICKWIRE_ARCHIVE_KINDS": '["trade", "book_delta", "ticker"]',
        }
        argv = [sys.executable, "-m", "tickwire.cli.main", "service", "archive"]
        with (folder / "archive.log").open("wb") as log:
            async with children.child(argv, env=env, stderr=log.fileno()), asyncio.timeout(60) as limit:
                while not await bus.request_all("$SRV.PING.archive", wait_s=0.2, most=1):
                    pass
                limit.reschedule(None)
                yield url


def read_bare(path: Path) -> int:
    """A file as Arrow's batches."""
    return sum(batch.num_rows for batch in pq.ParquetFile(path).iter_batches(65_536))


def read_objects(path: Path) -> int:
    """A file as trades: what Python needs to make an object of each row."""
    rows = 0
    for batch in pq.ParquetFile(path).iter_batches(65_536):
        columns = [batch.column(name).to_pylist() for name in COLUMNS if name != "timestamp"]
        times = batch.column("timestamp").cast("int64").to_pylist()
        made = [
            Trade(id=id_, timestamp=at, side=side, price=price, amount=amount)
            for id_, side, price, amount, at in zip(*columns, times, strict=True)
        ]
        rows += len(made)
    return rows


async def replayed(client: Client, market: Market, since: int, until: int) -> int:
    """One feed, a trade at a time."""
    rows = 0
    async for each in client.replay(*market, since, until):
        rows += isinstance(each, Trade)
    return rows


async def replayed_of(client: Client, markets: Sequence[Market], since: int, until: int) -> int:
    """Several feeds on one clock, a trade at a time."""
    rows = 0
    async for each in client.replay_of(markets, since, until):
        rows += isinstance(each.item, Trade)
    return rows


async def published(bus: Bus, market: Market, since: int, until: int) -> int:
    """One feed on subjects of its own."""
    feeds = [Feed("trade", *market)]
    status = await publish_replay(bus, Replay("benchmark", feeds, since, until, math.inf), lambda _: None)
    return status.trades


async def measured(root: Path, folder: Path, files: dict[Market, Path], since: int, until: int) -> dict[str, float]:
    """Rows in a second of each way, medians of rounds in which each is done once."""
    (first, path), *_ = files.items()
    took: dict[str, list[float]] = {}
    async with archive_of(root, folder) as url, connect_client(url) as client:
        ways: dict[str, Callable[[], Awaitable[int]]] = {
            "a bare reader: Arrow's batches": lambda: asyncio.to_thread(read_bare, path),
            "a bare reader: an object each": lambda: asyncio.to_thread(read_objects, path),
            "client.replay": lambda: replayed(client, first, since, until),
            f"client.replay_of, {len(files)} feeds": lambda: replayed_of(client, list(files), since, until),
            "published on replay.…": lambda: published(client.bus, first, since, until),
        }
        for _ in range(ROUNDS):
            for name, way in ways.items():
                began = time.perf_counter()
                rows = await way()
                took.setdefault(name, []).append(rows / (time.perf_counter() - began))
    return {name: statistics.median(rates) for name, rates in took.items()}
