"""The page: a program that shows what runs and what is kept, and sends the requests of its buttons.

| subject | | |
|---|---|---|
| `$SRV.STATS`, `$SRV.PING.>`, `streamer.list`, `cache.list`, `archive.days` | requests | what runs, and what is kept |
| `$JS.API.STREAM.LIST`, `$JS.API.STREAM.INFO.*` | requests | streams and leases |
| `$JS.API.STREAM.MSG.GET.JOBS`, `$JS.API.DIRECT.GET.>` | requests | queued and ended jobs, leases, the tape |
| `cache.get`, `cache.coverage` | requests | candles of a chart |
| `md.job.*`, `md.trade.…`, `md.book.…`, `md.candle.…` | consumes | Job, Trades, Book, Candle |
| `fetcher.fetch`, `fetcher.cancel`, `streamer.start`, `streamer.stop` | requests | the buttons |
| `fetcher.markets` | requests | the search of markets |

It holds no lease and keeps no state: any number of instances may run.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from tickwire.bus.service import serve
from tickwire.client.connecting import connected
from tickwire.errors import BrokerUnavailable
from tickwire.observe import logs
from tickwire.observe.metrics import Metrics
from tickwire.process import lifecycle
from tickwire.settings import Settings
from tickwire.task_group import TaskGroup
from tickwire.web import access
from tickwire.web.board import Board
from tickwire.web.ended_jobs import EndedJobs
from tickwire.web.metrics import WebMetrics
from tickwire.web.quiet_days import QuietDays
from tickwire.web.site import Site, listening
from tickwire.web.sources import Sources

if TYPE_CHECKING:
    from tickwire.bus.connection import Bus
    from tickwire.client import Client

log = logs.get(__name__)

SERVICE = "web"
PATIENCE_S = 5.0
"""How long a button waits for a service that is absent."""


async def serve_web(bus: Bus, settings: Settings, instance: str, stop: asyncio.Event, metrics: Metrics) -> None:
    """Serve the page until `stop`. Raises ConfigError where it would be open to others, or its port cannot be had."""
    access.check(settings.web)
    bus.service_wait.seconds = min(PATIENCE_S, bus.service_wait.seconds)
    async with lifecycle.unwrapped(), connected(bus, SERVICE) as client, TaskGroup() as group:
        ended = EndedJobs()
        board = Board(group, Sources(client, settings, ended, QuietDays(client.coverage_of)).find, client.lost)
        site = Site(client, board, WebMetrics(metrics))
        async with (
            client.jobs_followed(ended.take),
            listening(settings.web, site) as url,
            # It answers pings, and no request.
            serve(bus, SERVICE, [], instance=instance, metrics=metrics),
        ):
            with site.measured():
                await lifecycle.until_stopped(stop, _unheard(client, ended))
                log.info("serving", page=url)
                print(f"the page is at {url}", file=sys.stderr, flush=True)
                await lifecycle.until_stopped(stop, _after_outages(bus, client, ended))
        board.close()


async def _after_outages(bus: Bus, client: Client, ended: EndedJobs) -> None:
    """After each reconnection, note the jobs that ended meanwhile, until cancelled."""
    back = asyncio.Event()
    bus.resync_callbacks.add(back.set)
    try:
        while await back.wait():
            back.clear()
            await _unheard(client, ended)
    finally:
        bus.resync_callbacks.discard(back.set)


async def _unheard(client: Client, ended: EndedJobs) -> None:
    """Note the jobs that ended while their messages were not heard."""
    try:
        ended.before(await client.last_jobs())
    except BrokerUnavailable as error:
        log.warning("jobs that ended before the page was connected are not shown", error=str(error))
