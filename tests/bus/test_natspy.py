"""What nats-py does by itself and `tickwire.bus.natspy` patches: one that behaves otherwise needs its patch no more.

Each test shows the unpatched behaviour first, then that of the patched client.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
import pytest
import trustme
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport

from support.brokers import Server
from support.ports import free_port
from tickwire.bus import natspy
from tickwire.bus.natspy import BusClient, PlainText
from tickwire.errors import BadRequest

pytestmark = pytest.mark.actors

INFO = b'INFO {"server_id":"x","version":"2.11.0","max_payload":1048576,"headers":true,"proto":1}\r\n'
DENIED = b"-ERR 'Permissions Violation for Publish to \"Some.Where\"'\r\n"
REFUSED = b"-ERR 'Authorization Violation'\r\n"


class Peer:
    """One connection at a server that speaks just enough of the protocol."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.lines: list[bytes] = []

    async def until(self, begins: bytes) -> bytes:
        """Read lines, answering each PING, up to one that begins so."""
        while True:
            line = await self.reader.readline()
            assert line, "the client went away"
            self.lines.append(line)
            if line.startswith(b"PING"):
                self.writer.write(b"PONG\r\n")
            if line.startswith(begins):
                return line


@asynccontextmanager
async def peers() -> AsyncIterator[tuple[str, asyncio.Queue[Peer]]]:
    """A server's URL, and its connections as they come, each after INFO."""
    came: asyncio.Queue[Peer] = asyncio.Queue()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(INFO)
        came.put_nowait(Peer(reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        async with asyncio.timeout(60):
            yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", came
    finally:
        for writer in writers:
            writer.close()
        server.close()


@asynccontextmanager
async def met(client: Client) -> AsyncIterator[tuple[Peer, list[Exception]]]:
    """A connected client's peer, and what its error callback got."""
    errors: list[Exception] = []

    async def on_error(error: Exception) -> None:
        errors.append(error)

    async with peers() as (url, came), asyncio.TaskGroup() as group:
        connecting = group.create_task(client.connect(url, error_cb=on_error, allow_reconnect=False))
        peer = await came.get()
        await peer.until(b"PING")
        await connecting
        try:
            yield peer, errors
        finally:
            await client.close()


async def order_of_flush(client: Client) -> list[bytes]:
    """The first words of what is sent by a publish and a flush right after it."""
    async with met(client) as (peer, _):
        peer.lines.clear()
        reading = asyncio.create_task(peer.until(b"PING"))
        # Nothing else may run in between: nats-py sends what is queued by a task of its own.
        await client.publish("some.thing", b"data")
        await client.flush()
        await reading
        if not any(line.startswith(b"PUB") for line in peer.lines):
            await peer.until(b"PUB")
        return [word for line in peer.lines if (word := line.split()[0]) in (b"PUB", b"PING")]


async def test_flush_sends_its_ping_after_queued_data() -> None:
    assert await order_of_flush(Client()) == [b"PING", b"PUB"]
    assert await order_of_flush(BusClient()) == [b"PUB", b"PING"]


async def test_a_subject_over_4_kib_ends_the_connection_and_is_refused_instead(broker: str) -> None:
    closed = asyncio.Event()

    async def on_closed() -> None:
        closed.set()

    async with asyncio.timeout(60):
        plain = Client()
        await plain.connect(broker, closed_cb=on_closed, allow_reconnect=False)
        await plain.publish("a" * 5000)
        await closed.wait()
        ours = BusClient()
        await ours.connect(broker, allow_reconnect=False)
        with pytest.raises(BadRequest):
            await ours.publish("a" * 5000)
        await ours.flush()
        await ours.close()


async def survives(client: Client, subject: bytes) -> bool:
    """Whether a client hears a message after one whose subject is no text."""
    heard = asyncio.Event()

    async def take(_message: Msg) -> None:
        heard.set()

    async with met(client) as (peer, errors):
        subscription = await client.subscribe("some.thing", cb=take)
        peer.writer.write(b"MSG %s %d 2\r\nhi\r\n" % (subject, subscription._id))
        peer.writer.write(b"MSG some.thing %d 2\r\nhi\r\n" % subscription._id)
        hearing = asyncio.create_task(heard.wait())
        reading = client._reading_task
        assert reading is not None
        await asyncio.wait({hearing, reading}, return_when=asyncio.FIRST_COMPLETED)
        hearing.cancel()
        if not reading.done():
            return True
        # The connection stays open, and nothing is read from it any more; the error callback is not called.
        assert client.is_connected
        assert not errors
        return False


async def test_a_subject_that_is_no_text_ends_no_reading() -> None:
    assert not await survives(Client(), b"some.\xff\xfe")
    assert await survives(BusClient(), b"some.\xff\xfe")


async def denial(client: Client) -> str:
    async with met(client) as (peer, errors):
        peer.writer.write(DENIED)
        peer.writer.write(b"PING\r\n")
        await peer.until(b"PONG")
        return str(errors[0])


async def test_a_denied_subject_keeps_its_case() -> None:
    assert '"some.where"' in await denial(Client())
    assert '"Some.Where"' in await denial(BusClient())


async def dropped(client: Client) -> list[str]:
    """Connections that a client dropped without closing them, when its attempt to reconnect was refused."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with peers() as (url, came):
            connecting = asyncio.create_task(client.connect(url, max_reconnect_attempts=9, reconnect_time_wait=0))
            first = await came.get()
            await first.until(b"PING")
            await connecting
            first.writer.close()
            refused = await came.get()
            # Before its PING is answered.
            await refused.until(b"CONNECT")
            refused.writer.write(REFUSED)
            await (await came.get()).until(b"PING")
            await client.close()
        # The loop forgets, in its next turns, what the peer closed.
        for _ in range(5):
            await asyncio.sleep(0)
        gc.collect()
    said = [str(each.message) for each in caught]
    # Python 3.11.2 says it of the transport.
    return [each for each in said if "unclosed <StreamWriter" in each or "unclosed transport" in each]


async def test_a_connection_that_was_refused_is_closed() -> None:
    assert await dropped(Client())
    assert not await dropped(BusClient())


async def test_no_login_is_sent_in_plain_text_where_tls_is_wanted() -> None:
    async with peers() as (url, came):
        plain = Client()
        connecting = asyncio.create_task(plain.connect(url.replace("nats:", "tls:"), user="me", password="p"))
        assert b'"pass": "p"' in await (await came.get()).until(b"CONNECT")
        connecting.cancel()
        await asyncio.wait({connecting})
        await plain.close()
        ours = BusClient()
        ours.encrypted = True
        connecting = asyncio.create_task(ours.connect(url, user="me", password="p", allow_reconnect=False))
        peer = await came.get()
        assert await peer.reader.read() == b""
        await asyncio.wait({connecting})
        assert isinstance(connecting.exception(), PlainText | nats.errors.NoServersError)


async def test_what_a_publisher_calls_a_status_is_taken_for_the_brokers() -> None:
    """`_process_msg` removes it from stored messages: see test_malformed_messages for what that is good for."""
    assert Client()._is_control_message(b"", {"Status": "100", "Description": "Idle Heartbeat"})


async def test_a_broker_that_is_away_leaves_a_task_that_connects_again_and_a_server() -> None:
    client = BusClient()
    lost = asyncio.Event()

    async def on_lost() -> None:
        lost.set()

    async with peers() as (url, came), asyncio.TaskGroup() as group:
        connecting = group.create_task(client.connect(url, disconnected_cb=on_lost))
        peer = await came.get()
        await peer.until(b"PING")
        await connecting
        peer.writer.close()
        await lost.wait()
        assert client.reconnecting is not None
        assert not client.reconnecting.done()
        assert client._current_server is not None
        client.forget_server()
        await client.close()


async def test_a_stream_over_tls_knows_that_it_is_one(tmp_path: Path) -> None:
    """asyncio warns at the end of a connection whose protocol does not know it (`_over_ssl`)."""
    authority = trustme.CA()
    made, key, chain = authority.issue_cert("127.0.0.1"), tmp_path / "key.pem", tmp_path / "cert.pem"
    made.private_key_pem.write_to_path(str(key))
    chain.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    port, config = free_port(), tmp_path / "nats.conf"
    config.write_text(f'listen: 127.0.0.1:{port}\nlogtime: false\ntls {{ cert_file: "{chain}", key_file: "{key}" }}\n')
    server = Server(tmp_path, config, port)
    await server.start()
    found = []
    async with asyncio.timeout(60):
        for client in (Client(), BusClient()):
            await client.connect(server.url, tls=context)
            transport = client._transport
            assert isinstance(transport, TcpTransport)
            assert transport._io_writer is not None
            found.append(transport._io_writer._protocol._over_ssl)  # type: ignore[attr-defined]
            await client.close()
    await server.stop()
    assert found == [False, True]


async def test_what_is_sent_is_in_order_with_what_is_published() -> None:
    client = BusClient()
    async with met(client) as (peer, _):
        for number in range(3):
            assert client.send(b"PUB a 1\r\n%d\r\n" % number, urgent=False)
        await client.publish("c", b"x")
        await peer.until(b"PUB c")
        assert [each for each in peer.lines if each.strip().isdigit()] == [b"0\r\n", b"1\r\n", b"2\r\n"]
    assert not client.send(b"PUB a 1\r\n3\r\n", urgent=True)


async def test_what_is_not_urgent_soon_after_a_write_shares_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    client = BusClient()

    def send(letter: str, *, urgent: bool = False, size: int = 1) -> None:
        assert client.send(f"PUB {letter} {size}\r\n{'x' * size}\r\n".encode(), urgent=urgent)

    async with met(client) as (peer, _):
        monkeypatch.setattr(natspy, "GATHER_S", 3600.0)
        send("a")
        await peer.until(b"PUB a")
        send("b")
        send("c")
        await asyncio.sleep(0)
        assert client.pending_data_size > 0
        await client.publish("d", b"x")
        await peer.until(b"PUB d")
        send("e")
        send("f", urgent=True)
        await peer.until(b"PUB f")
        send("g", size=natspy.GATHER_BYTES)
        await peer.until(b"PUB g")
        assert [line.split()[1] for line in peer.lines if line.startswith(b"PUB")] == [*map(str.encode, "abcdefg")]


async def test_what_is_sent_while_a_write_is_due_needs_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(natspy, "GATHER_S", 3600.0)
    client = BusClient()
    async with met(client) as (peer, _):
        for letter in "abc":
            assert client.send(b"PUB %s 1\r\nx\r\n" % letter.encode(), urgent=letter == "a")
        assert client._gathering is None
        await peer.until(b"PUB c")


async def test_a_direct_subscription_that_ended_leaves_no_callback() -> None:
    client = BusClient()
    async with met(client):
        subscription = await client.subscribe_directly("a", lambda *_: None)
        assert len(client._direct) == 1
        await subscription.unsubscribe()
        assert not client._direct


async def test_what_is_not_urgent_is_written_though_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(natspy, "GATHER_S", 0.05)
    client = BusClient()
    async with met(client) as (peer, _):
        for number in range(3):
            assert client.send(b"PUB %d 1\r\nx\r\n" % number, urgent=False)
            await asyncio.sleep(0)
        await peer.until(b"PUB 2")
