"""What tabs of the page cost the services: `python benchmarks/page.py`; see `--help`.

Real processes on a simulated market (`--rate` trades a second; trades, book and candles of one market run). In each of
`--rounds`, for `--seconds` each: no tab; one tab with every view (market with chart, tape and book, overview, and
coverage); `--tabs` of them; as many on the market. A tab is a WebSocket that takes everything, in a process of their
own; with `--chromium` those on the market are tabs of one real Chromium, of which one is in front. Shown is the CPU of
each process, in % of a core, and the time from a trade's receipt by the streamer to a consumer: the median of the
rounds, and the median of the ratios to no tab in its round. On a busy machine the lags say nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path

import aiohttp
import psutil
from nats.aio.msg import Msg
from rich.console import Console
from rich.table import Table

from tickwire.bus import embedded
from tickwire.client import interest
from tickwire.model import messages
from tickwire.model.feeds import Feed, Trades
from tickwire.web.board import LINGER_S

# How services, the simulator and Chromium are started stands in the tests.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
from docs.browser import FLAGS
from support.pipeline import CONFIG, Pipeline, pipeline
from support.ports import free_port
from support.processes import Program, running_simulator

SERVICES = ("cache", "fetcher", "streamer")
BTC = Feed("trade", "binance", "BTC/USDT")
FEEDS = (BTC, Feed("book", "binance", "BTC/USDT"), Feed("candle", "binance", "BTC/USDT", "1m"))
ADDRESS = "/market?m=binance+BTC/USDT+1m"
MARKET = [
    "markets",
    "market?exchange=binance&symbol=BTC%2FUSDT",
    "chart?exchange=binance&symbol=BTC%2FUSDT&timeframe=1m",
]
EVERY_VIEW = [*MARKET, "overview", "coverage?days=30"]
OPEN = "every tab was sent something"
NONE, P50, P99 = "no tab", "lag p50 ms", "lag p99 ms"
Turn = dict[str, float]
"""CPU (% of a core) by process, and lags (ms)."""


class Bench:
    """The running pipeline, and what it is measured by."""

    def __init__(self, line: Pipeline, seconds: float) -> None:
        self._seconds = seconds
        self._processes = {name: psutil.Process(line.running[f"{name}-0"].process.pid) for name in (*SERVICES, "web")}
        broker = next(each for each in psutil.Process().children(recursive=True) if "nats-server" in each.name())
        self._processes["broker"] = broker
        self._lags: list[float] = []

    async def heard(self, message: Msg) -> None:
        """Note how late a message of trades is."""
        trades = messages.decode(message.data, Trades)
        self._lags.append(time.time() * 1000 - trades.received)

    async def turn(self) -> Turn:
        """Measure for a while."""
        before = self._cpu_s()
        self._lags.clear()
        began = time.monotonic()
        await asyncio.sleep(self._seconds)
        took = time.monotonic() - began
        found = {name: 100 * (spent - before[name]) / took for name, spent in self._cpu_s().items()}
        lags = sorted(self._lags)
        return found | {P50: lags[len(lags) // 2], P99: lags[len(lags) * 99 // 100]}

    def _cpu_s(self) -> dict[str, float]:
        return {name: sum(each.cpu_times()[:2]) for name, each in self._processes.items()}


@asynccontextmanager
async def sockets(url: str, count: int, watch: list[str]) -> AsyncIterator[None]:
    """So many WebSockets that take everything, in another process: this one hears how late trades are."""
    with tempfile.TemporaryDirectory() as name:
        argv = [sys.executable, __file__, "--taking", url, "--tabs", str(count), *watch]
        async with Program(argv, Path(name) / "log", ready=OPEN):
            yield


async def take(url: str, count: int, watch: list[str]) -> None:
    """Open so many WebSockets, and take what they are sent until this process is stopped."""

    async def taking(socket: aiohttp.ClientWebSocketResponse) -> None:
        async for _ in socket:
            pass

    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(url))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for _ in range(count):
            socket = await stack.enter_async_context(http.ws_connect("/live", max_msg_size=0))
            await socket.send_json({"watch": watch})
            await socket.receive(timeout=60)
            group.create_task(taking(socket))
        print(OPEN, flush=True)


@asynccontextmanager
async def chromium(url: str, count: int) -> AsyncIterator[None]:
    """So many tabs of one Chromium on the market, all of which have loaded it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        argv = ["chromium", *FLAGS, f"--user-data-dir={folder}", f"{url}{ADDRESS}"]
        async with Program(argv, folder / "log"), aiohttp.ClientSession() as http, asyncio.timeout(300):
            port = folder / "DevToolsActivePort"
            # Chromium announces nothing.
            while not (port.exists() and port.read_text().count("\n")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            base = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json"
            for _ in range(count - 1):
                async with http.put(f"{base}/new?{url}{ADDRESS}") as answer:
                    answer.raise_for_status()
            while await loaded(http, base) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
            yield


async def loaded(http: aiohttp.ClientSession, base: str) -> int:
    """How many tabs have drawn the frame of the market's view."""
    async with http.get(f"{base}/list") as answer:
        return sum(each["title"].startswith("Market") for each in await answer.json(content_type=None))


async def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    turns: dict[str, list[Turn]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            embedded.embedded(folder / "nats") as broker,
            running_simulator("--live-rate", str(options.rate)) as exchange,
            pipeline(broker, exchange, folder, SERVICES, CONFIG) as line,
        ):
            line.env["TICKWIRE_WEB_PORT"] = str(free_port())
            url = f"http://127.0.0.1:{line.env['TICKWIRE_WEB_PORT']}"
            await line.start("web")
            await line.started("web")
            for feed in FEEDS:
                await interest.start(line.bus, interest.start_request(feed, "benchmark", ttl_s=None))
            bench = Bench(line, options.seconds)
            await line.bus.subscribe(BTC.public, bench.heard)
            on_market = partial(chromium, url, options.tabs) if options.chromium else None
            cases: dict[str, Callable[[], AbstractAsyncContextManager[None]]] = {
                NONE: nullcontext,
                "1 tab, every view": partial(sockets, url, 1, EVERY_VIEW),
                f"{options.tabs} tabs, every view": partial(sockets, url, options.tabs, EVERY_VIEW),
                f"{options.tabs} tabs, market": on_market or partial(sockets, url, options.tabs, MARKET),
            }
            # Not counted: what is done once.
            await bench.turn()
            for _ in range(options.rounds):
                for case, opened in cases.items():
                    async with opened():
                        await asyncio.sleep(2)
                        turns.setdefault(case, []).append(await bench.turn())
                    # What was watched is read on for a while.
                    await asyncio.sleep(2 * LINGER_S)
    show(turns)


def show(turns: dict[str, list[Turn]]) -> None:
    """Print a table."""
    names = list(turns[NONE][0])
    table = Table("", *names, title="CPU in % of a core, and lags (ratio to no tab)")
    for case, found in turns.items():
        cells = []
        for name in names:
            ratio = statistics.median(
                each[name] / max(0.1, base[name]) for each, base in zip(found, turns[NONE], strict=True)
            )
            cells.append(f"{statistics.median(each[name] for each in found):.1f} ({ratio:.2f})")
        table.add_row(case, *cells)
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taking", help=argparse.SUPPRESS)
    parser.add_argument("watch", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--tabs", type=int, default=20)
    parser.add_argument("--rate", type=int, default=200, help="trades a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chromium", action="store_true", help="tabs on the market are those of a real Chromium")
    options = parser.parse_args()
    work = run(options) if options.taking is None else take(options.taking, options.tabs, options.watch)
    asyncio.run(work)


if __name__ == "__main__":
    main()
