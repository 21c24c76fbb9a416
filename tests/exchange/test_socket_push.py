"""Frames are handled as their bytes arrive; closing, errors and the end remain ccxt's: on real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import ccxt.pro
import pytest
import trustme
from aiohttp import ClientSession, TCPConnector, WSMsgType, web

from process.turn_counting import counting
from tickwire.exchange.ccxt_patches import socket_push
from tickwire.exchange.ccxt_patches.monotonic_time import use_monotonic_marks
from tickwire.exchange.ccxt_patches.socket_push import push_frames
from tickwire.process.turns import Turns

pytestmark = pytest.mark.actors

Serve = Callable[[web.WebSocketResponse, web.Request], Awaitable[None]]


class Opened:
    """A ccxt Client on a socket, what it was given, and how it ended."""

    def __init__(self, exchange: Any, client: Any, noted: Callable[[], object]) -> None:
        self.client = client
        self.frames: list[Any] = []
        self.closes: list[Any] = []
        self.errors: list[Any] = []
        self.changed = asyncio.Event()
        self.receives = 0
        """How often ccxt read the socket itself."""
        receive = client.receive
        client.handle_text_or_binary_message = self._note(self.frames, lambda _: noted())
        client.on_close_callback = self._note(self.closes, exchange.on_close)
        client.on_error_callback = self._note(self.errors, exchange.on_error)

        def counted() -> Any:
            self.receives += 1
            return receive()

        client.receive = counted

    def _note(self, into: list[Any], then: Callable[..., Any]) -> Callable[..., None]:
        def note(*arguments: Any) -> None:
            into.append(arguments[-1])
            then(*arguments)
            self.changed.set()

        return note

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(100):
            while not done():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def opened(
    serve: Serve,
    *,
    pushed: bool = True,
    connected: Callable[[Any], None] = lambda _: None,
    marked: bool = False,
    authority: trustme.CA | None = None,
    turns: Turns | None = None,
    noted: Callable[[], object] = lambda: None,
) -> AsyncIterator[Opened]:
    """A Client of ccxt that is connected to `serve`; `connected` is called before it reads anything.

    With an `authority` the connection is encrypted. `noted` is called with each frame.
    """

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        await serve(socket, request)
        return socket

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    served, trusted = (None, None) if authority is None else contexts(authority)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=served)
    await site.start()
    exchange = ccxt.pro.binance()
    try:
        exchange.open()
        if trusted is not None:
            await exchange.session.close()
            exchange.session = ClientSession(connector=TCPConnector(ssl=trusted))
        client = exchange.client(f"{'ws' if trusted is None else 'wss'}://127.0.0.1:{runner.addresses[0][1]}/")
        use_monotonic_marks(client)
        client.on_connected_callback = connected
        found = Opened(exchange, client, noted)
        if pushed:
            marks = [partial(found.frames.append, mark) for mark in ("several", "end")] if marked else []
            push_frames(client, turns or Turns(), 1, *marks)
        await client.connect(exchange.session)
        yield found
    finally:
        await exchange.close()
        await runner.cleanup()


def contexts(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server of this machine, and of a client that trusts it."""
    served, trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(served)
    authority.configure_trust(trusted)
    return served, trusted


def sends(*frames: str, then: Serve | None = None) -> Serve:
    async def serve(socket: web.WebSocketResponse, request: web.Request) -> None:
        for frame in frames:
            await socket.send_str(frame)
        if then is not None:
            await then(socket, request)
        else:
            async for _ in socket:
                pass

    return serve


async def closes(socket: web.WebSocketResponse, _: web.Request) -> None:
    await socket.close(code=1012)


async def breaks(_: web.WebSocketResponse, request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


async def test_all_frames_arrive_in_order_without_a_task_of_ccxt() -> None:
    frames = [str(number) for number in range(3000)]
    async with opened(sends(*frames)) as socket:
        await socket.until(lambda: len(socket.frames) >= len(frames))
        assert socket.frames == frames
        assert socket.receives == 0
        # All that was counted as unread has been read.
        assert socket.client.connection._conn.protocol._payload._size == 0


async def test_a_busy_socket_is_read_in_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_push, "next_instant", lambda now, step_ms: now + 1.0)
    is_open, was_read = asyncio.Event(), asyncio.Event()

    async def one_by_one(socket: web.WebSocketResponse, request: web.Request) -> None:
        transport = request.transport
        assert transport is not None
        await is_open.wait()
        # Unmasked text frames of one byte (RFC 6455, 5.2).
        transport.write(b"\x81\x010\x81\x011")
        await was_read.wait()
        for number in range(2, 5):
            transport.write(b"\x81\x01%d" % number)
            await asyncio.sleep(0)
        await socket.receive()

    async with opened(one_by_one, marked=True) as socket:
        is_open.set()
        await socket.until(lambda: socket.frames.count("1") > 0)
        was_read.set()
        await socket.until(lambda: socket.frames.count("4") > 0)
        assert socket.frames == ["several", "0", "1", "end", "several", "2", "3", "4", "end"]


