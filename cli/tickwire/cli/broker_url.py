"""`tickwire url`: the URL of the broker, with its token."""

from __future__ import annotations

import asyncio
from pathlib import Path

from msgspec import Struct

from tickwire.cli.connection import settings_of
from tickwire.cli.output import render
from tickwire.errors import BadRequest
from tickwire.process import runfile
from tickwire.process.lifecycle import Exit


class Urls(Struct, frozen=True):
    """URLs of the broker, with the token it requires."""

    nats_url: str
    websocket_url: str | None


async def url(_stop: asyncio.Event, path: Path | None, websocket: bool, json: bool) -> int:
    """Print the broker's URL, or its WebSocket URL. Raises BrokerUnavailable, and BadRequest where there is none."""
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
        raise BadRequest("no WebSocket URL of this broker is known", "set nats.websocket_port for `up`")
    return Exit.OK
