"""How a command gets its settings and its connection to the broker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tickwire import settings as config
from tickwire.bus.connection import Bus, UrlSource, connect
from tickwire.cli.output import render
from tickwire.observe import logs
from tickwire.process import runfile
from tickwire.settings import Settings


def settings_of(path: Path | None) -> Settings:
    """Load the settings of a short command, which logs only warnings and errors. Raises ConfigError."""
    settings = config.load(path)
    logs.configure(settings.log.model_copy(update={"level": "warning"}))
    return settings


def broker_source(settings: Settings) -> UrlSource:
    """Return `nats.url`, else a function that finds the broker of the data folder by its run file."""
    return settings.nats.url or runfile.finder(settings.data_dir)


@asynccontextmanager
async def connected(settings: Settings, stop: asyncio.Event | None = None) -> AsyncIterator[Bus]:
    """Connect a command to the broker; `stop` ends its waiting for services that do not answer."""
    name = f"tickwire-cli-{socket.gethostname()}"
    async with connect(settings.nats, name=name, url=broker_source(settings)) as bus:
        bus.service_wait.report = render.remark
        bus.service_wait.stop = stop or bus.service_wait.stop
        bus.service_wait.expected = settings.optional_services
        yield bus
