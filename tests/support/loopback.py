"""A small exchange on loopback that says what the test has it say: sockets whose frames go out in one write, and REST.

It is reached as a `gateway`: the first part of each path is the original host.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from support.hearing import Changing
from support.web import exchange_at, served
from tickwire.settings import Settings, StreamerSettings


def frame(message: Any, packed: Callable[[bytes], bytes] | None = None) -> bytes:
    """A message as one unmasked frame of a server (RFC 6455, 5.2), a binary one where it is packed."""
    data = message.encode() if isinstance(message, str) else json.dumps(message).encode()
    kind = b"\x81"
    if packed is not None:
        kind, data = b"\x82", packed(data)
    if len(data) < 126:
        return kind + bytes([len(data)]) + data
    if len(data) < 1 << 16:
        return kind + b"\x7e" + len(data).to_bytes(2, "big") + data
    return kind + b"\x7f" + len(data).to_bytes(8, "big") + data


@dataclass(eq=False)
class Socket:
    """An open socket, with the channels that are subscribed on it, where the exchange keeps account of them."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport
    channels: dict[str, None] = field(default_factory=dict)


class Loopback(Changing):
    """The exchange. `reply` gives the answers to a message of a socket, `answer` that to a request of REST."""

    def __init__(self) -> None:
        super().__init__()
        self.url = ""
        self.heard: list[Any] = []
        """What the sockets were told."""
        self.asked: list[tuple[str, dict[str, str]]] = []
        """The path and the query of each request."""
        self.packed: Callable[[bytes], bytes] | None = None
        """How frames are packed, where they are."""
        self.reply: Callable[[Any], Iterable[Any]] = lambda message: ()
        self.answer: Callable[[str, dict[str, str]], Any] = lambda path, query: {}
        """JSON, text, or a web.Response."""
        self.open: list[Socket] = []

    def push(self, messages: Iterable[Any], to: Socket | None = None) -> None:
        """Send messages on a socket, or else on every one, all in one write."""
        data = b"".join(frame(each, self.packed) for each in messages)
        for each in [to] if to else self.open:
            each.transport.write(data)

    def answers(self, message: Any, socket: Socket) -> Iterable[Any]:
        """What a socket is told that said this."""
        return self.reply(message)

    async def cut(self) -> None:
        """Close every socket."""
        for each in list(self.open):
            await each.socket.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A request of either kind."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        query = dict(request.query)
        if request.method == "POST" and (body := await request.text()).startswith("{"):
            query |= json.loads(body)
        self.asked.append((request.path, query))
        self.changed()
        said = self.answer(request.path, query)
        if isinstance(said, web.Response):
            return said
        return web.Response(text=said if isinstance(said, str) else json.dumps(said), content_type="application/json")

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        here = Socket(socket, request.transport)
        self.open.append(here)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    said = json.loads(message.data) if message.data.startswith(("{", "[")) else message.data
                    self.heard.append(said)
                    self.push(self.answers(said, here), here)
                    self.changed()
        finally:
            self.open.remove(here)
        return socket


@asynccontextmanager
async def loopback() -> AsyncIterator[Loopback]:
    """One that listens within the block."""
    exchange = Loopback()
    async with served(exchange.handle) as exchange.url:
        yield exchange


def market(symbol: str, market_id: str, **more: Any) -> dict[str, Any]:
    """A market as ccxt describes one, of spot unless `more` says otherwise."""
    base, quote = symbol.split(":")[0].split("/")
    return {
        "id": market_id, "symbol": symbol, "base": base, "quote": quote, "baseId": base, "quoteId": quote,
        "type": "spot", "spot": True, "margin": False, "swap": False, "future": False, "option": False,
        "contract": False, "active": True, "precision": {"price": 0.01, "amount": 1e-8}, "limits": {}, "info": {},
    } | more  # fmt: skip


def settings(url: str, exchange: str, markets: Iterable[dict[str, Any]], **streamer: Any) -> Settings:
    """Settings with an exchange at `url` that has these markets, without asking for them."""
    own = exchange_at(url, markets={each["symbol"]: each for each in markets})
    return Settings(streamer=StreamerSettings(**streamer), exchange={exchange: own})
