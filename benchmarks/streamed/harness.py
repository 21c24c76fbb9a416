"""Shared by all measurements: the venue, the broker, a consumer, CPU time and memory of a process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import sys
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from nats.aio.msg import Msg

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.model.feeds import FeedReport, Kind, StartRequest
from tickwire.process import children
from tickwire.settings import TapeSettings

HERE = Path(__file__).parent
QUIET_S = 1.0
"""After this time without a message the measurement ends."""


def cpu_ns(pid: int) -> int:
    """Return the CPU time, user and system, that a process has used in all its threads (Linux).

    The same as its own getrusage, in nanoseconds and from outside: its CPU clock, see clock_getcpuclockid(3).
    """
    return time.clock_gettime_ns(~pid << 3 | 2)


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process (MiB, Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@dataclass
class Sent:
    """What the venue sent: how many from which number on, when (monotonic ns), and the last number of each symbol."""

    sent: list[tuple[int, int, int]]
    last: list[int]

    @property
    def first(self) -> int:
        return self.sent[0][0]

    @property
    def count(self) -> int:
        return sum(count for _, count, _ in self.sent)

    @property
    def began_ns(self) -> int:
        return self.sent[0][2]


class Venue:
    """The process of the stand-in of Binance."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def send(self, kind: str, count: int, rate: float | None = None, symbols: int = 1) -> Sent:
        """Order frames and wait until they are sent."""
        order = {"kind": kind, "count": count, "rate": rate, "symbols": symbols}
        async with self._session.post(f"{self.url}/do", json=order) as answer:
            return Sent(**await answer.json())

    async def subscribed(self, count: int) -> None:
        """Wait until it has `count` subscriptions. Raises TimeoutError after 30 s and 0.1 s for each."""
        async with asyncio.timeout(30 + count / 10):
            while True:
                async with self._session.post(f"{self.url}/do", json={}) as answer:
                    if await answer.json() == count:
                        return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def open_venue(symbols: int = 1) -> AsyncIterator[Venue]:
    """Run the venue."""
    argv = [sys.executable, "-m", "streamed.venue", str(symbols)]
    env = os.environ | {"PYTHONPATH": str(HERE.parent)}
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        children.child(argv, env=env, stdout=children.PIPE) as process,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        assert process.stdout is not None
        yield Venue(json.loads(await process.stdout.readline())["url"], session)


def configure(folder: Path, gateway: str, nats_url: str, **exchanges: str) -> dict[str, str]:
    """Write a configuration with the spot markets of `exchanges` at `gateway`; returns a service's environment.

    Each exchange is given with further lines of its table for ccxt.
    """
    parts = ["[log]\nstalls = true\n"]
    for exchange, lines in exchanges.items():
        spot = f'{lines}\noptions = {{ fetchMarkets = {{ types = ["spot"] }} }}\n'
        parts.append(f'[exchange.{exchange}]\ngateway = "{gateway}"\n[exchange.{exchange}.ccxt]\n{spot}')
    config = folder / "tickwire.toml"
    config.write_text("".join(parts))
    own = {"TICKWIRE_CONFIG": str(config), "TICKWIRE_NATS_URL": nats_url, "TICKWIRE_DATA_DIR": str(folder)}
    return os.environ | own


@asynccontextmanager
async def streamer(folder: Path, gateway: str, nats_url: str, python: Path) -> AsyncIterator[int]:
    """Run `tickwire service streamer` of an interpreter; yields its process id. Its log is `folder/log`."""
    # Subscribing hundreds of feeds is not what is measured.
    env = configure(folder, gateway, nats_url, binance="rateLimit = 2", okx="")
    argv: list[str | Path] = [python, "-m", "tickwire.cli.main", "service", "streamer"]
    with (folder / "log").open("wb") as log:
        async with children.child(argv, env=env, stderr=log.fileno()) as process:
            yield process.pid


async def start(
    bus: Bus,
    kind: Kind,
    symbol: str,
    *,
    exchange: str = "binance",
    timeframe: str | None = None,
    deltas: bool = False,
) -> None:
    """Start a feed."""
    request = StartRequest(
        kind=kind, exchange=exchange, symbol=symbol, timeframe=timeframe, subscriber="benchmark", deltas=deltas
    )
    while True:
        try:
            await bus.request("streamer.start", request, FeedReport)
        except Exception as error:
            if type(error).__name__ not in ("NoSuchService", "RequestTimeout"):
                raise
            await asyncio.sleep(0.1)
        else:
            return


class Consumer:
    """A plain subscription: keeps what arrives with its time of arrival (monotonic ns). `measures.Follower`."""

    def __init__(self, numbers: Callable[[bytes], list[int]]) -> None:
        self._numbers = numbers
        self._arrived: list[tuple[int, bytes]] = []
        self._news = asyncio.Event()

    async def take(self, message: Msg) -> None:
        """Take a message."""
        self._arrived.append((time.monotonic_ns(), message.data))
        self._news.set()

    async def clear(self) -> None:
        """Forget earlier messages."""
        self._arrived.clear()

    async def until(self, kind: str, last: int) -> None:
        """Wait until a message has the last number, or until no more arrive."""
        # A look at the bytes: decoding each would take the machine's time from what is measured.
        mark = re.compile(rb'"%d"' % last if kind != "depth" else rb":\s?%d," % last)
        looked = 0
        while True:
            while looked < len(self._arrived):
                looked += 1
                if mark.search(self._arrived[looked - 1][1]):
                    return
            self._news.clear()
            try:
                async with asyncio.timeout(QUIET_S):
                    await self._news.wait()
            except TimeoutError:
                return

    async def settled(self) -> None:
        """Wait until no more messages arrive."""
        await self.until("", -1)

    async def got(self) -> tuple[list[tuple[int, int]], int]:
        """Return the numbers with their times of arrival, and the number of messages."""
        found = [(number, at) for at, data in self._arrived for number in self._numbers(data)]
        return found, len(self._arrived)

    def raw(self) -> list[tuple[int, bytes]]:
        """Return the messages and their times of arrival."""
        return self._arrived


def latencies_ms(sent: Sequence[tuple[int, int, int]], got: Sequence[tuple[int, int]]) -> list[float]:
    """Return milliseconds from the write to the socket until the consumer's callback; `got` is (number, when)."""
    firsts = [first for first, _, _ in sent]
    return [(at - sent[bisect_right(firsts, number) - 1][2]) / 1e6 for number, at in got if number >= firsts[0]]


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile; `share` is between 0 and 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def median(values: Sequence[float]) -> float:
    """Return the median, NaN of no values."""
    return statistics.median(values) if values else float("nan")


def stalls(log: Path, since: str = "") -> list[float]:
    """Return the streamer's longest event-loop stall (ms) of each second, from an ISO time on."""
    found = []
    for line in log.read_text().splitlines():
        entry: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
        if "longest_stall_ms" in entry and entry["timestamp"] > since:
            found.append(float(entry["longest_stall_ms"]))
    return found


async def trade_messages(bus: Bus) -> int:
    """Return how many messages of trades were appended so far."""
    names = (f"{streams.TRADES}-{number}" for number in range(TapeSettings().partitions))
    return sum([(await bus.jetstream.stream_info(name)).state.last_seq for name in names])
