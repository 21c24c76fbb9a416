"""The HTTP side of a service process: its metrics, whether it is alive, and whether it is ready.

| path | answer |
|---|---|
| `/metrics` | what `tickwire.metrics` counts, in Prometheus' text format |
| `/health/live` | 200 while the event loop turns |
| `/health/ready` | 200 when the work can be done, else 503: JSON with `reason`, and `failing` by names of checks |

Checks: `broker` (connected), `identity` (the broker is the one that it was), `session` (the membership in bucket
LEASES is renewed), `consumers` (what is followed is delivered), `storage` (the broker, and the cache's disk, take what
is to be stored), `serving` (requests are answered).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from tickwire import metrics as measures
from tickwire import stalls
from tickwire.bus import Bus
from tickwire.config import MetricsSettings
from tickwire.errors import ConfigError
from tickwire.metrics import Metrics


@asynccontextmanager
async def monitored(settings: MetricsSettings, metrics: Metrics, bus: Bus) -> AsyncIterator[None]:
    """Answer within the block, where a port is configured. Raises ConfigError when it is taken."""
    if settings.port is None:
        yield
        return
    application = web.Application()
    application.add_routes(
        [
            web.get("/metrics", partial(_scrape, metrics)),
            web.get("/health/live", _live),
            web.get("/health/ready", partial(_ready, metrics)),
        ]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except OSError as error:
            raise ConfigError(
                f"metrics cannot be served at {settings.host}:{settings.port}: {error.strerror or error}",
                "choose another metrics.port, or leave it out",
            ) from error
        with (
            metrics.reading(partial(measures.of_bus, bus)),
            metrics.ready.checked("broker", lambda: None if bus.client.is_connected else "not connected to the broker"),
            metrics.ready.checked("serving", lambda: None if metrics.serving else "starting or stopping"),
            metrics.ready.checked("consumers", bus.deaf),
            metrics.ready.checked("storage", bus.full),
        ):
            async with stalls.measured(lambda ms: metrics.stalls.observe(ms / 1000)):
                yield
    finally:
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
