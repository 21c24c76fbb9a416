"""`tickwire declare`: creates the broker's streams, for services without the permission to."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tickwire import settings as configuration
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.cli.connection import broker_source
from tickwire.cli.output import render
from tickwire.observe import logs
from tickwire.settings import Settings


async def declare(stop: asyncio.Event, config: Path | None, export: bool, json: bool) -> None:
    """Create or update every stream as configured; with `export` those of account EXPORT, as a user of it."""
    settings = configuration.load(config)
    logs.configure(settings.log)
    async with connect(settings.nats, name="tickwire-declare", url=broker_source(settings)) as bus:
        if export:
            await streams.declare_export(bus.jetstream, settings.tape, settings.nats.replicas)
        else:
            await _all(bus, settings)
    if json:
        render.as_json({"broker": bus.url, "replicas": settings.nats.replicas})
        return
    copies = f", each kept by {settings.nats.replicas} servers" if settings.nats.replicas > 1 else ""
    render.remark(f"the streams at {bus.url} are as configured{copies}")


async def _all(bus: Bus, settings: Settings) -> None:
    await streams.declare_for(bus.jetstream, settings)
    await streams.forget_former(bus.jetstream)
    await streams.declare_sink(bus.jetstream, settings.sink, settings.nats.replicas)
    await streams.declare_archive(bus.jetstream, settings.archive, settings.nats.replicas)
