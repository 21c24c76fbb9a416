"""All services under load: 8 symbols x 3 timeframes x 2 exchanges, history and live feeds together.

    python benchmarks/load.py                     # CPU, memory and longest stall of each service, also in CPU time
    python benchmarks/load.py --profile           # also where the time goes, by py-spy
    python benchmarks/load.py --level debug       # what debug logs cost

Live: trades, order books and candles of three timeframes of every symbol, at `--rate` trades a second each. History:
all 48 keys are fetched meanwhile. A sink writes everything into an InfluxDB 1.x where influxd is installed (Debian:
influxdb). Each service is scraped every 5 s, as by deploy/prometheus. docs/performance.md quotes the results.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import aiohttp
import psutil
from nats.aio.msg import Msg
from rich.console import Console
from rich.table import Table

from backfill import ready
from streamed.harness import trade_messages
from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.client import interest
from tickwire.model import feeds as feeds_
from tickwire.model import messages, subjects
from tickwire.model.feeds import FeedList, FeedsRequest, StartRequest
from tickwire.model.messages import FetchAccepted, FetchRequest, Job
from tickwire.model.subjects import Key
from tickwire.process import children
from tickwire.settings import NatsSettings

# How influxd is started stands in the tests.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.influx import influxdb
from support.ports import free_port

MINUTE = 60_000
EXCHANGES = ("binance", "binanceus")
SYMBOLS = 8
TIMEFRAMES = ("1m", "5m", "15m")
SERVICES: tuple[str, ...] = ("cache", "fetcher", "streamer")
SCRAPE_S = 5.0
SINK = """
[sink]
url = "{url}"
version = 1
"""
CONFIG = """
[log]
stalls = true
level = "{level}"
[exchange.binance]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false, options = {{ fetchMarkets = {{ types = ["spot"] }} }} }}
[exchange.binanceus]
gateway = "{gateway}"
ccxt = {{ enableRateLimit = false, options = {{ fetchMarkets = {{ types = ["spot"] }} }} }}
"""


@dataclass
class Service:
    """A service process, what it used before the load, and the file of its profile."""

    name: str
    pid: int
    log: Path
    profile: Path
    metrics: str
    """The URL of its metrics."""
    cpu_s: float = 0.0
    log_bytes: int = 0
    rss: int = field(default=0)

    def begin(self) -> None:
        """Remember what was used before the load."""
        self.cpu_s, self.log_bytes = self.cpu(), self.log.stat().st_size

    def cpu(self) -> float:
        """Return the CPU time so far (s)."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system

    def stalls(self, what: str) -> list[float]:
        """Return the longest stall of each second since the load began, ascending (ms); [0] if there is none."""
        text = self.log.read_bytes()[self.log_bytes :].decode(errors="replace")
        return sorted(float(each) for each in re.findall(rf'"{what}": ([\d.]+)', text)) or [0.0]


@asynccontextmanager
async def scraping(services: Sequence[Service]) -> AsyncIterator[Counter[str]]:
    """Scrape the services within the block; yield the size of the last scrape of each (bytes)."""
    found: Counter[str] = Counter()

    async def scrape(http: aiohttp.ClientSession) -> None:
        while True:
            for service in services:
                async with http.get(service.metrics) as answer:
                    answer.raise_for_status()
                    found[service.name] = len(await answer.read())
            await asyncio.sleep(SCRAPE_S)

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        scraper = group.create_task(scrape(http))
        yield found
        scraper.cancel()


async def start_feeds(bus: Bus, symbols: list[str]) -> int:
    """Start all feeds and wait until they are live; return their number."""
    feeds = [
        feeds_.feed(kind, exchange, symbol, timeframe)
        for exchange, symbol in product(EXCHANGES, symbols)
        for kind, timeframe in (("trade", None), ("book", None), *(("candle", each) for each in TIMEFRAMES))
    ]
    for feed in feeds:
        request = StartRequest(
            kind=feed.kind, exchange=feed.exchange, symbol=feed.symbol, timeframe=feed.timeframe, subscriber="load"
        )
        await interest.start(bus, request)
    while True:
        states: Counter[str] = Counter()
        async for part in bus.request_chunks(
            "streamer.list", FeedsRequest(), lambda data: messages.decode(data, FeedList)
        ):
            states.update(each.state for each in part.feeds)
        if states["live"] == len(feeds):
            return len(feeds)
        await asyncio.sleep(0.5)


