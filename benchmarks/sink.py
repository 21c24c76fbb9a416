"""The sink into a real InfluxDB 1.x, in one run: `python benchmarks/sink.py`; needs influxd (Debian: influxdb).

Trades that are on the tape already, of several symbols, until the sink has acknowledged them all; against a loop that
posts each trade by itself over one kept connection, as first attempts do, into the same database.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import nats.js.errors
from rich.console import Console
from rich.table import Table

from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.model import messages
from tickwire.model.feeds import Feed, Trade, Trades
from tickwire.model.feeds.layout import TapeLayout
from tickwire.model.messages import SinkTotals
from tickwire.process import children
from tickwire.settings import NatsSettings
from tickwire.sink import points

# How influxd is started stands in the tests.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.influx import influxdb

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT")
LAYOUT = TapeLayout(8)
STREAMS = [f"{streams.TRADES}-{number}" for number in range(LAYOUT.partitions)]
START = 1_700_000_000_000
CONSOLE = Console(width=None if sys.stdout.isatty() else 120)


def cpu_ns(pid: int) -> int:
    """Return the CPU time of a process, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def trade(number: int) -> Trade:
    """Return a trade."""
    return Trade(id=str(number), timestamp=START + number, side="buy", price=60_000.5, amount=0.001 + number % 97)


async def fill(bus: Bus, count: int, each: int) -> None:
    """Publish trades on the tape, several in a message."""
    for first in range(0, count, each):
        symbol = SYMBOLS[first // each % len(SYMBOLS)]
        message = Trades(
            exchange="binance", symbol=symbol, trades=[trade(n) for n in range(first, first + each)], received=START
        )
        await bus.jetstream.publish(LAYOUT.place_of(Feed("trade", "binance", symbol)).subject, messages.encode(message))


async def acknowledged(bus: Bus) -> None:
    """Wait until the sink has written the tape."""
    for stream in STREAMS:
        while True:
            try:
                info = await bus.jetstream.consumer_info(stream, "sink")
                state = (await bus.jetstream.stream_info(stream)).state
                if info.ack_floor and info.ack_floor.stream_seq == state.last_seq:
                    break
            except nats.js.errors.NotFoundError:
                pass
            await asyncio.sleep(0.02)


async def sunk(bus: Bus, folder: Path, url: str, count: int, each: int) -> tuple[float, float]:
    """Return trades per second, and CPU per trade (us) of the sink."""
    for stream in STREAMS:
        await bus.jetstream.purge_stream(stream)
    env = {
        **os.environ,
        "TICKWIRE_NATS_URL": bus.url,
        "TICKWIRE_DATA_DIR": str(folder),
        "TICKWIRE_SINK_URL": url,
        "TICKWIRE_SINK_VERSION": "1",
    }
    argv = [sys.executable, "-m", "tickwire.cli.main", "service", "sink"]
    with (folder / "log").open("ab") as log:
        async with children.child(argv, env=env, stderr=log.fileno()) as process:
            # Warm: connected, the database made, a first batch through.
            await fill(bus, each, each)
            await acknowledged(bus)
            process.send_signal(signal.SIGSTOP)
            await fill(bus, count, each)
            began, cpu = time.monotonic(), cpu_ns(process.pid)
            process.send_signal(signal.SIGCONT)
            await acknowledged(bus)
            took = time.monotonic() - began
            return count / took, (cpu_ns(process.pid) - cpu) / 1000 / count


async def one_by_one(http: aiohttp.ClientSession, url: str, count: int) -> tuple[float, float]:
    """Return trades per second, and CPU per trade (us) of a loop that posts each trade."""
    began, cpu = time.monotonic(), time.process_time_ns()
    for number in range(count):
        message = Trades(exchange="binance", symbol="BTC/USDT", trades=[trade(number)], received=START)
        lines, _ = points.of_trades(message, number, SinkTotals(count=number))
        params = {"db": "tickwire", "precision": "ns"}
        async with http.post(f"{url}/write", params=params, data="\n".join(lines)) as done:
            assert done.status == 204, await done.text()
    return count / (time.monotonic() - began), (time.process_time_ns() - cpu) / 1000 / count


async def main(options: argparse.Namespace) -> None:
    """Run both measurements."""
    if shutil.which("influxd") is None:
        print("influxd is not installed: apt-get install influxdb; not measured")
        return
    print(f"{os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}; medians of {options.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="tickwire-bench-", ignore_cleanup_errors=True) as folder:
        async with (
            aiohttp.ClientSession() as http,
            influxdb(Path(folder, "influx")) as database,
            embedded.embedded(Path(folder, "nats")) as nats_url,
            connect(NatsSettings(url=nats_url), name="benchmark") as bus,
        ):
            await streams.declare(bus.jetstream, 8, 2.0)
            results: dict[str, list[tuple[float, float]]] = {}
            for _ in range(options.rounds):
                for each in (100, 10, 1):
                    name = f"sink, {each} trades a message"
                    count = options.trades if each > 1 else options.trades // 5
                    results.setdefault(name, []).append(await sunk(bus, Path(folder), database.url, count, each))
                results.setdefault("a request for each trade", []).append(await one_by_one(http, database.url, 1000))
    table = Table("", "trades/s", "times the loop's", "us of CPU a trade")
    base = statistics.median(speed for speed, _ in results["a request for each trade"])
    for name, found in results.items():
        speed = statistics.median(each for each, _ in found)
        table.add_row(name, f"{speed:,.0f}", f"{speed / base:.1f}", f"{statistics.median(cpu for _, cpu in found):.0f}")
    CONSOLE.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(main(parser.parse_args()))
