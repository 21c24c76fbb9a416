"""CPU time of each turn of the fetcher's event loop while it fetches: `python benchmarks/turns.py --jobs 10`.

The metric of the longest stall measures time, in which a busy machine lets a process wait for a core. This is what is
left of it on an idle core: the fetcher runs in this process, and between two turns of its loop the CPU time of its
thread is read. The exchange, the broker and the cache are other processes. `--markets` adds markets to the exchange's
listing. Run it by the interpreter of another checkout to measure that version.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from backfill import BASES, MINUTE, ready, service, through_pipeline
from streamed.harness import configure
from tickwire.bus import embedded, streams
from tickwire.bus.connection import connect
from tickwire.fetcher.service import serve_fetcher
from tickwire.model.subjects import Key
from tickwire.observe.metrics import Metrics
from tickwire.process import children
from tickwire.settings import NatsSettings, load

SHOWN = 5


@asynccontextmanager
async def turns(what: str) -> AsyncIterator[None]:
    """Print the longest turns of the loop within the block, in ms of CPU."""
    spent: list[float] = []

    async def turn() -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            spent.append(now - before)
            before = now

    turning = asyncio.create_task(turn())
    try:
        yield
    finally:
        turning.cancel()
    longest = ", ".join(f"{each * 1000:.1f}" for each in sorted(spent, reverse=True)[:SHOWN])
    print(f"{what}: {sum(each for each in spent if each > 0.0002):.2f} s of CPU; longest turns {longest} ms")


async def main(jobs: int, rows: int, markets: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tickwire-bench-"))
    symbols = [*(f"{base}/USDT" for base in BASES), *(f"C{number}/USDT" for number in range(markets))]
    listed = [part for symbol in symbols for part in ("--symbol", symbol)]
    argv = [sys.executable, "-m", "tickwire.simulator", "--port", "0", *listed]
    until = int(time.time() * 1000) // MINUTE * MINUTE - 60 * MINUTE
    async with (
        children.child(argv, stdout=children.PIPE) as simulator,
        embedded.embedded(folder / "nats") as url,
        connect(NatsSettings(url=url), name="benchmark") as bus,
        connect(NatsSettings(url=url), name="fetcher") as own,
    ):
        assert simulator.stdout is not None
        gateway = json.loads(await simulator.stdout.readline())["url"]
        await streams.declare(bus.jetstream, 8, 2.0)
        env = configure(folder, gateway, url, binance="enableRateLimit = false")
        os.environ.update(env)
        stop = asyncio.Event()
        async with service("cache", sys.executable, env, folder / "cache.log"), asyncio.TaskGroup() as group:
            await ready(bus, "cache")
            group.create_task(serve_fetcher(own, load(), "fetcher-one", stop, Metrics()))
            await ready(bus, "fetcher")
            async with turns(f"the first job, with a listing of {len(symbols)} markets"):
                await through_pipeline(bus, Key("binance", symbols[0], "1m"), until - 5000 * MINUTE, until)
            keys = [Key("binance", symbol, "1m") for symbol in symbols[1 : 1 + jobs]]
            async with turns(f"{jobs} jobs at once, {rows:,} candles each"), asyncio.TaskGroup() as fetches:
                for key in keys:
                    fetches.create_task(through_pipeline(bus, key, until - rows * MINUTE, until))
            stop.set()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10, choices=range(1, len(BASES)))
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--markets", type=int, default=0)
    options = parser.parse_args()
    uvloop.run(main(options.jobs, options.rows, options.markets))
