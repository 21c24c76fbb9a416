"""All open sockets, their subscriptions, and the loop that writes new messages to them."""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from tickwire.model.times import now_ms
from tickwire.simulator import hosts, venues
from tickwire.simulator.faults import Fault, Faults, Kind, matches
from tickwire.simulator.journal import Journal
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.recordings.playback import Message
from tickwire.simulator.sockets.dialect import Dialect, Source
from tickwire.simulator.sockets.socket import Socket

TICK_MS = 10
"""How often, on the wall clock, the sources are asked for new messages (ms)."""
REPEATABLE = 200
"""How many of a stream's last messages fault `ws_duplicate` can repeat."""
_CUT_FRAME = '{"e":"trade","E":17'


class Feed:
    """Open sockets and the sources of the streams they subscribed to."""

    def __init__(self, exchange: Exchange, faults: Faults, journal: Journal, ping_s: float) -> None:
        self._exchange = exchange
        self._ping_s = ping_s
        self._faults = faults
        self._journal = journal
        self._sockets: set[Socket] = set()
        self._sources: dict[tuple[str, str], Source] = {}
        self._dialects = venues.dialects(exchange)
        self._recorded = venues.recorded_dialect()
        self._recent: defaultdict[tuple[str, str], deque[bytes]] = defaultdict(lambda: deque(maxlen=REPEATABLE))
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Write new messages to subscribers, until cancelled."""
        while True:
            await self._wanted.wait()
            await self._exchange.clock.passes(TICK_MS * self._exchange.clock.speed)
            self._emit(self._exchange.clock.now())

    def _emit(self, now: int) -> None:
        news: list[tuple[str, str, bytes]] = []
        for (venue, name), source in self._sources.items():
            news += ((venue, name, msgspec.json.encode(event)) for event in source(now))
        self._deliver(news)

    def play(self, venue: str, messages: list[Message]) -> None:
        """Write recorded messages, in their order, to subscribers."""
        self._deliver([(venue, message.stream, message.payload) for message in messages])

    def _deliver(self, news: list[tuple[str, str, bytes]]) -> None:
        """Write (venue, stream, payload) in this order to subscribers."""
        for venue, name, payload in news:
            self._recent[venue, name].append(payload)
        self._write(news, self._sockets)

    def _write(self, news: list[tuple[str, str, bytes]], sockets: Iterable[Socket]) -> None:
        if not news:
            return
        for socket in list(sockets):
            dialect = self._dialect(socket.venue)
            found = [
                dialect.framed(socket, name, payload)
                for venue, name, payload in news
                if name in socket.names
                and venue == socket.venue
                and not self._faults.spent("ws_skip", f"{socket.target}?{name}")
            ]
            if found:
                socket.send(found)

    def _dialect(self, venue: str) -> Dialect:
        return self._dialects.get(venue, self._recorded)

    def subscribed(self, venue: str) -> set[str]:
        """Return the streams that sockets of a venue have subscribed to."""
        return {name for socket in self._sockets if socket.venue == venue for name in socket.names}

    def ordered(self, fault: Fault) -> None:
        """Apply a fault that hits open sockets at once."""
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
                frame = cut or self._dialect(socket.venue).error(fault)
                socket.send([frame] * (1 if fault.count is None else fault.count))
        elif fault.kind == "ws_duplicate":
            count = 1 if fault.count is None else fault.count
            again = [
                (*key, payload) for key, recent in self._recent.items() for payload in list(recent)[-count:] if count
            ]
            self._write(again, hit)

    def listed(self) -> list[dict[str, Any]]:
        """Return the open sockets, and the streams that each has subscribed to."""
        return [{"target": socket.target, "streams": list(socket.names)} for socket in self._sockets]

    def refuses(self, target: str) -> bool:
        """Return whether a fault cuts new sockets at once."""
        cut: Kind = "ws_cut"
        return self._faults.socket(cut, target) is not None

    async def serve(self, request: web.Request, host: str, path: str, venue: str) -> web.WebSocketResponse:
        """Serve one client until the client or a fault ends the connection."""
        response = web.WebSocketResponse(compress=False, autoping=False, autoclose=True)
        await response.prepare(request)
        target = f"/{host}/{path}"
        transport = request.transport
        assert transport is not None
        dialect, route = self._dialect(venue), "/".join(hosts.socket_path(host, path) or ())
        socket = Socket(target, venue, transport, dialect.combined(route), self._faults)
        self._sockets.add(socket)
        asyncio.get_running_loop().call_later(self._ping_s, self._ping, socket)
        try:
            if names := dialect.named(route, request.query):
                self.subscribe(socket, names)
            async for message in response:
                if message.type is WSMsgType.PING and not socket.silent:
                    await response.pong(message.data)
                elif message.type is WSMsgType.PONG:
                    socket.answered_at = time.monotonic()
                elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY) and self._accepts(socket, message.data):
                    socket.send(dialect.answers(socket, message.data, self))
        except ConnectionError:
            # The client disconnected between its ping and our pong.
            pass
        finally:
            self._sockets.discard(socket)
            self._forget(socket.venue, list(socket.names))
            self._journal.add("disconnect", host, f"/{path}").status = 0
        return response

    def _accepts(self, socket: Socket, message: str | bytes) -> bool:
        """Return whether a client's message is processed; fault `ws_deaf` drops subscriptions."""
        text = message if isinstance(message, str) else message.decode(errors="replace")
        subscribes = re.search(r'"subscribe"', text, re.IGNORECASE) is not None
        return not (subscribes and self._faults.spent("ws_deaf", f"{socket.target}?{text}"))

    def _ping(self, socket: Socket) -> None:
        """Ping a socket every `ping_s` seconds while it is open; abort it when three pings got no answer."""
        if socket not in self._sockets:
            return
        if socket.silent:
            # A silent socket gets no pings, so it cannot miss one.
            socket.answered_at = time.monotonic()
        elif time.monotonic() - socket.answered_at > 3.5 * self._ping_s:
            socket.abort()
        else:
            socket.ping(str(now_ms()).encode())
        asyncio.get_running_loop().call_later(self._ping_s, self._ping, socket)

    # ---- Subscriptions, for dialects

    def subscribe(self, socket: Socket, names: list[str]) -> None:
        """See Subscriptions.subscribe."""
        self._log("subscribe", socket, names)
        for name in names:
            if (socket.venue, name) not in self._sources and (source := self._dialect(socket.venue).source(name)):
                self._sources[socket.venue, name] = source
            socket.names[name] = None
        if self._sources:
            self._wanted.set()

    def unsubscribe(self, socket: Socket, names: list[str]) -> None:
        """See Subscriptions.unsubscribe."""
        self._log("unsubscribe", socket, names)
        for name in names:
            socket.names.pop(name, None)
        self._forget(socket.venue, names)

    def running(self, venue: str, name: str) -> Source | None:
        """See Subscriptions.running."""
        return self._sources.get((venue, name))

    def _log(self, event: str, socket: Socket, names: list[str]) -> None:
        _, host, path = socket.target.split("/", 2)
        self._journal.add(event, host, f"/{path}", streams=names).status = 200

    def _forget(self, venue: str, names: list[str]) -> None:
        """Drop the sources of streams without subscribers; they begin afresh at the next subscription."""
        for name in names:
            if not any(name in socket.names for socket in self._sockets if socket.venue == venue):
                self._sources.pop((venue, name), None)
        if not self._sources:
            self._wanted.clear()
