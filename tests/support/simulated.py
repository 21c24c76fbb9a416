"""A simulated exchange within the test's own process, and real ccxt clients that are sent to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ccxt.async_support
import ccxt.pro

from tickwire.simulator.config import checked
from tickwire.simulator.server import Simulator, simulator


def at(url: str, urls: Any) -> Any:
    """ccxt's URLs, each rewritten to `<url>/<original host>/<path>`."""
    if isinstance(urls, dict):
        return {name: at(url, each) for name, each in urls.items()}
    return urls.replace("https://", f"{url}/").replace("wss://", f"{url.replace('http', 'ws')}/")


@asynccontextmanager
async def client(url: str, exchange: str = "binance", *, pro: bool = False, **settings: Any) -> AsyncIterator[Any]:
    """Unmodified ccxt against the simulator at `url`, without its throttle, and patient: a busy machine is slow."""
    # No TLS is verified, as there is none: each instance would read the certificates of all authorities (20 ms).
    made = getattr(ccxt.pro if pro else ccxt.async_support, exchange)(
        {"enableRateLimit": False, "timeout_on_exit": 0, "timeout": 60_000, "verify": False, **settings}
    )
    made.urls["api"] = at(url, made.urls["api"])
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def simulated(**settings: Any) -> AsyncIterator[Simulator]:
    """A simulated exchange with settings by the names of SimulatorConfig's fields."""
    async with simulator(checked(settings)) as running:
        yield running
