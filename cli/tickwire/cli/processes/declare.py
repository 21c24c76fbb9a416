"""`tickwire declare`: creates the broker's streams, for services without the permission to."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tickwire import settings as configuration
from tickwire.bus import streams
from tickwire.bus.connection import connect
from tickwire.cli.connection import broker_source
from tickwire.cli.output import render
from tickwire.observe import logs


async def declare(stop: asyncio.Event, config: Path | None, json: bool) -> None:
    """Create or update every stream as configured."""
    settings = configuration.load(config)
    logs.configure(settings.log)
    async with connect(settings.nats, name="tickwire-declare", url=broker_source(settings)) as bus:
        await streams.declare_for(bus.jetstream, settings)
        await streams.forget_former(bus.jetstream)
        await streams.declare_sink(bus.jetstream, settings.sink, settings.nats.replicas)
        await streams.declare_archive(bus.jetstream, settings.archive, settings.nats.replicas)
    if json:
        render.as_json({"broker": bus.url, "replicas": settings.nats.replicas})
        return
    copies = f", each kept by {settings.nats.replicas} servers" if settings.nats.replicas > 1 else ""
    render.remark(f"the streams at {bus.url} are as configured{copies}")
