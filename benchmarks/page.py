"""What tabs of the page cost the services: `python benchmarks/page.py`; see `--help`.

Real processes on a simulated market (`--rate` trades a second, trades, book and candles of one market run). In turns of
`--seconds`: no tab, one tab in Chromium, and `--tabs` of them, each on the market with chart, tape and book. Then the
same number of WebSockets without a browser, because twenty tabs that are drawn take what this machine has of cores.
Shown is the CPU of each process, in % of a core, and the time from a trade's receipt by the streamer to a consumer;
each also as a ratio to no tab. Needs Chromium (Debian: chromium).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import psutil
from nats.aio.msg import Msg
from rich.console import Console
from rich.table import Table

from tickwire.bus import embedded
from tickwire.client import interest
from tickwire.model import messages
from tickwire.model.feeds import Feed, Trades

# How services, the simulator and Chromium are started stands in the tests.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
from docs.browser import FLAGS
from support.pipeline import CONFIG, Pipeline, pipeline
from support.ports import free_port
from support.processes import Program, running_simulator

SERVICES = ("cache", "fetcher", "streamer", "web")
BTC = Feed("trade", "binance", "BTC/USDT")
FEEDS = (BTC, Feed("book", "binance", "BTC/USDT"), Feed("candle", "binance", "BTC/USDT", "1m"))
ADDRESS = "/market?m=binance+BTC/USDT+1m"
WATCHED = ["market?exchange=binance&symbol=BTC%2FUSDT", "chart?exchange=binance&symbol=BTC%2FUSDT&timeframe=1m"]


class Turn(NamedTuple):
    """What one turn measured: CPU (% of a core) by process, and lags (ms)."""

    cpu: dict[str, float]
    p50: float
    p99: float


class Bench:
    """The running pipeline, and what it is measured by."""

    def __init__(self, line: Pipeline, seconds: float) -> None:
        self.line = line
        self.seconds = seconds
        self.processes = {service: psutil.Process(line.running[f"{service}-0"].process.pid) for service in SERVICES}
        broker = next(each for each in psutil.Process().children(recursive=True) if "nats-server" in each.name())
        self.processes["broker"] = broker
        self.lags: list[float] = []

    async def heard(self, message: Msg) -> None:
        """Note how late a message of trades is."""
        trades = messages.decode(message.data, Trades)
        self.lags.append(time.time() * 1000 - trades.received)

    async def turn(self) -> Turn:
        """Measure for a while."""
        before = {name: each.cpu_times() for name, each in self.processes.items()}
        self.lags.clear()
        began = time.monotonic()
        await asyncio.sleep(self.seconds)
        took = time.monotonic() - began
        cpu = {
            name: 100 * (sum(each.cpu_times()[:2]) - sum(before[name][:2])) / took
            for name, each in self.processes.items()
        }
        lags = sorted(self.lags)
        return Turn(cpu, lags[len(lags) // 2], lags[len(lags) * 99 // 100])


@asynccontextmanager
async def tabs(url: str, folder: Path, count: int) -> AsyncIterator[None]:
    """So many tabs of a Chromium on the market, all of which have drawn their chart."""
    folder.mkdir()
    argv = ["chromium", *FLAGS, f"--user-data-dir={folder}", *[f"{url}{ADDRESS}"] * count]
    async with Program(argv, folder / "log"), aiohttp.ClientSession(url) as http:
        port = folder / "DevToolsActivePort"
        async with asyncio.timeout(300):
            # Chromium announces nothing.
            while not (port.exists() and port.read_text().count("\n")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            base = f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
            while True:
                async with http.get(f"{base}/json/list") as answer:
                    opened = [each for each in await answer.json(content_type=None) if each["type"] == "page"]
                if sum(each["title"].startswith("Market") for each in opened) >= count:
                    break
                await asyncio.sleep(0.2)
        yield


@asynccontextmanager
async def sockets(url: str, count: int) -> AsyncIterator[None]:
    """As many WebSockets that take everything."""

    async def taking(socket: aiohttp.ClientWebSocketResponse) -> None:
        async for _ in socket:
            pass

    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(url))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = []
        for _ in range(count):
            socket = await stack.enter_async_context(http.ws_connect("/live", max_msg_size=0))
            await socket.send_json({"watch": WATCHED})
            tasks.append(group.create_task(taking(socket)))
        yield
        for each in tasks:
            each.cancel()


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            embedded.embedded(folder / "nats") as broker,
            running_simulator("--live-rate", str(options.rate)) as exchange,
            pipeline(broker, exchange, folder, ("cache", "fetcher", "streamer"), CONFIG) as line,
        ):
            line.env["TICKWIRE_WEB_PORT"] = str(free_port())
            url = f"http://127.0.0.1:{line.env['TICKWIRE_WEB_PORT']}"
            await line.start("web")
            await line.started("web")
            for feed in FEEDS:
                await interest.start(line.bus, interest.start_request(feed, "benchmark", ttl_s=None))
            bench = Bench(line, options.seconds)
            await line.bus.subscribe(BTC.public, bench.heard)
            # Not counted: what is done once.
            await bench.turn()
            turns = {"no tab": await bench.turn()}
            for count in (1, options.tabs):
                async with tabs(url, folder / f"chromium-{count}", count):
                    await asyncio.sleep(5)
                    turns[f"{count} in Chromium"] = await bench.turn()
            async with sockets(url, options.tabs):
                await asyncio.sleep(2)
                turns[f"{options.tabs} WebSockets"] = await bench.turn()
            turns["no tab again"] = await bench.turn()
    show(turns)


def show(turns: dict[str, Turn]) -> None:
    """Print a table; ratios are to the first turn."""
    base = turns["no tab"]
    table = Table("tabs", *base.cpu, "lag p50 ms", "p99 ms", title="CPU in % of a core (ratio to no tab)")
    for name, turn in turns.items():
        cells = [f"{turn.cpu[each]:.1f} ({turn.cpu[each] / max(base.cpu[each], 0.1):.2f})" for each in base.cpu]
        lags = [f"{turn.p50:.1f} ({turn.p50 / base.p50:.2f})", f"{turn.p99:.1f} ({turn.p99 / base.p99:.2f})"]
        table.add_row(name, *cells, *lags)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tabs", type=int, default=20)
    parser.add_argument("--rate", type=int, default=100, help="trades a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each turn")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
