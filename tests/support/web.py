"""An HTTP server on loopback for what a test plays: an exchange, a database, a page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tickwire.settings import ExchangeSettings


@asynccontextmanager
async def served(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]] | Path, port: int = 0
) -> AsyncIterator[str]:
    """The URL of a server whose requests, of any method and path, go to `handle`; a folder's files are served."""
    app = web.Application()
    if isinstance(handle, Path):
        app.router.add_static("/", handle)
    else:
        app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def exchange_at(url: str, timeout: int = 60_000, **ccxt: Any) -> ExchangeSettings:
    """An exchange that is served at `url`, for clients of ccxt with these options, without their throttle.

    Where no answer is waited for, a busy machine is slow: the timeout (ms) is of tests whose requests are to time out.
    """
    return ExchangeSettings(
        gateway=url, ccxt={"enableRateLimit": False, "timeout_on_exit": 0, "timeout": timeout} | ccxt
    )
