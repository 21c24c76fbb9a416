"""Serves metrics and health of a service process over HTTP.

| path | answer |
|---|---|
| `/metrics` | the metrics of `tickwire.observe.metrics`, in Prometheus' text format |
| `/health/live` | 200 while the event loop runs |
| `/health/ready` | 200 when ready, else 503: JSON with `reason`, and `failing` by the names of checks |

Checks: `broker` (connected), `identity` (the broker was not replaced), `session` (the membership in bucket LEASES is
renewed), `consumers` (subscriptions deliver), `storage` (the broker, and the cache's disk, accept writes), `serving`
(requests are answered).

At most `MOST` connections are open at once; a further one is answered 503 and closed. A connection without an answered
request for `IDLE_S` is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_LATEST

from tickwire.errors import ConfigError
from tickwire.observe import logs, loop_lag
from tickwire.observe.episodes import Episode
from tickwire.observe.metrics import Metrics
from tickwire.settings import MetricsSettings
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

MOST = 64
"""Connections at once: one of Prometheus, one of a container's health check, and some of people."""
IDLE_S = 120.0
"""Longer than the usual intervals of scrapes, 15 to 60 s, so that their connections are kept."""
QUIET_S = 60.0
_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n"


class Connections:
    """Admits at most `most` connections at once, and closes those without an answered request for `idle_s`."""

    def __init__(self, most: int, idle_s: float) -> None:
        self._most = most
        self._idle_s = idle_s
        self._since: dict[object, float] = {}
        """When each was opened, or last had a request answered (s, monotonic)."""
        self._refused = Episode(log, "connections to the metrics port are refused", quiet_s=QUIET_S, most=most)

    @web.middleware
    async def answering(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record when a connection last had a request answered."""
        try:
            return await handler(request)
        finally:
            self._since[request.protocol] = time.monotonic()

    def admit(self, server: web.Server, transport: asyncio.Transport) -> None:
        """Pass a new connection to the server, or refuse it."""
        if len(server.connections) >= self._most:
            self._refused.occurs()
            transport.write(_REFUSAL)
            transport.close()
            return
        protocol = server()
        self._since[protocol] = time.monotonic()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    async def end_idle(self, server: web.Server) -> None:
        """Close idle connections, for ever."""
        while True:
            await asyncio.sleep(self._idle_s / 4)
            now = time.monotonic()
            # Forgets closed connections.
            self._since = {each: self._since.get(each, now) for each in server.connections}
            for protocol in server.connections:
                if now - self._since[protocol] >= self._idle_s and protocol.transport is not None:
                    # Aborted, because a client that does not read could keep a closing connection open.
                    protocol.transport.abort()


class _Greeting(asyncio.Protocol):
    """The protocol of a connection until it is admitted."""

    def __init__(self, connections: Connections, server: web.Server) -> None:
        self._connections = connections
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._connections.admit(self._server, cast(asyncio.Transport, transport))


@asynccontextmanager
async def monitored(
    settings: MetricsSettings, metrics: Metrics, *, most: int = MOST, idle_s: float = IDLE_S
) -> AsyncIterator[None]:
    """Serve within the block, if a port is configured. Raises ConfigError when the port is in use."""
    if settings.port is None:
        yield
        return
    connections = Connections(most, idle_s)
    application = web.Application(middlewares=[connections.answering])
    application.add_routes(
        [
            web.get("/metrics", partial(_scrape, metrics)),
            web.get("/health/live", _live),
            web.get("/health/ready", partial(_ready, metrics)),
        ]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    server = runner.server
    assert server is not None
    listening = None
    try:
        try:
            listening = await asyncio.get_running_loop().create_server(
                lambda: _Greeting(connections, server), settings.host, settings.port
            )
        except OSError as error:
            raise ConfigError(
                f"metrics cannot be served at {settings.host}:{settings.port}: {error.strerror or error}",
                "choose another metrics.port, or leave it out",
            ) from error
        with metrics.ready.checked("serving", lambda: None if metrics.serving else "starting or stopping"):
            async with (
                loop_lag.measured(metrics.stalled),
                TaskGroup() as group,
            ):
                ending = group.create_task(connections.end_idle(server))
                try:
                    yield
                finally:
                    ending.cancel()
    finally:
        if listening is not None:
            listening.close()
        await runner.cleanup()


async def _scrape(metrics: Metrics, _request: web.Request) -> web.Response:
    body = await asyncio.to_thread(metrics.snapshot())
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _live(_request: web.Request) -> web.Response:
    return web.json_response({"live": True})


async def _ready(metrics: Metrics, _request: web.Request) -> web.Response:
    reason, failing = metrics.ready.reason(), metrics.ready.failing()
    if reason is None:
        return web.json_response({"ready": True})
    return web.json_response({"ready": False, "reason": reason, "failing": failing}, status=503)
