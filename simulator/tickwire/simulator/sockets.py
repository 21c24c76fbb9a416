"""Binance's WebSocket protocol: sockets, their subscriptions, and the feed that writes to them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from tickwire.simulator import streams
from tickwire.simulator.exchange import Exchange
from tickwire.simulator.faults import Fault, Faults, Kind, matches
from tickwire.simulator.journal import Journal

TICK_MS = 10
"""How often, on the wall clock, the feed looks for news."""
_MOST_UNSENT = 32 * 2**20
_TEXT, _CONTINUATION, _FINAL = 1, 0, 0x80


def frames(payload: bytes, fragment: int | None = None) -> bytes:
    """A text message as unmasked WebSocket frames (RFC 6455, 5.2), in fragments of so many bytes if given."""
    if fragment is None or len(payload) <= fragment:
        return _head(_FINAL | _TEXT, len(payload)) + payload
    pieces = [payload[start : start + fragment] for start in range(0, len(payload), fragment)]
    kinds = [_TEXT, *[_CONTINUATION] * (len(pieces) - 2), _FINAL | _CONTINUATION]
    return b"".join(_head(kind, len(piece)) + piece for kind, piece in zip(kinds, pieces, strict=True))


def _head(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


class Socket:
    """One client. Frames are written by hand, whole ticks at once, because faults need their say in the bytes."""

    def __init__(self, target: str, transport: asyncio.Transport, combined: bool, faults: Faults) -> None:
        self.target = target
        self.combined = combined
        self.names: dict[str, None] = {}
        self._transport = transport
        self._faults = faults
        self._held = b""

    def send(self, payloads: list[bytes]) -> None:
        """Send text messages, as faults will have it: not at all, in fragments, or cut within a frame."""
        if self.silent or self._transport.is_closing():
            return
        split = self._faults.socket("ws_split", self.target)
        fragment = split.size if split and split.mode == "fragments" else None
        data = self._held + b"".join(frames(payload, fragment) for payload in payloads)
        if split and split.mode == "torn":
            # The end of the last frame comes with the next write.
            data, self._held = data[: -split.size], data[-split.size :]
        else:
            self._held = b""
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > _MOST_UNSENT:
            self._transport.abort()

    @property
    def silent(self) -> bool:
        """Whether it has been ordered to say nothing."""
        return self._faults.socket("ws_silent", self.target) is not None

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._transport.abort()


class Feed:
    """All open sockets, and what the streams they subscribed to have to say."""

    def __init__(self, exchange: Exchange, faults: Faults, journal: Journal) -> None:
        self._exchange = exchange
        self._faults = faults
        self._journal = journal
        self._sockets: set[Socket] = set()
        self._sources: dict[str, streams.Source] = {}
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Write what happens to whoever subscribed, until cancelled."""
        while True:
            await self._wanted.wait()
            await self._exchange.clock.passes(TICK_MS * self._exchange.clock.speed)
            self._emit(self._exchange.clock.now())

    def _emit(self, now: int) -> None:
        news = {}
        for name, source in self._sources.items():
            if payloads := [msgspec.json.encode(event) for event in source(now)]:
                news[name] = payloads
        for socket in list(self._sockets):
            found = [
                streams.wrapped(name, payload) if socket.combined else payload
                for name in socket.names
                for payload in news.get(name, ())
            ]
            if found:
                socket.send(found)

    def ordered(self, fault: Fault) -> None:
        """A fault was ordered: those that hit open sockets do so now."""
        hit = [socket for socket in self._sockets if matches(fault.match, socket.target)]
        if fault.kind == "ws_cut":
            for socket in hit:
                socket.abort()
        elif fault.kind == "ws_malformed":
            for socket in hit:
                socket.send([fault.text.encode()] * (1 if fault.count is None else fault.count))

    def refuses(self, target: str) -> bool:
        """Whether a new socket is cut at once."""
        cut: Kind = "ws_cut"
        return self._faults.socket(cut, target) is not None

    async def serve(self, request: web.Request, host: str, path: str) -> web.WebSocketResponse:
        """Speak with one client until it or a fault ends it."""
        response = web.WebSocketResponse(compress=False, autoping=False, autoclose=True)
        await response.prepare(request)
        target = f"/{host}/{path}"
        transport = request.transport
        assert transport is not None
        root = path.partition("/")[0]
        socket = Socket(target, transport, root == "stream", self._faults)
        self._sockets.add(socket)
        try:
            named = path.partition("/")[2] if root == "ws" else request.query.get("streams", "")
            self._subscribe(socket, host, [name for name in named.split("/") if "@" in name])
            async for message in response:
                if message.type is WSMsgType.PING and not socket.silent:
                    await response.pong(message.data)
                elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    socket.send([self._reply(socket, host, message.data)])
        except ConnectionError:
            # The client is gone between its ping and our pong.
            pass
        finally:
            self._sockets.discard(socket)
            self._forget(list(socket.names))
            self._journal.add("disconnect", host, f"/{path}").status = 0
        return response

    def _reply(self, socket: Socket, host: str, text: str | bytes) -> bytes:
        try:
            order = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return msgspec.json.encode({"error": {"code": 3, "msg": f"Invalid JSON: {error}"}})
        order = order if isinstance(order, dict) else {}
        id_, names = order.get("id"), order.get("params") or []
        orders: dict[Any, Callable[[Socket, str, list[str]], None]] = {
            "SUBSCRIBE": self._subscribe,
            "UNSUBSCRIBE": self._unsubscribe,
        }
        method = order.get("method")
        if method == "LIST_SUBSCRIPTIONS":
            return msgspec.json.encode({"result": list(socket.names), "id": id_})
        if method == "SET_PROPERTY" and isinstance(names, list) and names[:1] == ["combined"] and len(names) == 2:
            socket.combined = names[1] is True
        elif method == "GET_PROPERTY":
            return msgspec.json.encode({"result": socket.combined, "id": id_})
        elif method not in orders:
            message = f"Invalid request: unknown variant `{method}`"
            return msgspec.json.encode({"error": {"code": 2, "msg": message}, "id": id_})
        elif not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
            return msgspec.json.encode({"error": {"code": 2, "msg": "Invalid request: missing field `params`"},
                                        "id": id_})  # fmt: skip
        else:
            orders[method](socket, host, names)
        return msgspec.json.encode({"result": None, "id": id_})

    def _subscribe(self, socket: Socket, host: str, names: list[str]) -> None:
        if not names:
            return
        self._journal.add("subscribe", host, socket.target.removeprefix(f"/{host}"), streams=names).status = 200
        for name in names:
            if name not in self._sources and (source := streams.source(self._exchange, name)):
                self._sources[name] = source
            # Binance confirms a stream that does not exist, and sends nothing.
            socket.names[name] = None
        if self._sources:
            self._wanted.set()

    def _unsubscribe(self, socket: Socket, host: str, names: list[str]) -> None:
        self._journal.add("unsubscribe", host, socket.target.removeprefix(f"/{host}"), streams=names).status = 200
        for name in names:
            socket.names.pop(name, None)
        self._forget(names)

    def _forget(self, names: list[str]) -> None:
        """Streams that nobody listens to any more begin afresh when somebody does."""
        for name in names:
            if not any(name in socket.names for socket in self._sockets):
                self._sources.pop(name, None)
        if not self._sources:
            self._wanted.clear()
