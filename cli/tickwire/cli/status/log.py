"""`tickwire log`: changes the log level of the running services."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import render
from tickwire.cli.processes.log_level import CONTROL_LOG
from tickwire.cli.status.survey import GATHER_S
from tickwire.errors import BadRequest, NoSuchService
from tickwire.model import messages
from tickwire.model.messages import LogLevel
from tickwire.process.lifecycle import Exit


async def log(stop: asyncio.Event, config: Path | None, level: str, logger: str) -> int:
    """Set the level of a logger in every running service. Raises NoSuchService where none confirms it."""
    try:
        wanted = msgspec.convert({"level": level, "logger": logger}, LogLevel)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{logger[:80]!r} is no logger: {error}", "name one, such as tickwire.fetcher") from error
    began = time.monotonic()
    async with connected(settings_of(config)) as bus:
        confirmed = await bus.request_all(CONTROL_LOG, messages.encode(wanted), wait_s=GATHER_S)
    if not confirmed:
        raise NoSuchService(
            f"no service confirmed the level within {time.monotonic() - began:.1f} s", "start all with `tickwire up`"
        )
    print(f"{logger} is at {level} in {render.plural(len(confirmed), 'service process', 'service processes')}")
    return Exit.OK
