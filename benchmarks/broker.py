"""What one stored message costs nats-server: `python benchmarks/broker.py`; see `--help`.

A driver of its own stores messages as a streamer does, in streams as the tape's, republished, with a consumer that
receives all of them; nothing else uses the broker. CPU is that of the nats-server processes, all of a cluster together,
divided by the messages. Three loads: 400 feeds at 5 messages a second each, written as they come (each millisecond);
the same gathered for 5 ms; and 20,000 messages at once. Messages that arrive together cost a server less.

Disk is what the stream says that its messages take, with their subjects and headers: docs/performance.md has the sizing
table that is made of these figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from rich.console import Console
from rich.table import Table

from streamed.harness import cpu_ns, median
from streamed.stored import Batched, Confirmed, Pipelined, Writing
from tickwire.bus import embedded
from tickwire.process import children

CONSOLE = Console(width=None if sys.stdout.isatty() else 150)
ONE_TRADE = 220
"""Bytes of a message of `md.trade` with one trade."""


@dataclass(frozen=True)
class Case:
    """How messages are written and kept."""

    what: str
    writes: str = "confirmed"
    streams: int = 1
    payload: int = ONE_TRADE
    storage: str = "file"
    sync: str = "5s"
    republished: bool = True
    consumer: bool = True
    replicas: int = 1


NOW = Case("one in flight a feed")
EIGHT = Case("pipelined, plain acknowledgements", "pipelined", streams=8)
BATCH = Case("pipelined, batches", "batched", streams=8)
CASES = (
    NOW,
    replace(NOW, what="the same, 8 streams", streams=8),
    replace(EIGHT, what="pipelined, 1 stream", streams=1),
    EIGHT,
    replace(BATCH, what="batches, 1 stream", streams=1),
    BATCH,
    replace(BATCH, what="batches, 1,000 bytes", payload=1000),
    replace(BATCH, what="batches, 10,000 bytes", payload=10_000),
    replace(NOW, what="one in flight, no consumer", consumer=False),
    replace(NOW, what="one in flight, not republished", republished=False, consumer=False),
    replace(NOW, what="one in flight, in memory", storage="memory"),
    replace(NOW, what="one in flight, sync_interval 2m", sync="2m"),
    replace(NOW, what="one in flight, sync_interval always", sync="always"),
    replace(BATCH, what="batches, sync_interval always", sync="always"),
    replace(NOW, what="one in flight, three replicas", replicas=3),
    replace(EIGHT, what="pipelined, three replicas", replicas=3),
    replace(BATCH, what="batches, three replicas", replicas=3),
)


@dataclass(frozen=True)
class Load:
    """So many messages on so many subjects, at once or at a rate (messages a second), then written every `tick_s`."""

    what: str
    count: int
    subjects: int = 400
    rate: float | None = None
    tick_s: float = 0.001


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@asynccontextmanager
async def servers(folder: Path, count: int, sync: str) -> AsyncIterator[tuple[list[int], list[str]]]:
    """Run a server, or a cluster of them; yields their process ids and URLs."""
    ports, routes = free_ports(count), free_ports(count)
    async with AsyncExitStack() as stack:
        pids = []
        for number, (port, route) in enumerate(zip(ports, routes, strict=True)):
            config = folder / f"{number}.conf"
            others = ", ".join(f'"nats://127.0.0.1:{each}"' for each in routes)
            cluster = f'cluster {{ name: "bench", listen: "127.0.0.1:{route}", routes: [{others}] }}\n'
            config.write_text(
                f'listen: "127.0.0.1:{port}"\nserver_name: "bench-{number}"\n'
                f'jetstream {{ store_dir: "{folder / str(number)}", sync_interval: "{sync}" }}\n'
                + (cluster if count > 1 else "")
            )
            argv: list[str | Path] = [embedded.server_path(), "-c", config]
            process = await stack.enter_async_context(children.child(argv, stderr=children.DEVNULL))
            pids.append(process.pid)
        yield pids, [f"nats://127.0.0.1:{port}" for port in ports]


async def connected(urls: list[str]) -> Client:
    """Return a connection; retries while the servers start."""

    async def ignore(_: Exception) -> None:
        pass

    return await nats.connect(urls, error_cb=ignore, max_reconnect_attempts=100, reconnect_time_wait=1)


async def declare(client: Client, case: Case) -> None:
    """Make the streams; retries while a cluster elects a leader."""
    for stream in range(case.streams):
        config = {
            "name": f"BENCH-{stream}",
            "subjects": [f"bench.{stream}.*"],
            "retention": "limits",
            "storage": case.storage,
            "num_replicas": case.replicas,
            "max_age": 0,
            "discard": "old",
            "allow_direct": True,
            "allow_batched": case.writes == "batched",
        }
        if case.republished:
            config["republish"] = {"src": f"bench.{stream}.*", "dest": "md.{{wildcard(1)}}"}
        async with asyncio.timeout(60):
            while True:
                try:
                    answer = await client.request(
                        f"$JS.API.STREAM.CREATE.BENCH-{stream}", json.dumps(config).encode(), timeout=5
                    )
                except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
                    await asyncio.sleep(0.2)
                    continue
                found = json.loads(answer.data)
                if "error" not in found:
                    break
                if found["error"].get("code") != 503:
                    raise RuntimeError(str(found["error"]))
                await asyncio.sleep(0.2)


def writing(client: Client, case: Case, subjects: int) -> Writing:
    """Return the way in which a case writes."""
    payload = b"x" * case.payload
    match case.writes:
        case "confirmed":
            return Confirmed(client, case.streams, payload, subjects)
        case "pipelined":
            return Pipelined(client, case.streams, payload)
        case _:
            return Batched(client, case.streams, payload)


async def send(way: Writing, load: Load) -> None:
    """Write the messages, on each subject in turn, at their rate."""
    began, done = time.monotonic(), 0
    while done < load.count:
        due = load.count if load.rate is None else min(load.count, int((time.monotonic() - began) * load.rate) + 1)
        for number in range(done, due):
            await way.write(number % load.subjects)
        done = due
        if load.rate is not None:
            await asyncio.sleep(load.tick_s)
    await way.finish()


@dataclass(frozen=True)
class Found:
    """CPU of the servers and of the driver for each message (us), messages a second, and bytes on disk for each."""

    broker_us: float
    driver_us: float
    rate: float
    disk: float


async def measured(folder: Path, case: Case, load: Load) -> Found:
    """Measure one load on new servers."""
    place = Path(tempfile.mkdtemp(dir=folder))
    received = 0

    async def take(_: Msg) -> None:
        nonlocal received
        received += 1

    async with servers(place, case.replicas, case.sync) as (pids, urls):
        client, reader = [await connected(urls) for _ in range(2)]
        await declare(client, case)
        if case.consumer and case.republished:
            await reader.subscribe("md.>", cb=take, pending_bytes_limit=1 << 30)
            await reader.flush()
        # The servers' own start, and in a cluster the election of leaders.
        await asyncio.sleep(1.0 if case.replicas == 1 else 3.0)
        used, own, began = sum(map(cpu_ns, pids)), time.process_time_ns(), time.monotonic()
        await send(writing(client, case, load.subjects), load)
        took = time.monotonic() - began
        # A server syncs a little later, and the consumer shares the core of the driver.
        await asyncio.sleep(0.5)
        async with asyncio.timeout(60):
            while case.consumer and case.republished and received < load.count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        used, own = sum(map(cpu_ns, pids)) - used, time.process_time_ns() - own
        state = [await client.jetstream().stream_info(f"BENCH-{number}") for number in range(case.streams)]
        await client.close()
        await reader.close()
    messages = sum(each.state.messages for each in state)
    assert messages >= load.count, f"{messages} of {load.count} stored"
    each = 1e3 * messages
    return Found(used / each, own / each, messages / took, sum(each.state.bytes for each in state) / messages)


async def main(options: argparse.Namespace) -> None:
    """Measure every case with both loads, in rounds; print medians."""
    loads = (
        Load("400 feeds at 5/s", int(2000 * options.seconds), rate=2000.0),
        Load("every 5 ms", int(2000 * options.seconds), rate=2000.0, tick_s=0.005),
        Load(f"{options.burst:,} at once", options.burst),
    )
    chosen = [case for case in CASES if options.only is None or options.only in case.what]
    results: dict[tuple[Case, Load], list[Found]] = {(case, load): [] for case in chosen for load in loads}
    with tempfile.TemporaryDirectory(prefix="tickwire-bench-", ignore_cleanup_errors=True) as folder:
        for _ in range(options.rounds):
            for (case, load), found in results.items():
                found.append(await measured(Path(folder), case, load))
    CONSOLE.print(tabled(chosen, loads, results))


def tabled(chosen: Sequence[Case], loads: Sequence[Load], results: dict[tuple[Case, Load], list[Found]]) -> Table:
    """Return the table of medians."""
    table = Table(title=f"CPU of nats-server for each stored message, us; {os.cpu_count()} cores")
    for column in ("case", "streams", "bytes", *(each.what for each in loads), "driver us", "at once/s", "disk bytes"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for case in chosen:
        steady, gathered, burst = (results[case, load] for load in loads)
        table.add_row(
            case.what,
            str(case.streams),
            f"{case.payload:,}",
            f"{median([each.broker_us for each in steady]):.1f}",
            f"{median([each.broker_us for each in gathered]):.1f}",
            f"{median([each.broker_us for each in burst]):.1f}",
            f"{median([each.driver_us for each in burst]):.0f}",
            f"{median([each.rate for each in burst]):,.0f}",
            f"{median([each.disk for each in steady]):,.0f}",
        )
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of the steady rate")
    parser.add_argument("--burst", type=int, default=20_000, help="messages at once")
    parser.add_argument("--only", metavar="TEXT", help="only the cases whose names contain it")
    asyncio.run(main(parser.parse_args()))
