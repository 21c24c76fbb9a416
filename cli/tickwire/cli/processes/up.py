"""`tickwire up`: a broker, unless one is configured, and every service, kept running."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from tickwire import settings as configuration
from tickwire.bus import embedded
from tickwire.bus.connection import Bus, connect
from tickwire.cli.output import render
from tickwire.cli.processes.own_broker import own_broker, websocket_of
from tickwire.cli.processes.programs import (
    adoption,
    check_metrics_ports,
    check_writable,
    page_port,
    service_programs,
    shared_folders,
)
from tickwire.cli.processes.readiness import ready
from tickwire.errors import BadRequest
from tickwire.model import broker_urls
from tickwire.observe import logs
from tickwire.process import optional_packages, private_files, runfile, supervisor
from tickwire.process.lifecycle import until_stopped
from tickwire.settings import Settings
from tickwire.task_group import TaskGroup


async def up(stop: asyncio.Event, config: Path | None, counts: dict[str, int]) -> None:
    """Run as many processes of each service as `counts` says, until `stop` is set."""
    if min(counts.values()) < 1:
        raise BadRequest(
            "at least one cache, one fetcher and one streamer are needed", "leave --cache, --fetcher and --streamer out"
        )
    settings = configuration.load(config)
    if settings.sink.place is not None:
        counts = {**counts, "sink": 1}
    if settings.archive.root is not None:
        counts = {**counts, "archive": 1}
    page = page_port(settings)
    if page is not None:
        counts = {**counts, "web": 1}
    logs.configure(settings.log)
    optional_packages.require(counts, server=settings.nats.url is not None or embedded.has_server(settings.nats.server))
    check_metrics_ports(settings, sum(counts.values()))
    umasks = _make_folders(settings)
    async with AsyncExitStack() as stack:
        publish_urls = stack.enter_context(runfile.held(settings.data_dir))
        url = settings.nats.url
        if url is None:
            url = await stack.enter_async_context(own_broker(settings))
        # Connects first: a wrong URL ends this command, instead of making every service retry for ever.
        bus = await stack.enter_async_context(connect(settings.nats, name="tickwire-up", url=url))
        websocket = websocket_of(settings) if settings.nats.url is None else None
        websocket_url = None if websocket is None else websocket.url
        publish_urls(
            url, None if websocket_url is None else broker_urls.with_token(websocket_url, broker_urls.token_of(url))
        )
        also = f" and {websocket_url}" if websocket_url is not None else ""
        render.remark(f"broker at {bus.url}{also}, data in {settings.data_dir}")
        env = {**os.environ, "TICKWIRE_NATS_URL": url, **adoption(settings)}
        if settings.nats.context is not None:
            # Perhaps named by $NATS_CONTEXT, which a URL would hide.
            env["TICKWIRE_NATS_CONTEXT"] = settings.nats.context
        if page is not None:
            env["TICKWIRE_WEB_PORT"] = str(page)
        async with TaskGroup() as group:
            programs = service_programs(counts, config, env, metrics_port=settings.metrics.port, umasks=umasks)
            settled = asyncio.Event()
            group.create_task(supervisor.keep(programs, stop, render.remark, settled))
            group.create_task(until_stopped(stop, runfile.removed(settings.data_dir)))
            await until_stopped(stop, _welcome(bus, config, counts, settled))
            if stop.is_set():
                render.remark("stopping")


def _make_folders(settings: Settings) -> dict[str, int]:
    """Create the folders; return the umasks of services that do not have ours. Raises StorageError.

    The data folder is private. The folder of the cache or of the archive elsewhere may be shared, so it and its files
    get the usual permissions: those of whoever started this. The archive makes its own, when it can be reached.
    """
    shared = shared_folders(settings)
    if "cache" in shared:
        check_writable(settings.cache_dir)
    umask = os.umask(private_files.UMASK)
    check_writable(settings.cache_dir)
    return dict.fromkeys(shared, umask)


async def _welcome(bus: Bus, config: Path | None, counts: Mapping[str, int], settled: asyncio.Event) -> None:
    """Report when all services are ready, and what to do next."""
    for name, count in counts.items():
        await ready(bus, name, count)
    settled.set()
    option = f" --config {config}" if config else ""
    services = ", ".join(render.plural(count, name) for name, count in counts.items())
    render.remark(f"ready: {services}. Ctrl-C stops all")
    print(
        "Next, in another terminal:\n"
        f"  tickwire candles fetch{option} binance BTC/USDT 1h --since 30d\n"
        f"  tickwire candles get{option} binance BTC/USDT 1h --since 2d\n"
        f"  tickwire watch{option} trade binance BTC/USDT\n"
        f"  tickwire status{option}",
        file=sys.stderr,
        flush=True,
    )
    await asyncio.Event().wait()
