"""The HTTP server of the simulated exchange: dispatches requests to the venues and applies faults.

Every path is `/<original host>/<path>`, such as `/api.binance.com/api/v3/klines`; `/_sim/` is the control.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate

import msgspec
from aiohttp import web

from tickwire.errors import BadRequest, ConfigError
from tickwire.simulator import control, truth
from tickwire.simulator.config import SimulatorConfig
from tickwire.simulator.directory import Directory, discovered
from tickwire.simulator.faults import Faults, Hit
from tickwire.simulator.journal import Entry, Journal
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.recordings import control as recorded
from tickwire.simulator.rest import NOT_FOUND, Call, Rest
from tickwire.simulator.rules import RulesInForce
from tickwire.simulator.sockets.feed import Feed
from tickwire.simulator.venue import Venue
from tickwire.task_group import TaskGroup

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator. `url` is `http://host:port`."""

    url: str
    exchange: Exchange
    faults: Faults
    journal: Journal


class _Gate:
    """Dispatches HTTP requests to the endpoints of the venues, and applies faults."""

    def __init__(self, config: SimulatorConfig, found: list[Venue]) -> None:
        self.exchange = Exchange(config)
        self.faults = Faults()
        self.journal = Journal()
        playbacks = recorded.read(config.play_wire)
        self._directory = Directory([*recorded.venues(playbacks), *found], self.exchange)
        declared = {name: venue.rules for name, venue in self._directory.venues.items()}
        try:
            rules = RulesInForce(declared, config.rules, config.limits)
        except BadRequest as error:
            raise ConfigError(f"the simulator's settings: {error}") from error
        self.feed = Feed(self.exchange, self._directory, self.faults, self.journal, rules, config.ping_s)
        self.recordings = recorded.Recordings(playbacks, self.feed)
        self._rest = Rest(self.exchange, self._directory, self.faults, self.feed.limits.banned, config.weight_limit)
        self._rules = rules
        self.app = web.Application()
        self.recordings.add_routes(self.app.router)
        truth.add_routes(self.app.router, truth.Truth(self.exchange, self._directory))
        control.add_routes(self.app.router, control.Control(self.exchange, self.faults, self.journal, self.feed, rules))
        self.app.router.add_route("*", "/{host}", self._handle)
        self.app.router.add_route("*", "/{host}/{path:.*}", self._handle)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = Call(
            method=request.method,
            host=request.match_info["host"],
            path=request.match_info.get("path", ""),
            query=request.query,
            query_string=request.query_string,
            sent=(await request.read()).decode(errors="replace"),
            origin=str(request.url.origin()),
        )
        socket = request.headers.get("Upgrade", "").lower() == "websocket"
        entry = self.journal.add("connect" if socket else "request", call.host, f"/{call.path}", call.query_string)
        try:
            hit = self.faults.hit(call.target)
            response: web.StreamResponse | None = await self._faulty(request, hit) if hit else None
            venue = self._directory.venue(call.host)
            if socket and self.feed.refuses(call.target):
                response = self._dropped(request)
            elif response is None and socket and venue:
                response = await self._socket(request, venue, call, entry)
            if response is None:
                reply = self._rest.reply(venue, call, hit) if venue else NOT_FOUND
                response = web.Response(
                    status=reply.status, body=reply.body, content_type=reply.content_type, headers=reply.headers
                )
            if not response.prepared:
                # The exchange's time, also for clients of a venue that cannot be asked for it.
                response.headers.setdefault("Date", formatdate(self.exchange.clock.now() / 1000, usegmt=True))
            if entry.status is None:
                entry.status = 0 if request.transport is None or request.transport.is_closing() else response.status
        except asyncio.CancelledError:
            # The client disconnected before the answer.
            entry.status = entry.status or 0
            raise
        return response

    async def _socket(self, request: web.Request, venue: Venue, call: Call, entry: Entry) -> web.StreamResponse | None:
        """Serve a socket to its end; None where the venue has none at this URL."""
        sockets = self._directory.sockets(venue, call.host, call.path)
        if sockets is None:
            return None
        if self.feed.limits.banned(venue.name):
            return web.Response(status=403)
        token, lifetime = call.query.get(sockets.token, ""), self._rules.of(venue.name).token_s
        if sockets.token and not self._directory.tokens[venue.name].valid(token, lifetime):
            return await self._refused(request, sockets.invalid_token)
        entry.status = 101
        return await self.feed.serve(request, f"/{call.host}/{call.path}", f"{venue.name}/{sockets.name}")

    @staticmethod
    async def _refused(request: web.Request, message: bytes) -> web.StreamResponse:
        """Refuse a socket without a valid token: its handshake, or the socket after a message."""
        if not message:
            return web.Response(status=401)
        response = web.WebSocketResponse()
        await response.prepare(request)
        await response.send_str(message.decode())
        await response.close()
        return response

    async def _faulty(self, request: web.Request, hit: Hit) -> web.Response | None:
        """Return the answer of a fault that has one; None where the exchange answers."""
        fault = hit.fault
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        elif fault.kind == "hang":
            # The end of the connection cancels this.
            await asyncio.Event().wait()
        elif fault.kind == "drop":
            return self._dropped(request)
        elif fault.kind == "status":
            headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            if isinstance(fault.body, str):
                return web.Response(
                    status=fault.code or 500, text=fault.body, content_type="text/html", headers=headers
                )
            body = b"" if fault.body is None else _encode(fault.body)
            return web.Response(status=fault.code or 500, body=body, content_type="application/json", headers=headers)
        return None

    @staticmethod
    def _dropped(request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


@asynccontextmanager
async def simulator(config: SimulatorConfig, found: list[Venue] | None = None) -> AsyncIterator[Simulator]:
    """Run a simulated exchange within the block, with the venues `found` (None: those in the folder `venues/`).

    Raises ConfigError where a file to be played is invalid, a rule names no venue, or the port is taken.
    """
    gate = _Gate(config, discovered() if found is None else found)
    # A request that hangs on command ends with its client, and does not delay the shutdown.
    runner = web.AppRunner(gate.app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    try:
        async with TaskGroup() as group:
            site = web.TCPSite(runner, config.host, config.port)
            try:
                await site.start()
            except OSError as error:
                raise ConfigError(f"cannot listen on {config.host}:{config.port}: {error.strerror}") from error
            tasks = [group.create_task(gate.feed.run()), *map(group.create_task, gate.recordings.runs())]
            yield Simulator(f"http://{config.host}:{runner.addresses[0][1]}", gate.exchange, gate.faults, gate.journal)
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as error:
        # A single failure, of the body or of the feed, is raised as itself.
        raise (error.exceptions[0] if len(error.exceptions) == 1 else error) from None
    finally:
        await runner.cleanup()


def _stop_on_signals() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    return stop


async def serve(config: SimulatorConfig, stop: asyncio.Event | None = None) -> None:
    """Listen until `stop` is set (absent: until SIGTERM or SIGINT); print `{"url": ...}` once it listens."""
    # Handlers are installed first, so that a signal before the line is printed also stops the process.
    stop = stop or _stop_on_signals()
    async with simulator(config) as running:
        print(json.dumps({"url": running.url}), flush=True)
        await stop.wait()


__all__ = ["Simulator", "serve", "simulator"]
