"""How a command comes to its settings and its broker."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from tickwire import settings as config
from tickwire.bus.connection import Bus, UrlSource, connect
from tickwire.cli.output import render
from tickwire.errors import BadRequest
from tickwire.observe import logs
from tickwire.process import runfile
from tickwire.process.lifecycle import Exit
from tickwire.settings import Settings


def settings_of(path: Path | None) -> Settings:
    """The settings of a short command, which logs warnings only. Raises ConfigError."""
    settings = config.load(path)
    logs.configure(settings.log.model_copy(update={"level": "warning"}))
    return settings


def broker_place(settings: Settings) -> UrlSource:
    """`nats.url`, else how to find what runs on the data folder."""
    return settings.nats.url or runfile.finder(settings.data_dir)


class Urls(Struct, frozen=True):
    """Where programs find the broker, with what it asks for."""

    nats_url: str
    websocket_url: str | None


async def url(_stop: asyncio.Event, path: Path | None, websocket: bool, json: bool) -> int:
    """Print the broker's URL, or that for WebSockets. Raises BrokerUnavailable; BadRequest where there is none."""
    settings = settings_of(path)
    if settings.nats.url is not None:
        found = Urls(settings.nats.url, None)
    else:
        run = runfile.read(settings.data_dir)
        found = Urls(run.nats_url, run.websocket_url)
    if json:
        render.as_json(found)
    elif not websocket:
        print(found.nats_url)
    elif found.websocket_url is not None:
        print(found.websocket_url)
    else:
        raise BadRequest("the broker takes no WebSockets of which tickwire knows", "set nats.websocket_port for `up`")
    return Exit.OK


@asynccontextmanager
async def connected(settings: Settings, stop: asyncio.Event | None = None) -> AsyncIterator[Bus]:
    """A command's connection to the broker; `stop` ends its waiting for services that are not there."""
    async with connect(settings.nats, name=f"tickwire-cli-{socket.gethostname()}", url=broker_place(settings)) as bus:
        bus.service_wait.report = render.say
        bus.service_wait.stop = stop or bus.service_wait.stop
        yield bus
