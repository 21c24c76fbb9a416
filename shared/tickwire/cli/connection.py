"""How a command comes to its settings and its broker."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tickwire import config, logs, runfile
from tickwire.bus import Bus, Place, connect
from tickwire.cli import render
from tickwire.config import Settings


def settings_of(path: Path | None) -> Settings:
    """The settings of a short command, which logs warnings only. Raises ConfigError."""
    settings = config.load(path)
    logs.configure(settings.log.model_copy(update={"level": "warning"}))
    return settings


def broker_place(settings: Settings) -> Place:
    """`nats.url`, else how to find what runs on the data folder."""
    return settings.nats.url or runfile.finder(settings.data_dir)


@asynccontextmanager
async def connected(settings: Settings, stop: asyncio.Event | None = None) -> AsyncIterator[Bus]:
    """A command's connection to the broker; `stop` ends its waiting for services that are not there."""
    async with connect(settings.nats, name=f"tickwire-cli-{socket.gethostname()}", place=broker_place(settings)) as bus:
        bus.patience.say = render.say
        bus.patience.stop = stop or bus.patience.stop
        yield bus


def now_ms() -> int:
    """The time of this computer, ms."""
    return time.time_ns() // 1_000_000
