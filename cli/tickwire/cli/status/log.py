"""`tickwire log`: changes the log level of the running services."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec

from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import render
from tickwire.cli.processes.log_level import CONTROL_LOG
from tickwire.client.survey import GATHER_S, services
from tickwire.errors import BadRequest, NoSuchService
from tickwire.model import messages
from tickwire.model.messages import LogLevel
from tickwire.process.lifecycle import Exit


async def log(stop: asyncio.Event, config: Path | None, level: str, logger: str, json: bool) -> int:
    """Set the level of a logger in every running service that has it.

    Raises BadRequest if none has it, NoSuchService if none runs.
    """
    try:
        wanted = msgspec.convert({"level": level, "logger": logger}, LogLevel)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{logger[:80]!r} is no logger: {error}", "name one, such as tickwire.fetcher") from error
    began = time.monotonic()
    async with connected(settings_of(config)) as bus:
        confirmed = await bus.request_all(CONTROL_LOG, messages.encode(wanted), wait_s=GATHER_S)
        running = [] if confirmed else sorted({each.service for each in await services(bus)})
    if running:
        raise BadRequest(
            f"no running service has a logger {logger!r}: there run {', '.join(running)}",
            f"name a module of theirs, such as tickwire.{running[0]}, or leave it out for all",
        )
    if not confirmed:
        raise NoSuchService(
            f"no service confirmed the level within {time.monotonic() - began:.1f} s", "start all with `tickwire up`"
        )
    if json:
        render.as_json({"logger": logger, "level": level, "processes": len(confirmed)})
        return Exit.OK
    print(f"{logger} is at {level} in {render.plural(len(confirmed), 'service process', 'service processes')}")
    return Exit.OK