async def backfill(bus: Bus, symbols: list[str], rows: int) -> tuple[float, int]:
    """Fetch every key; return the seconds until all are durable, and the number of candles."""
    until = int(time.time() * 1000) // (15 * MINUTE) * 15 * MINUTE - 120 * MINUTE
    ended: asyncio.Queue[Job] = asyncio.Queue()

    async def take(message: Msg) -> None:
        job = messages.decode(message.data, Job)
        if job.ended:
            ended.put_nowait(job)

    keys = [Key(*each) for each in product(EXCHANGES, symbols, TIMEFRAMES)]
    began = time.perf_counter()
    for key in keys:
        name = secrets.token_hex(8)
        await bus.subscribe(subjects.job(name), take)
        request = FetchRequest(**key._asdict(), since=until - rows * MINUTE, until=until, id=name)
        await bus.request("fetcher.fetch", request, FetchAccepted, timeout_s=30)
    fetched = 0
    for _ in keys:
        job = await ended.get()
        assert job.complete, job
        fetched += job.rows_fetched
    return time.perf_counter() - began, fetched


ROOT = Path(__file__).parents[1]
# Our source files as py-spy names them: relative to the package.
OURS = {
    str(path.relative_to(root))
    for root in (ROOT / "shared/tickwire", *ROOT.glob("services/*/tickwire"))
    for path in root.rglob("*.py")
    if "cli" not in path.parts and path.name != "lifecycle.py"
}


def report(service: Service, top: int) -> Table:
    """Return a table of a service's time: by our functions on the stack, and by the innermost function."""
    alone: Counter[str] = Counter()
    ours: Counter[str] = Counter()
    total = 0
    for line in service.profile.read_text().splitlines():
        stack, _, number = line.rpartition(" ")
        frames, count = [re.sub(r":\d+\)", ")", frame) for frame in stack.split(";")], int(number)
        total += count
        alone[frames[-1]] += count
        for frame in {each for each in frames if each.rpartition("(")[2].rstrip(")") in OURS}:
            ours[frame] += count
    table = Table(title=f"{service.name}: {total} samples")
    table.add_column("with all it calls")
    table.add_column("share", justify="right")
    table.add_column("by itself")
    table.add_column("share", justify="right")
    for (one, count), (other, times) in zip(ours.most_common(top), alone.most_common(top), strict=False):
        table.add_row(one, f"{count / total:.1%}", other, f"{times / total:.1%}")
    return table


@asynccontextmanager
async def running_services(folder: Path, options: argparse.Namespace) -> AsyncIterator[tuple[Bus, str, list[Service]]]:
    """Run simulator, broker and services within the block; yield the bus, the simulator's URL and the services."""
    async with AsyncExitStack() as stack:
        argv = [sys.executable, "-m", "tickwire.simulator", "--port", "0", "--live-rate", str(options.rate)]
        simulator = await stack.enter_async_context(
            children.child([*argv, "--symbols", str(SYMBOLS)], stdout=children.PIPE)
        )
        assert simulator.stdout is not None
        gateway = json.loads(await simulator.stdout.readline())["url"]
        url = await stack.enter_async_context(embedded.embedded(folder / "nats"))
        bus = await stack.enter_async_context(connect(NatsSettings(url=url), name="load"))
        await streams.declare(bus.jetstream, 8, 2.0)
        config = folder / "tickwire.toml"
        config.write_text(CONFIG.format(gateway=gateway, level=options.level))
        names = SERVICES
        if shutil.which("influxd") is not None:
            database = await stack.enter_async_context(influxdb(folder / "influxdb"))
            config.write_text(config.read_text() + SINK.format(url=database.url))
            names = (*SERVICES, "sink")
        env = os.environ | {"TICKWIRE_CONFIG": str(config), "TICKWIRE_NATS_URL": url, "TICKWIRE_DATA_DIR": str(folder)}
        services = []
        for name in names:
            log, port = folder / f"{name}.log", free_port()
            with log.open("wb") as file:
                process = await stack.enter_async_context(
                    children.child(
                        [sys.executable, "-m", "tickwire.cli.main", "service", name],
                        env=env | {"TICKWIRE_METRICS_PORT": str(port)},
                        stderr=file.fileno(),
                    )
                )
            raw, metrics = (options.profile or folder) / f"{name}.raw", f"http://127.0.0.1:{port}/metrics"
            services.append(Service(name, process.pid, log, raw, metrics))
        for name in names:
            await ready(bus, name)
        yield bus, gateway, services


