"""Brokers on a store that is not theirs: of one that stood alone, now in a cluster, and the other way round."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from support.brokers import Server
from support.ports import free_port
from support.processes import environment, tickwire
from tape.places import BTC_SUBJECT, TRADES_STREAM
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.bus.requests import retry_jetstream
from tickwire.errors import StorageError
from tickwire.settings import NatsSettings, Settings

pytestmark = pytest.mark.faults

SUBJECT = BTC_SUBJECT


def server(folder: Path, name: str, store: Path, cluster: str = "") -> Server:
    own = folder / name
    own.mkdir(parents=True)
    port = free_port()
    config = own / "nats-server.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\nserver_name: "{name}"\njetstream {{ store_dir: "{store}" }}\n{cluster}'
    )
    return Server(own, config, port)


@asynccontextmanager
async def alone(folder: Path, store: Path) -> AsyncIterator[Server]:
    async with server(folder, "nats-1", store) as broker:
        yield broker


@asynccontextmanager
async def clustered(folder: Path, stores: list[Path]) -> AsyncIterator[list[Server]]:
    routes = [free_port() for _ in stores]
    urls = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    brokers = [
        server(
            folder,
            f"nats-{number}",
            store,
            f'cluster {{ name: "tickwire", listen: "127.0.0.1:{route}", routes: [{urls}] }}\n',
        )
        for number, (store, route) in enumerate(zip(stores, routes, strict=True), 1)
    ]
    async with AsyncExitStack() as stack:
        for broker in brokers:
            await broker.start()
            stack.push_async_callback(broker.stop)
        yield brokers


@asynccontextmanager
async def on(broker: Server) -> AsyncIterator[Bus]:
    async with connect(NatsSettings(url=broker.url), name="test") as bus:
        yield bus


def wanted(replicas: int) -> Settings:
    return Settings(nats=NatsSettings(replicas=replicas))


async def filled(bus: Bus) -> None:
    for number in range(5):
        await bus.append(SUBJECT, b"{}", message_id=str(number))


async def test_declare_refuses_a_cluster_with_a_server_on_the_store_of_a_single_one(
    tmp_path: Path,
) -> None:
    stores = [tmp_path / f"store-{number}" for number in range(3)]
    async with alone(tmp_path / "alone", stores[0]) as broker, on(broker) as bus:
        await streams.declare_for(bus.jetstream, wanted(1))
        await filled(bus)
    async with clustered(tmp_path / "cluster", stores) as brokers:
        env = environment(
            tmp_path, TICKWIRE_NATS_URL=brokers[1].url, TICKWIRE_NATS_REPLICAS="3", TICKWIRE_LEASES_TTL_S="10"
        )
        async with on(brokers[1]) as bus, asyncio.timeout(100):
            # They tell each other what they store now and then.
            while not (await retry_jetstream(bus.jetstream.account_info)).storage:
                await asyncio.sleep(0.05)
        async with asyncio.timeout(100):
            # Until they agree on who leads them.
            while "a store of its own" not in (done := await tickwire(env, "declare")).err:
                assert done.code, done.err
        assert done.code
        (line,) = [each for each in done.err.splitlines() if "tickwire: " in each]
        assert "its store is of a broker that stood alone" in line
        async with on(brokers[2]) as bus:
            assert (await bus.jetstream.account_info()).streams == 0, "one was made"
    # Where it came from, it is as it was.
    async with alone(tmp_path / "again", stores[0]) as broker, on(broker) as bus:
        assert (await bus.jetstream.stream_info(TRADES_STREAM)).state.last_seq == 5
        await streams.declare_for(bus.jetstream, wanted(1))


async def test_declare_refuses_a_single_broker_on_a_store_of_a_cluster_until_that_is_back(
    tmp_path: Path,
) -> None:
    stores = [tmp_path / f"store-{number}" for number in range(3)]
    async with clustered(tmp_path / "cluster", stores) as brokers, on(brokers[0]) as bus:
        await streams.declare_for(bus.jetstream, wanted(3))
        await filled(bus)
        await bus.jetstream.publish("tape.ohlcv.binance.BTC-USDT.1m", b"{}")
        async with asyncio.timeout(100):
            while True:
                info = await bus.jetstream.stream_info("OHLCV")
                if info.cluster and all(each.current for each in info.cluster.replicas or []):
                    break
    async with alone(tmp_path / "alone", stores[0]) as broker, on(broker) as bus:
        # Not only the first time: what was made meanwhile is known again.
        for _ in range(3):
            with pytest.raises(StorageError, match=r"stream \w+ had messages when it was made.*empty store of its own"):
                await streams.declare_for(bus.jetstream, wanted(1))
    async with clustered(tmp_path / "back", stores) as brokers, on(brokers[1]) as bus:
        await streams.declare_for(bus.jetstream, wanted(3))
        assert (await bus.jetstream.stream_info(TRADES_STREAM)).state.messages == 5


async def test_a_stream_that_is_written_to_at_once_and_one_that_was_removed_are_no_others(tmp_path: Path) -> None:
    async with alone(tmp_path / "alone", tmp_path / "store") as broker, on(broker) as bus, on(broker) as other:
        await streams.declare_for(bus.jetstream, wanted(1))
        for turn in range(3):
            await filled(bus)
            for name in streams.names(wanted(1)):
                await bus.jetstream.delete_stream(name)
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    # Accepted from the moment that the stream is there.
                    group.create_task(other.append(SUBJECT, b"{}", message_id=f"{turn} {number}"))
                group.create_task(streams.declare_for(bus.jetstream, wanted(1)))
