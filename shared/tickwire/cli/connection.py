"""How a command comes to its settings and its broker."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tickwire import config, logs, runfile
from tickwire.bus import Bus, connect
from tickwire.config import Settings


def settings_of(path: Path | None) -> Settings:
    """The settings of a short command, which logs warnings only. Raises ConfigError."""
    settings = config.load(path)
    logs.configure(settings.log.model_copy(update={"level": "warning"}))
    return settings


def broker_url(settings: Settings) -> str:
    """`nats.url`, else what runs on the data folder. Raises BrokerUnavailable."""
    return settings.nats.url or runfile.read(settings.data_dir).nats_url


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Bus]:
    """A command's connection to the broker."""
    async with connect(settings.nats, name=f"tickwire-cli-{socket.gethostname()}", url=broker_url(settings)) as bus:
        yield bus


def now_ms() -> int:
    """The time of this computer, ms."""
    return time.time_ns() // 1_000_000
