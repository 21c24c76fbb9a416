"""The HTTP server of the simulated exchange: dispatches requests to the venues and applies faults.

Every path is `/<original host>/<path>`, such as `/api.binance.com/api/v3/klines`; `/_sim/` is the control.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import msgspec
from aiohttp import web

from tickwire.errors import ConfigError
from tickwire.simulator import control, hosts, venues
from tickwire.simulator.config import SimulatorConfig
from tickwire.simulator.faults import Faults, Hit
from tickwire.simulator.journal import Journal
from tickwire.simulator.market.exchange import Exchange
from tickwire.simulator.recordings.control import Recordings
from tickwire.simulator.refusals import Refused
from tickwire.simulator.sockets.feed import Feed

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

    def __init__(self, config: SimulatorConfig) -> None:
        self.exchange = Exchange(config)
        self.faults = Faults()
        self.journal = Journal()
        self._limit = config.weight_limit
        self._weights: dict[tuple[str, int], int] = {}
        self._endpoints = venues.endpoints(self.exchange)
        self.feed = Feed(self.exchange, self.faults, self.journal, config.ping_s)
        self.recordings = Recordings(config.play_wire, self.feed)
        self.app = web.Application()
        self.recordings.add_routes(self.app.router)
        controlled = control.add_routes(self.app.router, self.exchange, self.faults, self.journal)
        controlled.on_fault, controlled.sockets = self.feed.ordered, self.feed.listed
        self.app.router.add_route("*", "/{host}/{path:.*}", self._handle)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        host, path, query = request.match_info["host"], request.match_info["path"], request.query_string
        socket = request.headers.get("Upgrade", "").lower() == "websocket"
        entry = self.journal.add("connect" if socket else "request", host, f"/{path}", query)
        target = f"/{host}/{path}?{query}" if query else f"/{host}/{path}"
        hit = self.faults.hit(target)
        try:
            response: web.StreamResponse | None = await self._faulty(request, hit) if hit else None
            if socket and self.feed.refuses(target):
                response = self._dropped(request)
            if response is None and socket and hosts.socket_path(host, path):
                entry.status = 101
                return await self.feed.serve(request, host, path, self.recordings.venue(host) or hosts.venue_of(host))
            if response is None:
                response = self._answer(request, host, path, hit)
            entry.status = 0 if request.transport is None or request.transport.is_closing() else response.status
        except asyncio.CancelledError:
            # The client disconnected before the answer.
            entry.status = entry.status or 0
            raise
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

    def _answer(self, request: web.Request, host: str, path: str, hit: Hit | None) -> web.Response:
        query, recorded = request.query, self.recordings.endpoints(host)
        endpoints = recorded or self._endpoints[hosts.venue_of(host)]
        holes = partial(self.faults.forgotten, f"/{host}/{path}")
        try:
            found = endpoints.answer(path, query, holes) if request.method == "GET" else None
            if found is None:
                return web.Response(status=404, text="<html><body><h2>404 Not found</h2></body></html>")
            value, weight = found
            status = 200
            value = hit.changed(value, query) if hit else value
            body = _encode(endpoints.body(value))
        except Refused as refused:
            weight, status = 1, endpoints.refusal_status
            body = _encode(endpoints.refusal(refused))
        if hit and hit.fault.kind == "truncated":
            body = body[: len(body) // 2]
        used = self._used(host, weight)
        headers = {"X-MBX-USED-WEIGHT": str(used), "X-MBX-USED-WEIGHT-1M": str(used)}
        if recorded:
            # The recorded exchange's clock is in its `time` endpoint only; the real date would be wrong.
            headers["Date"] = "that of the recording"
        if self._limit is not None and used > self._limit:
            status, headers["Retry-After"] = 429, str(60 - int(time.time()) % 60)
            body = _encode(endpoints.refusal(endpoints.too_many_requests(self._limit)))
        return web.Response(status=status, body=body, content_type="application/json", headers=headers)

    def _used(self, host: str, weight: int) -> int:
        minute = int(time.time()) // 60
        used = self._weights.get((host, minute), 0) + weight
        if used == weight:
            self._weights = {key: value for key, value in self._weights.items() if key[1] == minute}
        self._weights[host, minute] = used
        return used


@asynccontextmanager
async def simulator(config: SimulatorConfig) -> AsyncIterator[Simulator]:
    """Run a simulated exchange within the block.

    Raises ConfigError where a file to be played is invalid or the port is taken.
    """
    gate = _Gate(config)
    # A request that hangs on command ends with its client, and does not delay the shutdown.
    runner = web.AppRunner(gate.app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    try:
        async with asyncio.TaskGroup() as group:
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
