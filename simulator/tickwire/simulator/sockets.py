"""Sockets, their subscriptions, and the feed that writes to them, whatever language each speaks."""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from tickwire.model.times import now_ms
from tickwire.simulator import delivery, futures, hosts, streams
from tickwire.simulator.binance_sockets import Binance
from tickwire.simulator.connection import Socket
from tickwire.simulator.dialect import Dialect, Source
from tickwire.simulator.exchange import Exchange
from tickwire.simulator.faults import Fault, Faults, Kind, matches
from tickwire.simulator.journal import Journal
from tickwire.simulator.okx_sockets import Okx
from tickwire.simulator.wire import Message

TICK_MS = 10
"""How often, on the wall clock, the feed looks for news."""
REPEATABLE = 200
"""How many of a stream's last frames can be repeated."""
_CUT_FRAME = '{"e":"trade","E":17'


class Feed:
    """All open sockets, and what the streams they subscribed to have to say."""

    def __init__(self, exchange: Exchange, faults: Faults, journal: Journal, ping_s: float) -> None:
        self._exchange = exchange
        self._ping_s = ping_s
        self._faults = faults
        self._journal = journal
        self._sockets: set[Socket] = set()
        self._sources: dict[tuple[str, str], Source] = {}
        self._dialects: dict[str, Dialect] = {
            "spot": Binance(partial(streams.source, exchange)),
            "linear": Binance(partial(futures.source, exchange)),
            "inverse": Binance(partial(delivery.source, exchange)),
            "okx": Okx(exchange),
        }
        # A recording says what it says when it is played.
        self._recorded = Binance(lambda name: None)
        self._said: defaultdict[tuple[str, str], deque[bytes]] = defaultdict(lambda: deque(maxlen=REPEATABLE))
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Write what happens to whoever subscribed, until cancelled."""
        while True:
            await self._wanted.wait()
            await self._exchange.clock.passes(TICK_MS * self._exchange.clock.speed)
            self._emit(self._exchange.clock.now())

    def _emit(self, now: int) -> None:
        news: list[tuple[str, str, bytes]] = []
        for (house, name), source in self._sources.items():
            news += ((house, name, msgspec.json.encode(event)) for event in source(now))
        self._deliver(news)

    def play(self, house: str, messages: list[Message]) -> None:
        """Write recorded messages, in their order, to whoever subscribed."""
        self._deliver([(house, message.stream, message.payload) for message in messages])

    def _deliver(self, news: list[tuple[str, str, bytes]]) -> None:
        """Write (house, stream, payload) in this order to whoever subscribed."""
        for house, name, payload in news:
            self._said[house, name].append(payload)
        self._write(news, self._sockets)

    def _write(self, news: list[tuple[str, str, bytes]], sockets: Iterable[Socket]) -> None:
        if not news:
            return
        for socket in list(sockets):
            dialect = self._dialect(socket.house)
            found = [
                dialect.framed(socket, name, payload)
                for house, name, payload in news
                if name in socket.names
                and house == socket.house
                and not self._faults.spent("ws_skip", f"{socket.target}?{name}")
            ]
            if found:
                socket.send(found)

    def _dialect(self, house: str) -> Dialect:
        return self._dialects.get(house, self._recorded)

    def subscribed(self, house: str) -> set[str]:
        """The streams that sockets of a house have subscribed to."""
        return {name for socket in self._sockets if socket.house == house for name in socket.names}

    def ordered(self, fault: Fault) -> None:
        """A fault was ordered: those that hit open sockets do so now."""
        hit = [socket for socket in self._sockets if matches(fault.match, socket.target)]
        if fault.kind == "ws_cut":
            for socket in hit:
                socket.abort()
        elif fault.kind == "ws_close":
            for socket in hit:
                socket.close(fault.code or 1000)
        elif fault.kind in ("ws_malformed", "ws_error"):
            cut = (fault.text or _CUT_FRAME).encode() if fault.kind == "ws_malformed" else None
            for socket in hit:
                frame = cut or self._dialect(socket.house).error(fault)
                socket.send([frame] * (1 if fault.count is None else fault.count))
        elif fault.kind == "ws_duplicate":
            count = 1 if fault.count is None else fault.count
            again = [(*key, payload) for key, said in self._said.items() for payload in list(said)[-count:] if count]
            self._write(again, hit)

    def listed(self) -> list[dict[str, Any]]:
        """The open sockets, and the streams that each has subscribed to."""
        return [{"target": socket.target, "streams": list(socket.names)} for socket in self._sockets]

    def refuses(self, target: str) -> bool:
        """Whether a new socket is cut at once."""
        cut: Kind = "ws_cut"
        return self._faults.socket(cut, target) is not None

    async def serve(self, request: web.Request, host: str, path: str, house: str) -> web.WebSocketResponse:
        """Speak with one client until it or a fault ends it."""
        response = web.WebSocketResponse(compress=False, autoping=False, autoclose=True)
        await response.prepare(request)
        target = f"/{host}/{path}"
        transport = request.transport
        assert transport is not None
        dialect, spoken = self._dialect(house), "/".join(hosts.socket_path(host, path) or ())
        socket = Socket(target, house, transport, dialect.combined(spoken), self._faults)
        self._sockets.add(socket)
        asyncio.get_running_loop().call_later(self._ping_s, self._ping, socket)
        try:
            if names := dialect.named(spoken, request.query):
                self.subscribe(socket, names)
            async for message in response:
                if message.type is WSMsgType.PING and not socket.silent:
                    await response.pong(message.data)
                elif message.type is WSMsgType.PONG:
                    socket.heard = time.monotonic()
                elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY) and self._hears(socket, message.data):
                    socket.send(dialect.answers(socket, message.data, self))
        except ConnectionError:
            # The client is gone between its ping and our pong.
            pass
        finally:
            self._sockets.discard(socket)
            self._forget(socket.house, list(socket.names))
            self._journal.add("disconnect", host, f"/{path}").status = 0
        return response

    def _hears(self, socket: Socket, said: str | bytes) -> bool:
        """Whether what a client says is heard: a fault may lose its subscriptions."""
        text = said if isinstance(said, str) else said.decode(errors="replace")
        subscribes = re.search(r'"subscribe"', text, re.IGNORECASE) is not None
        return not (subscribes and self._faults.spent("ws_deaf", f"{socket.target}?{text}"))

    def _ping(self, socket: Socket) -> None:
        """Ping a socket now and again as long as it is open; cut it when it does not answer."""
        if socket not in self._sockets:
            return
        if socket.silent:
            # It may answer, but is not asked.
            socket.heard = time.monotonic()
        elif time.monotonic() - socket.heard > 3.5 * self._ping_s:
            socket.abort()
        else:
            socket.ping(str(now_ms()).encode())
        asyncio.get_running_loop().call_later(self._ping_s, self._ping, socket)

    # ---- what a dialect may do

    def subscribe(self, socket: Socket, names: list[str]) -> None:
        """See Subscriptions.subscribe."""
        self._log("subscribe", socket, names)
        for name in names:
            if (socket.house, name) not in self._sources and (source := self._dialect(socket.house).source(name)):
                self._sources[socket.house, name] = source
            socket.names[name] = None
        if self._sources:
            self._wanted.set()

    def unsubscribe(self, socket: Socket, names: list[str]) -> None:
        """See Subscriptions.unsubscribe."""
        self._log("unsubscribe", socket, names)
        for name in names:
            socket.names.pop(name, None)
        self._forget(socket.house, names)

    def running(self, house: str, name: str) -> Source | None:
        """See Subscriptions.running."""
        return self._sources.get((house, name))

    def _log(self, event: str, socket: Socket, names: list[str]) -> None:
        _, host, path = socket.target.split("/", 2)
        self._journal.add(event, host, f"/{path}", streams=names).status = 200

    def _forget(self, house: str, names: list[str]) -> None:
        """Streams that nobody listens to any more begin afresh when somebody does."""
        for name in names:
            if not any(name in socket.names for socket in self._sockets if socket.house == house):
                self._sources.pop((house, name), None)
        if not self._sources:
            self._wanted.clear()
