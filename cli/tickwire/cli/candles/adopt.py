"""`tickwire candles adopt`: a cache folder that belonged to another broker goes on with this one."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path

from tickwire.cli.connection import connected, settings_of
from tickwire.cli.output import render
from tickwire.errors import BadRequest
from tickwire.process.lifecycle import Exit

PATIENCE_S = 2.0
"""How long the folder's last cache may take to end."""


async def adopt(stop: asyncio.Event, config: Path | None, yes: bool, json: bool) -> int:
    """Give the folder to the configured broker. Raises ConfigError while caches work on it."""
    # By name, as services are: what is shared knows none of them.
    folder = importlib.import_module("tickwire.cache.folder_owner")
    settings = settings_of(config)
    directory = settings.cache_dir
    if not directory.is_dir():
        raise BadRequest(f"there is no cache folder {directory}", "see data_dir and cache.dir")
    async with connected(settings) as bus:
        mine = await folder.identity(bus.jetstream)
    before = folder.recorded_owner(directory)
    changes = before is None or not before.is_the_same(mine)
    if changes and not yes:
        await _ask(folder.refusal(directory, before, mine) if before else f"the owner of {directory} is unknown")
    if changes:
        await folder.give(directory, mine, PATIENCE_S)
    if json:
        render.as_json({"folder": str(directory), "before": before, "now": mine, "changed": changes})
    elif changes:
        print(f"{directory} belongs to this broker now ({mine})")
    else:
        print(f"{directory} belongs to this broker already ({mine})")
    return Exit.OK


async def _ask(what: str) -> None:
    if not sys.stdin.isatty():
        raise BadRequest(f"{what}; nobody is there to be asked whether it should", "say --yes")
    print(what, file=sys.stderr)
    print("Give it to this broker? The other one's caches are refused from then on. [y/N] ", end="", file=sys.stderr)
    sys.stderr.flush()
    answer = await asyncio.to_thread(sys.stdin.readline)
    if answer.strip().lower() not in ("y", "yes"):
        raise BadRequest("nothing was changed", "answer y, or say --yes")
