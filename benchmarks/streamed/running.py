"""Starts what is measured: each process on a venue and on a broker of its own, so that each runs alone.

An older version of tickwire runs by the interpreter of its checkout, on a broker with the streams that it makes itself.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from streamed import harness
from streamed.harness import Consumer
from streamed.measures import Subject
from tickwire.bus import embedded
from tickwire.bus.connection import Bus, connect
from tickwire.process import children
from tickwire.settings import NatsSettings

LOOP, OURS, BEFORE = "ccxt.pro loop", "tickwire", "tickwire before"


@dataclass(frozen=True)
class Broker:
    """A broker, its process and a connection to it."""

    bus: Bus
    url: str
    pid: int


@asynccontextmanager
async def open_broker(folder: Path) -> AsyncIterator[Broker]:
    """Run a broker that keeps its data in `folder`."""
    async with embedded.embedded(folder) as url, connect(NatsSettings(url=url), name="benchmark") as bus:
        yield Broker(bus, url, broker_pid(folder))


def broker_pid(folder: Path) -> int:
    """Return the process id of the broker of a folder, which is a child of this process."""
    config = str(folder / "nats-server.conf")
    return next(each.pid for each in psutil.Process().children() if config in each.cmdline())


@dataclass(frozen=True)
class Runner:
    """Starts processes within an AsyncExitStack. `folder` is for their data."""

    folder: Path
    options: argparse.Namespace

    @property
    def versions(self) -> dict[str, Path]:
        """The interpreter of each version of tickwire: this one, and the older one if there is one."""
        before = self.options.before
        return {OURS: Path(sys.executable)} | ({} if before is None else {BEFORE: before})

    async def tickwire(
        self, stack: AsyncExitStack, name: str, subject: str, consumer: Consumer, symbols: int = 1
    ) -> Subject:
        """Run a streamer without feeds, `name` of `versions`; what is published on `subject` goes to `consumer`."""
        venue = await stack.enter_async_context(harness.open_venue(symbols))
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        broker = await stack.enter_async_context(open_broker(folder / "nats"))
        await broker.bus.subscribe(subject, consumer.take)
        running = harness.streamer(folder, venue.url, broker.url, self.versions[name])
        pid = await stack.enter_async_context(running)
        return Subject(name, pid, venue, consumer, broker=broker.pid, bus=broker.bus, log=folder / "log")

    async def loop(self, stack: AsyncExitStack, kind: str, names: Sequence[str], consumer: Consumer) -> Subject:
        """Run the plain loop around ccxt.pro's awaits, one for each of the symbols."""
        venue = await stack.enter_async_context(harness.open_venue(len(names)))
        broker = await stack.enter_async_context(open_broker(Path(tempfile.mkdtemp(dir=self.folder))))
        await broker.bus.subscribe(f"plain.{kind}", consumer.take)
        symbols = ",".join(f"{name}/USDT" for name in names)
        argv: list[str | Path] = [sys.executable, harness.HERE / "ccxt_loop.py", kind, venue.url, broker.url, symbols]
        process = await stack.enter_async_context(children.child(argv))
        await venue.subscribed(len(names))
        return Subject(LOOP, process.pid, venue, consumer, broker=broker.pid, bus=broker.bus)

    async def all(
        self, stack: AsyncExitStack, kind: str, subject: str, parse: Callable[[bytes], list[int]], symbol: str
    ) -> list[Subject]:
        """Run every version of tickwire with a feed of one symbol."""
        found = []
        for name in self.versions:
            ours = await self.tickwire(stack, name, subject, Consumer(parse))
            assert ours.bus is not None
            await harness.start(ours.bus, "book" if kind == "book" else "trade", symbol, deltas=kind == "book")
            await ours.venue.subscribed(1)
            found.append(ours)
        return found
