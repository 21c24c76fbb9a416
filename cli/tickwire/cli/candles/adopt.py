"""`tickwire candles adopt`: assigns a cache folder that belonged to another broker to this one."""

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
"""How long to wait for the folder's last cache to end."""


async def adopt(stop: asyncio.Event, config: Path | None, yes: bool, json: bool) -> int:
    """Assign the folder to the configured broker. Raises ConfigError while caches use it."""
    # By name, as services are imported: the command line depends on none of them.
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
        await _confirm(folder.refusal(directory, before, mine) if before else f"the owner of {directory} is unknown")
    if changes:
        await folder.give(directory, mine, PATIENCE_S)
    if json:
        render.as_json({"folder": str(directory), "before": before, "now": mine, "changed": changes})
    elif changes:
        print(f"{directory} belongs to this broker now ({mine})")
    else:
        print(f"{directory} belongs to this broker already ({mine})")
    return Exit.OK


async def _confirm(what: str) -> None:
    if not sys.stdin.isatty():
        raise BadRequest(f"{what}; standard input is no terminal to confirm on", "add --yes")
    print(what, file=sys.stderr)
    question = "Assign it to this broker? Caches of the other broker are refused from then on. [y/N] "
    print(question, end="", file=sys.stderr)
    sys.stderr.flush()
    answer = await asyncio.to_thread(sys.stdin.readline)
    if answer.strip().lower() not in ("y", "yes"):
        raise BadRequest("nothing was changed", "answer y, or add --yes")
