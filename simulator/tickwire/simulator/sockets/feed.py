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
from tickwire.simulator.directory import Directory
from tickwire.simulator.faults import Fault, Faults, Kind, matches
from tickwire.simulator.journal import Entry, Journal
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.recordings.playback import Message
from tickwire.simulator.rules import RulesInForce
from tickwire.simulator.sockets.dialect import Stream
from tickwire.simulator.sockets.limits import Limits
from tickwire.simulator.sockets.socket import Socket

TICK_MS = 10
"""How often, on the wall clock, the sources are asked for new messages (ms)."""
REPEATABLE = 200
"""How many of a stream's last messages fault `ws_duplicate` can repeat."""
_SUBSCRIBES = re.compile(r'["/]subscribe"', re.IGNORECASE)
_POLICY, _GOING_AWAY = 1008, 1001


class Feed:
    """Open sockets and the sources of the streams they subscribed to."""

    def __init__(self, exchange: Exchange, directory: Directory, faults: Faults, journal: Journal,
                 rules: RulesInForce, ping_s: float) -> None:  # fmt: skip
        self._exchange = exchange
        self._directory = directory
        self._ping_s = ping_s
        self._faults = faults
        self._journal = journal
        self.limits = Limits(rules)
        self._sockets: set[Socket] = set()
        self._streams: dict[tuple[str, str], Stream] = {}
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
        for (key, name), stream in self._streams.items():
            news += ((key, name, msgspec.json.encode(event)) for event in stream.new(now))
        self._deliver(news)

    def play(self, key: str, messages: list[Message]) -> None:
        """Write recorded messages, in their order, to subscribers."""
        self._deliver([(key, message.stream, message.payload) for message in messages])

    def _deliver(self, news: list[tuple[str, str, bytes]]) -> None:
        """Write (key of the sockets, stream, payload) in this order to subscribers."""
        for key, name, payload in news:
            self._recent[key, name].append(payload)
        self._write(news, self._sockets)

    def _write(self, news: list[tuple[str, str, bytes]], sockets: Iterable[Socket]) -> None:
        if not news:
            return
        for socket in list(sockets):
            dialect = self._directory.dialect(socket.key)
            # A frame that fault `ws_skip` drops takes its number, too, where frames are numbered.
            framed = [
                (name, dialect.framed(socket, name, payload))
                for key, name, payload in news
                if name in socket.names and key == socket.key
            ]
            found = [frame for name, frame in framed if not self._faults.spent("ws_skip", f"{socket.target}?{name}")]
            if found:
                socket.send(found)

    def subscribed(self, key: str) -> set[str]:
        """Return the streams that sockets with a key have subscribed to."""
        return {name for socket in self._sockets if socket.key == key for name in socket.names}

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
            for socket in hit:
                dialect = self._directory.dialect(socket.key)
                cut = (fault.text or "").encode() or dialect.malformed
                frame = cut if fault.kind == "ws_malformed" else dialect.error(fault)
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

    async def serve(self, request: web.Request, target: str, key: str) -> web.WebSocketResponse:
        """Serve one client at `/host/path` until the client, a fault or a rule ends the connection."""
        response = web.WebSocketResponse(compress=False, autoping=False, autoclose=True)
        await response.prepare(request)
        transport = request.transport
        assert transport is not None
        dialect, socket = self._directory.dialect(key), Socket(target, key, transport, self._faults)
        self._sockets.add(socket)
        asyncio.get_running_loop().call_later(self._ping_s, self._ping, socket)
        self._expire(socket)
        try:
            socket.send(dialect.opened(socket, request.query, self))
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
            self._forget(socket.key, list(socket.names))
            self._log("disconnect", socket, []).status = 0
        return response

    def _accepts(self, socket: Socket, message: str | bytes) -> bool:
        """Return whether a client's message is processed; fault `ws_deaf` drops subscriptions, a limit any message."""
        if not self.limits.admits(socket):
            answer = self._directory.dialect(socket.key).excess(socket)
            if answer is None:
                socket.close(_POLICY)
            else:
                socket.send([answer])
            return False
        if not self.limits.hears(socket, message):
            return False
        text = message if isinstance(message, str) else message.decode(errors="replace")
        subscribes = _SUBSCRIBES.search(text) is not None
        return not (subscribes and self._faults.spent("ws_deaf", f"{socket.target}?{text}"))

    def rules_changed(self) -> None:
        """Close the sockets that are older than their venue's rules now allow; watch the others."""
        for socket in list(self._sockets):
            self._expire(socket)

    def _expire(self, socket: Socket) -> None:
        """Close a socket whose time is over; look again when it may be."""
        left = self.limits.left_s(socket) if socket in self._sockets else None
        if left is None:
            return
        if left <= 0:
            socket.close(_GOING_AWAY)
        else:
            asyncio.get_running_loop().call_later(left + 0.001, self._expire, socket)

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

    def subscribe(self, socket: Socket, names: list[str]) -> list[bytes]:
        """See Subscriptions.subscribe."""
        self._log("subscribe", socket, names).status = 200
        return self._joined(socket, names)

    def send_unasked(self, socket: Socket, names: list[str]) -> list[bytes]:
        """See Subscriptions.send_unasked."""
        socket.unasked.update(names)
        return self._joined(socket, names)

    def _joined(self, socket: Socket, names: list[str]) -> list[bytes]:
        dialect, first = self._directory.dialect(socket.key), []
        for name in names:
            place = (socket.key, name)
            if place not in self._streams and (made := dialect.stream(name)):
                self._streams[place] = made
            socket.names[name] = None
            if (stream := self._streams.get(place)) is not None:
                events = stream.first(self._exchange.clock.now())
                first += [dialect.framed(socket, name, msgspec.json.encode(event)) for event in events]
        if self._streams:
            self._wanted.set()
        return first

    def unsubscribe(self, socket: Socket, names: list[str]) -> None:
        """See Subscriptions.unsubscribe."""
        self._log("unsubscribe", socket, names).status = 200
        for name in names:
            socket.names.pop(name, None)
        self._forget(socket.key, names)

    def full(self, socket: Socket, more: int) -> bool:
        """See Subscriptions.full."""
        return self.limits.full(socket, more)

    def _log(self, event: str, socket: Socket, names: list[str]) -> Entry:
        _, host, path = socket.target.split("/", 2)
        return self._journal.add(event, host, f"/{path}", streams=names)

    def _forget(self, key: str, names: list[str]) -> None:
        """Drop the streams without subscribers; they begin afresh at the next subscription."""
        for name in names:
            if not any(name in socket.names for socket in self._sockets if socket.key == key):
                self._streams.pop((key, name), None)
        if not self._streams:
            self._wanted.clear()
