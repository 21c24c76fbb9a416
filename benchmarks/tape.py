"""CPU for each message on the tape, in one run: `python benchmarks/tape.py [--messages 20000] [--rounds 3]`.

`TapeWriter` has one message of a subject in flight: one subject, or 64 side by side. `PartitionWriter` has all
subjects in one pipeline, in fast-ingest batches or one by one. The stream is on file storage of an embedded broker. The
broker's time is that of its process. Rounds alternate; medians are what to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tickwire.bus import embedded, tape_streams
from tickwire.bus.connection import Bus, connect
from tickwire.settings import NatsSettings, TapeSettings
from tickwire.tape.partition_writer import open_partition_writer
from tickwire.tape.writer import open_writer

CONFIG = tape_streams.of_partitions(TapeSettings(), batches=True, former=False)[0]
STREAM = "TRADES-0"
SUBJECTS = [f"tape.trade.0.binance.S{number}-USDT" for number in range(64)]
DATA = (
    b'{"exchange":"binance","symbol":"BTC/USDT","trades":[{"id":"1","timestamp":1700000000000,"side":"buy",'
    b'"price":1.5,"amount":2.5}],"received":1700000000001}'
)


async def owned() -> None:
    """The partition is this benchmark's."""


async def by_one_tape_writer(bus: Bus, messages: int) -> None:
    """A message at a time."""
    writer, _ = await open_writer(bus, STREAM, SUBJECTS[0], owned)
    for _ in range(messages):
        await writer.append(DATA)


async def by_tape_writers(bus: Bus, messages: int) -> None:
    """A writer for each subject."""

    async def one(subject: str) -> None:
        writer, _ = await open_writer(bus, STREAM, subject, owned)
        for _ in range(messages // len(SUBJECTS)):
            await writer.append(DATA)

    async with asyncio.TaskGroup() as group:
        for subject in SUBJECTS:
            group.create_task(one(subject))


def by_partition_writer(batches: bool, together: int) -> Callable[[Bus, int], Awaitable[None]]:
    """One writer for all, `together` messages in one turn of the loop."""

    async def run(bus: Bus, messages: int) -> None:
        async with open_partition_writer(bus, STREAM, owned, batches=batches) as writer:
            for subject in SUBJECTS:
                await writer.open(subject)
            for number in range(messages):
                if not writer.ready():
                    await writer.room()
                writer.append(SUBJECTS[number % len(SUBJECTS)], DATA)
                if number % together == 0:
                    await asyncio.sleep(0)
            await writer.durable()

    return run


WAYS: dict[str, Callable[[Bus, int], Awaitable[None]]] = {
    "TapeWriter, one after another": by_one_tape_writer,
    "TapeWriter, 64 side by side": by_tape_writers,
    "PartitionWriter, batches, 1 a turn": by_partition_writer(True, 1),
    "PartitionWriter, batches, 20 a turn": by_partition_writer(True, 20),
    "PartitionWriter, one in flight": by_partition_writer(False, 20),
}


def own_cpu_s() -> float:
    """CPU time of this process, s."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(folder: Path, messages: int, rounds: int) -> None:
    """Run every way `rounds` times, and print medians."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WAYS}
    async with embedded.embedded(folder) as url, connect(NatsSettings(url=url), name="benchmark") as bus:
        server = next(each for each in psutil.Process().children(recursive=True) if "nats-server" in each.name())
        for _ in range(rounds):
            for name, way in WAYS.items():
                await bus.jetstream.add_stream(CONFIG)
                broker = sum(server.cpu_times()[:2])
                own, began = own_cpu_s(), time.perf_counter()
                await way(bus, messages)
                took = time.perf_counter() - began
                found[name].append((own_cpu_s() - own, sum(server.cpu_times()[:2]) - broker, took))
                assert (await bus.jetstream.stream_info(STREAM)).state.messages >= messages - len(SUBJECTS)
                await bus.jetstream.delete_stream(STREAM)
    table = Table("way", "client us", "broker us", "messages/s", title=f"{messages:,} messages of {len(DATA)} bytes")
    for name, times in found.items():
        client, broker, took = (statistics.median(each) for each in zip(*times, strict=True))
        table.add_row(name, *(f"{each / messages * 1e6:.1f}" for each in (client, broker)), f"{messages / took:,.0f}")
    Console(width=120).print(table)


def main() -> None:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), options.messages, options.rounds))


if __name__ == "__main__":
    main()
