"""`tickwire simulator`: the simulated exchange in this process."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence


async def simulator(stop: asyncio.Event, arguments: Sequence[str]) -> None:
    """Run the simulated exchange with its own command line arguments until `stop` is set."""
    configured = importlib.import_module("tickwire.simulator.__main__").configured
    settings = configured(list(arguments))
    serve = importlib.import_module("tickwire.simulator.server").serve
    await serve(settings, stop)
