"""The broker's disk is full for a while: services report it, do not hang, and continue."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import nats.errors
import nats.js.errors
import pytest

from pipeline.small_disk import Disk, small_disk
from support.commands import Command, up
from support.hearing import hearing
from support.pipeline import CONFIG, SHORT_S, pipeline
from support.ports import free_port
from support.processes import running_simulator
from tickwire.bus import embedded as embedded_broker
from tickwire.bus.connection import Bus, connect
from tickwire.bus.kept_broker import kept_broker
from tickwire.model.feeds import Feed, Trades
from tickwire.process import children
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

TRADES = Feed("trade", "binance", "BTC/USDT")
PINNED = '[streamer]\nfeeds = ["trade binance BTC/USDT"]\n'
FETCH = ("candles", "fetch", "binance", "BTC/USDT", "1m", "--since", "2024-01-01", "--until", "2024-01-01T01:00")


@pytest.fixture
def disk() -> Iterator[Disk]:
    """What the broker has its data on."""
    with small_disk() as made:
        yield made


async def trades_come(bus: Bus) -> None:
    """Wait until trades do, over a connection that comes back by itself."""
    async with hearing(bus, TRADES.public, Trades) as heard:
        await heard.until_said(lambda said: len([each for each in said if each.trades]) >= 3)


def services(running: Command) -> dict[int, str]:
    """The service processes."""
    found = {each.pid: each.cmdline() for each in running.descendants()}
    return {pid: line[line.index("service") + 1] for pid, line in found.items() if "service" in line and "-m" in line}


@pytest.mark.timeout(400)
async def test_an_embedded_broker_whose_disk_was_full_is_restarted_once_there_is_room(
    disk: Disk, tmp_path: Path
) -> None:
    env = {"TICKWIRE_DATA_DIR": str(disk.folder / "data"), "TICKWIRE_CACHE_DIR": str(tmp_path / "cache")}
    env |= {"TICKWIRE_STREAMER_FEEDS": json.dumps(["trade binance BTC/USDT"])}
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(running_simulator("--live-rate", "200"))
        running = await stack.enter_async_context(up(tmp_path, simulator, env=env))
        url = await running.url()
        bus = await stack.enter_async_context(connect(NatsSettings(url=url), name="hears"))
        await trades_come(bus)
        before = services(running)
        assert set(before.values()) == {"cache", "fetcher", "streamer"}
        disk.fill()
        at = await running.says("nats-server cannot write")
        # Whoever asks is answered.
        ended = await running.run(*FETCH, timeout_s=100)
        assert ended.code != 0
        assert ended.err.startswith("tickwire: "), ended.err
        disk.grow()
        back = await running.says("the broker ended; starting it again", after=at)
        await trades_come(bus)
        assert (await running.run(*FETCH, timeout_s=100)).code == 0
        assert services(running) == before
        assert talk(running.lines[at:back]) == {}


def talk(lines: list[str]) -> dict[str, int]:
    """What was said more than three times of the same thing."""
    said: Counter[str] = Counter()
    for line in lines:
        if line.startswith("{"):
            event = json.loads(line)
            about = ("service", "event", "subject", "lease", "partition", "job")
            said[" ".join(str(event.get(name, "")) for name in about)] += 1
    return {each: count for each, count in said.items() if count > 3}


@asynccontextmanager
async def server(folder: Path, port: int) -> AsyncIterator[None]:
    """A nats-server that nobody watches."""
    config = folder / "nats.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/jetstream" }}\n')
    async with children.child([embedded_broker.server_path(), "-c", config], stderr=children.DEVNULL):
        async with asyncio.timeout(60):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield


@asynccontextmanager
async def stream_of(folder: Path) -> AsyncIterator[Bus]:
    """An embedded broker that is kept alive, and a stream of it."""
    async with (
        kept_broker(folder, None, lambda said: None) as url,
        connect(NatsSettings(url=url, patience_s=60), name="test") as bus,
    ):
        with suppress(nats.js.errors.BadRequestError):
            await bus.jetstream.add_stream(name="KEPT", subjects=["kept"])
        yield bus


async def put(bus: Bus, size: int, timeout_s: float = 60) -> bool:
    """Whether the stream takes so many bytes."""
    try:
        await bus.jetstream.publish("kept", bytes(size), timeout=timeout_s)
    except (nats.errors.Error, TimeoutError):
        return False
    return True


async def test_a_broker_that_holds_much_more_than_is_free_takes_messages_after_a_restart(disk: Disk) -> None:
    async with stream_of(disk.folder) as bus:
        for _ in range(40):
            assert await put(bus, 900_000)
    disk.fill(left=8 << 20)
    async with stream_of(disk.folder) as bus:
        assert await put(bus, 100_000)


async def test_a_broker_that_was_started_on_a_full_disk_takes_messages_once_there_is_room(disk: Disk) -> None:
    async with stream_of(disk.folder) as bus:
        assert await put(bus, 900_000)
    disk.fill(left=3 << 20)
    async with stream_of(disk.folder) as bus, asyncio.timeout(100):
        while await put(bus, 100_000, 1):
            pass
        disk.grow()
        while not await put(bus, 900_000, 1):
            await asyncio.sleep(0.2)


async def health(port: int) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/health/ready") as answer:
        found: dict[str, Any] = await answer.json()
        return found


async def until_health(port: int, what: str | None) -> str:
    """Wait until a check fails, or none; its reason."""
    found: dict[str, Any] = {}
    async with asyncio.timeout(120):
        while True:
            found = await health(port)
            if found["ready"] if what is None else what in found.get("failing", {}):
                return str(found.get("failing", {}).get(what))
            await asyncio.sleep(0.2)


@pytest.mark.timeout(400)
async def test_with_an_external_broker_readiness_says_that_it_must_be_restarted(disk: Disk, tmp_path: Path) -> None:
    port, metrics = free_port(), free_port()
    url = f"nats://127.0.0.1:{port}"
    async with running_simulator("--live-rate", "200") as simulator:
        async with server(disk.folder, port):
            made = pipeline(url, simulator, tmp_path, (), CONFIG + PINNED, SHORT_S)
            line = await made.__aenter__()
            await line.start("streamer", 0, TICKWIRE_METRICS_PORT=str(metrics))
            await trades_come(line.bus)
            await until_health(metrics, None)
            disk.fill()
            assert "restart nats-server" in await until_health(metrics, "storage")
            disk.grow()
            # That is not enough.
            assert "restart nats-server" in await until_health(metrics, "storage")
        async with server(disk.folder, port):
            await until_health(metrics, None)
            await trades_come(line.bus)
            await made.__aexit__(None, None, None)
