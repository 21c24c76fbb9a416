"""The writer of a partition while its broker dies, is cut off, elects a leader or is full, and while it is paused."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.small_disk import Disk, small_disk
from support import brokers
from support.brokers import Server, as_user
from support.ports import free_port
from support.processes import Program
from support.wires import wire
from tape.partition import BTC, ETH, STREAM, made, stored, texts, writing
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.errors import Fenced
from tickwire.settings import NatsSettings
from tickwire.tape.partition_writer import PartitionWriter
from tickwire.tape.writer import last_message

pytestmark = pytest.mark.faults
BOTH = pytest.mark.parametrize("batches", [True, False])
OWNER = Path(__file__).parent / "partition_owner.py"


@pytest.fixture
def disk() -> Iterator[Disk]:
    """What the broker has its data on."""
    with small_disk() as found:
        yield found


@asynccontextmanager
async def server(folder: Path, store: Path) -> AsyncIterator[Server]:
    """A nats-server that may be killed."""
    port = free_port()
    config = folder / "server.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{store}" }}\n')
    async with Server(folder, config, port) as running:
        yield running


class Appended:
    """What was appended so far, each with the sequence that the writer predicted."""

    def __init__(self, writer: PartitionWriter) -> None:
        self.writer = writer
        self.said: list[tuple[int, str, str]] = []

    async def more(self, count: int) -> None:
        """Append so many, in turns of the loop of their own."""
        for _ in range(count):
            await self.writer.room()
            subject, text = (BTC, ETH)[len(self.said) % 2], f"{len(self.said)}"
            self.said.append((self.writer.append(subject, text.encode()), subject, text))
            if len(self.said) % 10 == 0:
                await asyncio.sleep(0)


@BOTH
async def test_a_broker_that_is_killed_amid_a_pipeline_loses_and_repeats_nothing(tmp_path: Path, batches: bool) -> None:
    async with server(tmp_path, tmp_path / "js") as broker, connect(NatsSettings(url=broker.url), name="owner") as bus:
        await made(bus)
        async with writing(bus, batches=batches) as writer:
            appended = Appended(writer)
            for _ in range(5):
                filling = asyncio.create_task(appended.more(2000))
                before = writer.durable_sequence
                while writer.durable_sequence < before + 500 and not filling.done():
                    await asyncio.sleep(0)
                await broker.kill()
                await broker.start()
                await filling
            await writer.durable()
            assert writer.resent
        assert await stored(bus) == appended.said


@BOTH
async def test_lost_acknowledgements_repeat_nothing(broker: str, batches: bool) -> None:
    async with (
        wire(broker) as line,
        connect(NatsSettings(url=line.url), name="owner") as bus,
        connect(NatsSettings(url=broker), name="reader") as reader,
    ):
        await made(reader)
        async with writing(bus, batches=batches) as writer:
            appended = Appended(writer)
            for turn in range(10):
                line.hold_replies()
                await appended.more(300)
                assert writer.durable_sequence < appended.said[-1][0]
                line.drop()
                async with asyncio.timeout(100):
                    while bus.disconnects == turn or bus.lost.is_set():
                        await asyncio.sleep(0.01)
            await appended.more(100)
            await writer.durable()
        assert await stored(reader) == appended.said


async def test_what_is_held_on_its_way_past_a_doubt_is_stored_once(broker: str) -> None:
    """The former attempt arrives after all, before the one that repeats it."""
    async with wire(broker) as line, connect(NatsSettings(url=line.url), name="owner") as bus:
        await made(bus)
        async with writing(bus) as writer:
            appended = Appended(writer)
            await appended.more(100)
            await writer.durable()
            line.hold()
            await appended.more(500)
            async with asyncio.timeout(100):
                while not writer.doubtful:
                    await asyncio.sleep(0.05)
            line.let_go()
            await writer.durable()
        assert await stored(bus) == appended.said


@pytest.mark.timeout(300)
async def test_a_full_disk_loses_and_repeats_nothing_and_is_told(disk: Disk, tmp_path: Path) -> None:
    async with server(tmp_path, disk.folder / "js") as broker:
        async with connect(NatsSettings(url=broker.url), name="owner") as bus:
            await made(bus)
            async with writing(bus) as writer:
                appended = Appended(writer)
                await appended.more(500)
                await writer.durable()
                disk.fill()
                filling = asyncio.create_task(appended.more(3000))
                async with asyncio.timeout(100):
                    while bus.publisher.storage_error() is None:
                        await asyncio.sleep(0.1)
                disk.grow()
                # nats-server keeps its write error.
                await broker.kill()
                await broker.start()
                await filling
                await writer.durable()
                assert bus.publisher.storage_error() is None
            assert await stored(bus) == appended.said


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[tuple[list[Server], str]]:
    """Three servers with a stream kept by all, and their URL."""
    async with brokers.clustered(folder) as servers:
        url = ",".join(each.url for each in servers)
        async with connect(as_user(url, "operator"), name="operator") as bus:
            async with asyncio.timeout(100):
                await made(bus, replicas=3)
        yield servers, url


async def leader(bus: Bus, servers: list[Server]) -> Server:
    """The server that leads the stream."""
    while True:
        info = await bus.jetstream.stream_info(STREAM)
        if info.cluster is not None and info.cluster.leader:
            return servers[int(info.cluster.leader.removeprefix("nats-")) - 1]
        await asyncio.sleep(0.1)


@pytest.mark.timeout(300)
async def test_elections_amid_a_pipeline_lose_and_repeat_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (servers, url), connect(as_user(url, "operator"), name="owner") as bus:
        async with writing(bus) as writer:
            appended = Appended(writer)
            for _ in range(2):
                victim = await leader(bus, servers)
                filling = asyncio.create_task(appended.more(3000))
                before = len(appended.said)
                while len(appended.said) < before + 1000:
                    await asyncio.sleep(0)
                await victim.kill()
                await filling
                await writer.durable()
                await victim.start()
            assert writer.resent
        assert await stored(bus) == appended.said


@pytest.mark.timeout(300)
async def test_a_cluster_stores_nothing_of_a_former_owner_after_the_hand_over(tmp_path: Path) -> None:
    async with (
        cluster(tmp_path) as (_, url),
        connect(as_user(url, "operator"), name="old") as old,
        connect(as_user(url, "operator"), name="new") as new,
    ):
        for turn in range(5):
            appended: list[Appended] = []
            began = asyncio.Event()

            async def former(appended: list[Appended], began: asyncio.Event) -> None:
                async with writing(old) as writer:
                    appended.append(Appended(writer))
                    while True:
                        await appended[0].more(200)
                        began.set()

            before = len(await stored(new))
            zombie = asyncio.create_task(former(appended, began))
            await began.wait()
            async with writing(new) as writer:
                first = writer.append(BTC, b"new")
                await writer.durable()
                with pytest.raises(Fenced):
                    await zombie
            found = (await stored(new))[before:]
            said = appended[0].said
            assert found == [*said[: len(found) - 1], (first, BTC, "new")], turn


@pytest.mark.timeout(300)
async def test_a_writer_that_is_paused_past_its_session_makes_nothing_public(broker: str, tmp_path: Path) -> None:
    """SIGSTOP with a full pipeline, another owner, SIGCONT."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    async with connect(NatsSettings(url=broker), name="reader") as bus:
        await streams.declare(bus.jetstream, 8, 3.0)
        one = Program([sys.executable, OWNER, broker, "one", "3.0"], tmp_path / "one.log", env)
        async with one, asyncio.timeout(200):
            while not await texts_of(bus, "one"):
                await asyncio.sleep(0.05)
            one.suspend()
            two = Program([sys.executable, OWNER, broker, "two", "3.0"], tmp_path / "two.log", env)
            async with two:
                while not await texts_of(bus, "two"):
                    await asyncio.sleep(0.05)
                one.resume()
                while not {"fenced", "lost"} & set(one.log.split()):
                    await asyncio.sleep(0.05)
                # It would go on as the next owner.
                await one.kill()
                assert await two.stop() == 0
        found = await texts(bus)
    first = found.index("two 0")
    assert found == [
        *(f"one {number}" for number in range(first)),
        *(f"two {number}" for number in range(len(found) - first)),
    ]


async def texts_of(bus: Bus, name: str) -> bool:
    """Whether the last message is of this owner."""
    last = await last_message(bus, STREAM, BTC)
    return last is not None and (last.data or b"").startswith(name.encode())