async def record_profiles(
    services: Sequence[Service], folder: Path, seconds: float
) -> list[asyncio.subprocess.Process]:
    """Start py-spy for each service; it writes the service's profile after `seconds`."""
    folder.mkdir(exist_ok=True)
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if spy is None:
        raise SystemExit("py-spy is not installed: pip install py-spy")
    return [
        await asyncio.create_subprocess_exec(
            spy, "record", "--pid", str(each.pid), "--rate", "50", "--format", "raw", "--nonblocking",
            "--duration", str(int(seconds)), "--output", str(each.profile),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )
        for each in services
    ]  # fmt: skip


COLUMNS = (
    *("service", "CPU s", "of a core", "memory MiB", "longest stall ms", "median stall ms"),
    *("most CPU of a stall ms", "median", "log MiB", "scrape KiB"),
)


def costs(title: str, services: Sequence[Service], elapsed: float, scraped: Counter[str]) -> Table:
    """Return a table of what each service used since the load began."""
    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "service" else "right")
    for service in services:
        stalls, of_cpu = service.stalls("longest_stall_ms"), service.stalls("stall_cpu_ms")
        cpu = service.cpu() - service.cpu_s
        table.add_row(
            service.name,
            f"{cpu:.1f}",
            f"{cpu / elapsed:.0%}",
            f"{psutil.Process(service.pid).memory_info().rss / 2**20:.0f}",
            f"{stalls[-1]:.1f}",
            f"{stalls[len(stalls) // 2]:.1f}",
            f"{of_cpu[-1]:.1f}",
            f"{of_cpu[len(of_cpu) // 2]:.1f}",
            f"{(service.log.stat().st_size - service.log_bytes) / 2**20:.1f}",
            f"{scraped[service.name] / 2**10:.0f}",
        )
    return table


async def main(options: argparse.Namespace) -> None:
    """Run the load; print what each service used, and with `--profile` where its time went."""
    folder = Path(tempfile.mkdtemp(prefix="tickwire-load-"))
    console = Console(width=200)
    async with running_services(folder, options) as (bus, gateway, services):
        symbols = sorted(await known_symbols(gateway))[:SYMBOLS]
        assert len(symbols) == SYMBOLS
        feeds = await start_feeds(bus, symbols)
        recorders = []
        if options.profile is not None:
            recorders = await record_profiles(services, options.profile, options.seconds)
        for service in services:
            service.begin()
        async with scraping(services) as scraped:
            before = await trade_messages(bus)
            began = time.perf_counter()
            took, fetched = await backfill(bus, symbols, options.rows)
            await asyncio.sleep(max(0.0, options.seconds - (time.perf_counter() - began)))
            elapsed = time.perf_counter() - began
            appended = await trade_messages(bus) - before
            load = f"{feeds} feeds at {options.rate:g} trades/s a symbol"
            console.print(costs(f"{load}, {options.level} logs, {elapsed:.0f} s", services, elapsed, scraped))
        console.print(f"history: {fetched:,} candles of 48 keys durable after {took:.1f} s ({fetched / took:,.0f}/s)")
        console.print(f"live: {appended / elapsed:,.0f} messages of trades a second")
        for recorder in recorders:
            await recorder.wait()
        for service in services if recorders else ():
            console.print(report(service, options.top))
    shutil.rmtree(folder)


async def known_symbols(gateway: str) -> list[str]:
    """Return the simulator's spot markets."""
    async with aiohttp.ClientSession() as http, http.get(f"{gateway}/api.binance.com/api/v3/exchangeInfo") as answer:
        markets = (await answer.json())["symbols"]
    return [f"{each['baseAsset']}/{each['quoteAsset']}" for each in markets]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50, help="trades a second of each symbol (50)")
    parser.add_argument("--seconds", type=float, default=40, help="shortest duration (40)")
    parser.add_argument("--rows", type=int, default=20_000, help="minutes of history of each key (20,000)")
    parser.add_argument("--level", default="info", choices=["debug", "info", "warning"], help="of the logs (info)")
    parser.add_argument(
        "--profile", nargs="?", type=Path, const=Path("load-profile"), help="folder for py-spy's stacks"
    )
    parser.add_argument("--top", type=int, default=14, help="rows of a profile (14)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    asyncio.run(main(given))
