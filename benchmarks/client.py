"""The Python client against what it stands on, in one run: `python benchmarks/client.py`.

A DataFrame of 100,000 candles through `client.candles(fetch=False)` (broker, cache process, columns) against
`pandas.read_csv` of the cache's own file, when the cache has to parse it and when its columns are kept; and the cost of
a trade in the client's iterator (decoded, holes looked for) against a bare nats-py callback on the same subject that
decodes nothing, and one that decodes with json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nats
import pandas
from nats.aio.msg import Msg
from rich.console import Console
from rich.table import Table

from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.cache import column_index
from tickwire.client import Client, Key
from tickwire.client import connect as connect_client
from tickwire.model import messages, subjects
from tickwire.model.feeds import Feed, FeedReport, StartRequest, StopRequest, Trade, Trades
from tickwire.model.feeds.layout import TapeLayout
from tickwire.model.messages import CandlePage, Row
from tickwire.process import children
from tickwire.settings import NatsSettings

KEY = Key("binance", "BTC/USDT", "1m")
FEED = Feed("trade", "binance", "BTC/USDT")
SUBJECT = TapeLayout(8).place_of(FEED).subject
MINUTE = 60_000
START = 1_700_000_040_000
CONSOLE = Console(width=None if sys.stdout.isatty() else 120)


async def fill(bus: Bus, rows: int) -> None:
    """Store candles in the cache."""
    draw = random.Random(1)
    done = asyncio.Event()
    count = 0

    async def stored(message: Msg) -> None:
        nonlocal count
        count = json.loads(message.data)["total_rows"]
        if count >= rows:
            done.set()

    await bus.subscribe("md.stored.>", stored)
    for first in range(0, rows, 1000):
        price = 60_000.0
        page: list[Row] = []
        for number in range(first, min(first + 1000, rows)):
            price, volume = round(price + draw.uniform(-20, 20), 2), round(draw.uniform(0, 90), 5)
            page.append((START + number * MINUTE, price, price + 5, price - 5, price + 1, volume))
        since, until = page[0][0], page[-1][0] + MINUTE
        message = CandlePage(**KEY._asdict(), since=since, until=until, rows=page)
        await bus.append(subjects.ohlcv(KEY), messages.encode(message), message_id=str(first))
    await done.wait()


async def frames(bus: Bus, folder: Path, rows: int, rounds: int) -> None:
    """Measure the time to a DataFrame: of a file whose columns were not kept yet, then of the same file again."""
    env = {**os.environ, "TICKWIRE_NATS_URL": bus.url, "TICKWIRE_DATA_DIR": str(folder)}
    argv = [sys.executable, "-m", "tickwire.cli.main", "service", "cache"]
    with (folder / "log").open("wb") as log:
        async with children.child(argv, env=env, stderr=log.fileno()):
            await fill(bus, rows)
            path = folder / "cache" / f"{subjects.file_stem(KEY)}.csv"
            kept = path.with_suffix(".columns")
            parsed, ours, theirs, indexed = [], [], [], []
            async with connect_client(bus.url) as client:
                for _ in range(rounds):
                    kept.unlink(missing_ok=True)
                    parsed.append((await timed_frame(client, rows))[1])
                    await until_kept(kept, rows)
                    frame, took = await timed_frame(client, rows)
                    ours.append(took)
                    began = time.perf_counter()
                    plain = pandas.read_csv(path)
                    theirs.append(time.perf_counter() - began)
                    plain.index = pandas.DatetimeIndex(pandas.to_datetime(plain.pop("dates"), unit="ms", utc=True))
                    indexed.append(time.perf_counter() - began)
                    assert (frame.to_numpy() == plain.to_numpy()).all()
            used = kept.stat().st_blocks * 512 / path.stat().st_size
    table = Table(f"a DataFrame of {rows:,} candles", "ms, median", "of read_csv")
    base = statistics.median(theirs)
    measured = {
        "pandas.read_csv": theirs,
        "the same, with its index": indexed,
        "client.candles, the first read": parsed,
        "client.candles": ours,
    }
    for name, times in measured.items():
        table.add_row(name, f"{statistics.median(times) * 1000:.1f}", f"{statistics.median(times) / base:.2f}")
    table.caption = f"kept columns take {used:.0%} of the space of the data file"
    CONSOLE.print(table)


async def timed_frame(client: Client, rows: int) -> tuple[pandas.DataFrame, float]:
    """The DataFrame, and the seconds that it took."""
    began = time.perf_counter()
    frame = await client.candles(*KEY, fetch=False)
    took = time.perf_counter() - began
    assert len(frame) == rows
    return frame, took


async def until_kept(kept: Path, rows: int) -> None:
    """Wait until the cache has kept all columns, so that it does nothing else while the next read is measured."""
    records = -(-rows // column_index.ROWS)
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if kept.exists() and kept.stat().st_size > (records - 1) * column_index.RECORD_BYTES:
            break
    await asyncio.sleep(0.1)


async def publish(bus: Bus, count: int, each: int, last: int) -> int:
    """Publish trades on the tape, several in a message; return the sequence of the last one."""
    for first in range(0, count, each):
        trades = [
            Trade(id=str(n), timestamp=START + n, side="buy", price=60_000.5, amount=0.25)
            for n in range(first, first + each)
        ]
        message = Trades(exchange="binance", symbol="BTC/USDT", trades=trades, received=START)
        headers = {"Nats-Expected-Last-Subject-Sequence": str(last)}
        last = (
            await bus.jetstream.publish(TapeLayout(8).place_of(FEED).subject, messages.encode(message), headers=headers)
        ).seq
    return last


async def iterator(bus: Bus, counts: int, rounds: int) -> None:
    """Return the CPU per trade of a consumer, of stored trades or of live ones."""

    async def accept(request: StartRequest, _call: Call) -> FeedReport:
        return FeedReport(kind="trade", exchange="binance", symbol="BTC/USDT", state="live")

    async def leave(request: StopRequest, _call: Call) -> FeedReport:
        return FeedReport(kind="trade", exchange="binance", symbol="BTC/USDT")

    endpoints: list[Endpoint[Any]] = [
        Endpoint("streamer.start", StartRequest, accept),
        Endpoint("streamer.stop", StopRequest, leave),
    ]
    last = 0
    table = Table("live", "a message has", "us of CPU a trade, median", "of bare nats-py")
    async with serve(bus, "streamer", endpoints, instance="benchmark"):
        for each in (1, 20, 500):
            found: dict[str, list[float]] = {name: [] for name in CONSUMERS}
            for _ in range(rounds):
                for name in CONSUMERS:
                    argv = [sys.executable, __file__, "--consume", name, bus.url, str(counts)]
                    async with children.child(argv, stdout=children.PIPE) as process:
                        assert process.stdout is not None
                        await process.stdout.readline()
                        last = await publish(bus, counts, each, last)
                        found[name].append(float(await process.stdout.readline()))
            base = statistics.median(found["bare nats-py"])
            for name, times in found.items():
                table.add_row(
                    name, f"{each}", f"{statistics.median(times):.2f}", f"{statistics.median(times) / base:.2f}"
                )
            table.add_section()
    CONSOLE.print(table)


CONSUMERS = ("bare nats-py", "nats-py and json", "client.trades", "client.trades, take()")


async def consume(name: str, url: str, count: int) -> None:
    """Print `ready`, then the CPU per trade (us)."""
    seen = 0
    done = asyncio.Event()

    def took(began: int) -> None:
        print((time.process_time_ns() - began) / 1000 / count, flush=True)

    if name.startswith("client"):
        async with connect_client(url) as client, client.trades("binance", "BTC/USDT") as trades:
            began = time.process_time_ns()
            print("ready", flush=True)
            if name == "client.trades":
                async for _ in trades:
                    seen += 1
                    if seen == count:
                        break
            else:
                while seen < count:
                    seen += len(await trades.take())
            took(began)
        return

    async def bare(message: Msg) -> None:
        nonlocal seen
        seen += message.data.count(b'"id"')
        if seen >= count:
            done.set()

    async def decoded(message: Msg) -> None:
        nonlocal seen
        seen += len(json.loads(message.data)["trades"])
        if seen >= count:
            done.set()

    client_ = await nats.connect(url)
    await client_.subscribe(FEED.public, cb=bare if name == "bare nats-py" else decoded)
    await client_.flush()
    began = time.process_time_ns()
    print("ready", flush=True)
    await done.wait()
    took(began)
    await client_.close()


async def main(options: argparse.Namespace) -> None:
    """Run both measurements."""
    print(f"{os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}; medians of {options.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="tickwire-bench-", ignore_cleanup_errors=True) as folder:
        async with (
            embedded.embedded(Path(folder, "nats")) as url,
            connect(NatsSettings(url=url), name="benchmark") as bus,
        ):
            await streams.declare(bus.jetstream, 8, 2.0)
            await frames(bus, Path(folder), options.candles, options.rounds)
            await iterator(bus, options.trades, options.rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candles", type=int, default=100_000)
    parser.add_argument("--trades", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--consume", nargs=3, metavar=("NAME", "URL", "COUNT"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.consume:
        asyncio.run(consume(chosen.consume[0], chosen.consume[1], int(chosen.consume[2])))
    else:
        asyncio.run(main(chosen))
