"""`tickwire service`: one service in this process. It also subscribes to `control.log` (see log_level.py)."""

from __future__ import annotations

import asyncio
import importlib
import os
import secrets
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tickwire import settings as configuration
from tickwire.bus import streams
from tickwire.bus.broker_identity import broker_unchanged
from tickwire.bus.connection import Bus, UrlSource, connect
from tickwire.bus.metrics import observed
from tickwire.cli.connection import broker_source
from tickwire.cli.processes.log_level import follow_log_level
from tickwire.errors import BrokerChanged, TickwireError
from tickwire.exchange.ccxt_patches import lazy_packages
from tickwire.model import subjects
from tickwire.observe import logs, loop_lag
from tickwire.observe.metrics import Metrics
from tickwire.process.imports import uncollected
from tickwire.process.lifecycle import Exit, leaf, leaves
from tickwire.settings import MetricsSettings, Settings

Serve = Callable[[Bus, Settings, str, asyncio.Event, Metrics], Awaitable[None]]

log = logs.get(__name__)


@dataclass(frozen=True)
class _Service:
    """What a service needs to connect and to serve."""

    settings: Settings
    instance: str
    broker: UrlSource
    serve: Serve


async def service(stop: asyncio.Event, config: Path | None, name: str, instance: str | None) -> int:
    """Run one service until `stop` is set.

    When the broker changes, the service starts again in this process. Before it has answered requests, an error is a
    refusal to start and is raised; afterwards it is a failure (exit code 1), and the supervisor restarts the process.
    """
    settings = configuration.load(config)
    identity = subjects.instance_name(instance or f"{name}-{secrets.token_hex(3)}")
    logs.configure(settings.log, service=name, instance=identity)
    # Imports only the chosen service, and of ccxt only the exchanges it uses.
    lazy_packages.install()
    with uncollected():
        serve: Serve = getattr(importlib.import_module(f"tickwire.{name}.service"), f"serve_{name}")
    chosen = _Service(settings, identity, broker_source(settings), serve)
    served = False
    while True:
        metrics = Metrics()
        metrics.served_before = served
        try:
            await _serve_one_broker(stop, chosen, metrics)
            return Exit.OK
        except (TickwireError, BaseExceptionGroup) as error:
            served = served or metrics.served
            changed = next((each for each in leaves(error) if isinstance(each, BrokerChanged)), None)
            if changed is None:
                if not served or not isinstance(first := leaf(error), TickwireError):
                    raise
                print(f"tickwire: {first}", file=sys.stderr)
                return Exit.FAILED
            if stop.is_set():
                return Exit.OK
            log.warning("the broker has changed", reason=changed.message)


async def _serve_one_broker(stop: asyncio.Event, service: _Service, metrics: Metrics) -> None:
    """Serve until `stop` is set. Raises BrokerChanged when the broker's identity changes."""
    settings = service.settings
    async with connect(settings.nats, name=service.instance, url=service.broker) as bus:
        await streams.declare_for(bus.jetstream, settings)
        await follow_log_level(bus)
        log.info("started", broker=bus.url, pid=os.getpid())
        meter = loop_lag.measured(lambda ms, cpu_ms: log.info("stalls", longest_stall_ms=ms, stall_cpu_ms=cpu_ms))
        with observed(bus, metrics):
            async with (
                _monitored(settings.metrics, metrics),
                broker_unchanged(bus, streams.names(settings), metrics),
                meter if settings.log.stalls else nullcontext(),
            ):
                await service.serve(bus, settings, service.instance, stop, metrics)
        log.info("stopped")


def _monitored(settings: MetricsSettings, metrics: Metrics) -> AbstractAsyncContextManager[None]:
    """Serve metrics if a port is configured. Only that imports the HTTP server."""
    if settings.port is None:
        return nullcontext()
    from tickwire.observe.http import monitored

    return monitored(settings, metrics)