async def test_a_busy_encrypted_socket_is_read_in_intervals_and_brings_every_frame() -> None:
    frames = [str(number) + "x" * (number % 7 * 500) for number in range(2000)]

    async def in_pieces(socket: web.WebSocketResponse, _: web.Request) -> None:
        for start in range(0, len(frames), 20):
            for frame in frames[start : start + 20]:
                await socket.send_str(frame)
            await asyncio.sleep(0.001)
        await socket.receive()

    async with opened(in_pieces, authority=trustme.CA(), marked=True) as socket:
        await socket.until(lambda: frames[-1] in socket.frames)
        assert [frame for frame in socket.frames if frame not in ("several", "end")] == frames
        assert socket.frames.count("several") > 0


async def test_more_than_the_buffer_of_aiohttp_holds_arrives_whole() -> None:
    frames = [str(number) + "x" * 100_000 for number in range(100)]
    async with opened(sends(*frames)) as socket:
        await socket.until(lambda: len(socket.frames) >= len(frames))
        assert socket.frames == frames


async def test_frames_that_a_turn_has_no_room_for_are_handled_in_the_next_ones() -> None:
    frames, turns = [str(number) for number in range(3000)], Turns(100)
    async with (
        counting() as counted,
        opened(sends(*frames), turns=turns, noted=counted.note) as one,
        opened(sends(*frames), turns=turns, noted=counted.note) as other,
    ):
        for socket in (one, other):
            await socket.until(lambda socket=socket: len(socket.frames) >= len(frames))  # type: ignore[misc]
            assert socket.frames == frames
            assert socket.receives == 0
    # Of both sockets together; a turn that is counted begins in the middle of one that has a budget.
    assert counted.most <= 200


async def test_frames_that_wait_for_their_turn_come_before_the_end_of_the_socket() -> None:
    frames = [str(number) for number in range(500)]
    async with opened(sends(*frames, then=closes), turns=Turns(1)) as socket:
        await socket.until(lambda: len(socket.closes) == 2)
        assert socket.frames == frames
        assert socket.closes == [1012, 1006]


async def test_a_frame_is_handled_in_the_turn_that_its_bytes_arrive_in() -> None:
    handled: list[int] = []

    async def echo(socket: web.WebSocketResponse, _: web.Request) -> None:
        async for message in socket:
            await socket.send_str(message.data)

    async with opened(echo) as socket:
        await socket.client.send("first")
        await socket.until(lambda: len(socket.frames) == 1)
        protocol = socket.client.connection._conn.protocol
        parser = protocol._payload_parser

        def feed_data(data: bytes) -> Any:
            before = len(socket.frames)
            found = parser.feed_data(data)
            handled.append(len(socket.frames) - before)
            return found

        protocol._payload_parser = SimpleNamespace(feed_data=feed_data, feed_eof=parser.feed_eof)
        await socket.client.send("second")
        await socket.until(lambda: len(socket.frames) == 2)
        assert sum(handled) == 1


@pytest.mark.parametrize("pushed", [True, False])
async def test_a_closing_frame_reports_its_code_and_then_the_end(pushed: bool) -> None:
    async with opened(sends("a", "b", then=closes), pushed=pushed) as socket:
        await socket.until(lambda: len(socket.closes) == 2)
        assert socket.frames == ["a", "b"]
        assert socket.closes == [1012, 1006]
        assert socket.client.closed()


@pytest.mark.parametrize("pushed", [True, False])
async def test_a_connection_that_breaks_is_reported_once(pushed: bool) -> None:
    async with opened(sends("a", then=breaks), pushed=pushed) as socket:
        await socket.until(lambda: bool(socket.closes))
        assert socket.frames in (["a"], [])
        assert socket.closes == [1006]


@pytest.mark.parametrize("pushed", [True, False])
async def test_a_socket_that_we_close_is_reported_once(pushed: bool) -> None:
    async with opened(sends("a"), pushed=pushed) as socket:
        await socket.until(lambda: len(socket.frames) == 1)
        await socket.client.close()
        await socket.until(lambda: bool(socket.closes))
        assert socket.closes == [1006]


@pytest.mark.parametrize("pushed", [True, False])
async def test_a_frame_that_breaks_the_protocol_ends_the_socket(pushed: bool) -> None:
    async def garbles(_: web.WebSocketResponse, request: web.Request) -> None:
        assert request.transport is not None
        request.transport.write(b"\xf7\x00")
        await asyncio.Event().wait()

    async with opened(sends("a", then=garbles), pushed=pushed) as socket:
        await socket.until(lambda: bool(socket.errors))
        assert socket.frames == ["a"]
        await socket.until(socket.client.closed)


async def test_pings_are_answered() -> None:
    ponged = asyncio.Event()

    async def pings(socket: web.WebSocketResponse, _: web.Request) -> None:
        await socket.ping(b"are you there")
        async for message in socket:
            if message.type is WSMsgType.PONG:
                ponged.set()

    async def serve(socket: web.WebSocketResponse, request: web.Request) -> None:
        socket._autoping = False
        await pings(socket, request)

    async with opened(serve), asyncio.timeout(100):
        await ponged.wait()


async def test_with_another_aiohttp_ccxt_reads_the_socket() -> None:
    def change(client: Any) -> None:
        protocol = client.connection._conn.protocol
        protocol._payload_parser = SimpleNamespace(feed_data=protocol._payload_parser.feed_data)

    frames = [str(number) for number in range(100)]
    async with opened(sends(*frames), connected=change) as socket:
        await socket.until(lambda: len(socket.frames) >= len(frames))
        assert socket.frames == frames
        assert socket.receives > 0
