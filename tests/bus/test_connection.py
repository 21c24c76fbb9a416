"""The bus against a real nats-server: connecting, leaving, streams, and the traps of nats-py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from support.wires import wire as carried
from tickwire.bus import embedded as embedded_broker
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.errors import BrokerUnavailable, StorageError
from tickwire.model.subjects import Key, ohlcv, partition_of
from tickwire.settings import NatsSettings, TapeSettings

pytestmark = pytest.mark.actors


async def test_where_nothing_listens_connecting_says_so_at_once() -> None:
    async with asyncio.timeout(10):
        with pytest.raises(BrokerUnavailable, match=r"no NATS server answers at nats://127\.0\.0\.1:1 .*nats\.url"):
            async with connect(NatsSettings(url="nats://127.0.0.1:1"), name="test"):
                pass


async def test_where_something_else_listens_connecting_gives_up() -> None:
    """And leaves no connection behind."""
    left = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BrokerUnavailable):
            async with connect(NatsSettings(url=f"nats://127.0.0.1:{port}", connect_timeout_s=0.5), name="test"):
                pass
        async with asyncio.timeout(100):
            await left.wait()


async def test_an_exception_in_a_callback_ends_the_connection_loudly(bus: Bus, broker: str) -> None:
    async def broken(_message: Msg) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        async with connect(NatsSettings(url=broker), name="another") as listening:
            await listening.subscribe("anything", broken)
            await listening.client.flush()
            await bus.client.publish("anything", b"")
            await asyncio.Event().wait()


async def test_what_was_published_before_leaving_arrives(bus: Bus, broker: str) -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def keep(message: Msg) -> None:
        got.put_nowait(message.data)

    await bus.subscribe("many", keep)
    await bus.client.flush()
    async with connect(NatsSettings(url=broker), name="another") as leaving:
        for number in range(12_000):
            await leaving.client.publish("many", b"%d" % number)
    async with asyncio.timeout(100):
        assert [await got.get() for _ in range(12_000)] == [b"%d" % number for number in range(12_000)]


async def test_the_broker_partitions_keys_as_we_do(bus: Bus) -> None:
    for symbol in ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT-260327", "币/USDT"):
        for timeframe in ("1m", "5m", "1h", "1d", "1M"):
            key = Key("binance", symbol, timeframe)
            ack = await bus.append(ohlcv(key), b"{}", message_id=str(key))
            stored = await bus.jetstream.get_msg(streams.OHLCV, ack.seq)
            assert stored.subject is not None
            assert stored.subject.split(".")[1] == str(partition_of(key, 8))


async def test_appending_the_same_message_twice_stores_it_once(bus: Bus) -> None:
    subject = ohlcv(Key("binance", "BTC/USDT", "1m"))
    first = await bus.append(subject, b"{}", message_id="same")
    again = await bus.append(subject, b"{}", message_id="same")
    assert (again.seq, again.duplicate) == (first.seq, True)


async def test_declaring_the_streams_again_or_with_another_ttl_is_harmless(bus: Bus) -> None:
    await streams.declare(bus.jetstream, 8, 2.0)
    await streams.declare(bus.jetstream, 8, 3.0)
    config = (await bus.jetstream.stream_info("KV_LEASES")).config
    assert (config.max_age, config.subject_delete_marker_ttl) == (0.0, 3.0)


async def test_an_ordered_consumer_misses_nothing_over_a_broker_restart(tmp_path: Path) -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def keep(message: Msg) -> None:
        got.put_nowait(message.data)

    async with embedded_broker.embedded(tmp_path) as url:
        port = int(url.rsplit(":", 1)[1])
        stack = connect(NatsSettings(url=url), name="test")
        bus = await stack.__aenter__()
        await streams.declare(bus.jetstream, 8, 2.0)
        await bus.subscribe_ordered("ohlcv.>", streams.OHLCV, keep)
        await bus.append("tape.ohlcv.a.B.1m", b"before", message_id="1")
        assert await got.get() == b"before"
    async with embedded_broker.embedded(tmp_path, port=port):
        async with asyncio.timeout(100):
            await bus.append("tape.ohlcv.a.B.1m", b"after", message_id="2")
            assert await got.get() == b"after"
        await stack.__aexit__(None, None, None)


async def test_a_broker_without_room_for_a_stream_is_refused_with_the_remedy(tmp_path: Path) -> None:
    async with embedded_broker.embedded(tmp_path) as url, connect(NatsSettings(url=url), name="test") as bus:
        with pytest.raises(StorageError, match=r"stream TRADES.*trades_bytes"):
            await streams.declare(bus.jetstream, 8, 2.0, TapeSettings(trades_bytes=1 << 60))
        # What was declared before is no obstacle to declaring it again.
        await streams.declare(bus.jetstream, 8, 2.0)


async def test_a_flush_returns_after_what_was_sent_before_it_has_arrived(broker: str) -> None:
    async with carried(broker) as wire, connect(NatsSettings(url=wire.url), name="another") as bus:
        for number in range(20):
            await bus.subscribe(f"flushed.{number}", never)
            await bus.client.publish("flushed", b"%d" % number)
            await bus.client.flush()
            said = bytes(wire.sent)
            assert b"PUB flushed " in said[said.index(b"SUB flushed.%d " % number) :]
            assert said.rindex(b"PING") > said.rindex(b"PUB flushed ")


async def never(message: Msg) -> None:
    raise AssertionError(message.subject)
