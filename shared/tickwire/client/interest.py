"""Interest in a feed: asked for, renewed as long as a block lasts, withdrawn at its end."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from tickwire.bus.connection import Bus
from tickwire.errors import TickwireError
from tickwire.model.feeds import Feed, FeedReport, StartRequest, StopRequest
from tickwire.observe import logs
from tickwire.process import lifecycle

START_TIMEOUT_S = 60.0
"""The first feed of an exchange waits until its markets are loaded."""
STOP_TIMEOUT_S = 3.0
TTL_S = 10
SUBSCRIBER = "cli"
"""On whose behalf `tickwire start` asks by default."""

log = logs.get(__name__)


def subscriber(command: str) -> str:
    """A name of one's own: `watch-<host>-<random>`."""
    host = "".join(character for character in socket.gethostname() if character.isalnum())
    return f"{command}-{host}-{secrets.token_hex(3)}"


async def start(bus: Bus, request: StartRequest) -> FeedReport:
    """Register an interest; a streamer that is restarting is waited for.

    Raises the streamer's typed refusal, and NoSuchService when none comes.
    """
    return await bus.service_wait.call(
        lambda: bus.request("streamer.start", request, FeedReport, timeout_s=START_TIMEOUT_S)
    )


async def stop(bus: Bus, feed: Feed, name: str, timeout_s: float = 10.0) -> FeedReport:
    """Withdraw an interest."""
    request = StopRequest(
        kind=feed.kind, exchange=feed.exchange, symbol=feed.symbol, timeframe=feed.timeframe, subscriber=name
    )
    return await bus.request("streamer.stop", request, FeedReport, timeout_s=timeout_s)


@asynccontextmanager
async def interested(
    bus: Bus,
    feed: Feed,
    name: str,
    *,
    ttl_s: int = TTL_S,
    depth: int | None = None,
    cadence_ms: int | None = None,
    say: Callable[[str], None] | None = None,
) -> AsyncIterator[FeedReport]:
    """Have a feed run for as long as the block lasts; the report of its start.

    The interest is renewed each third of `ttl_s`, so that it ends by itself should we die. `say` is told when no
    streamer answers any more, and when one does again. Raises as `start` does.
    """
    request = StartRequest(
        kind=feed.kind,
        exchange=feed.exchange,
        symbol=feed.symbol,
        timeframe=feed.timeframe,
        subscriber=name,
        ttl_s=ttl_s,
        depth=depth,
        cadence_ms=cadence_ms,
    )
    try:
        report = await start(bus, request)
        async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
            renewing = group.create_task(_renew(bus, request, ttl_s / 3, say or log.warning))
            try:
                yield report
            finally:
                renewing.cancel()
    finally:
        # Also when starting was given up half-way. Where it cannot be said, the TTL says it.
        if bus.client.is_connected:
            with suppress(TickwireError):
                await stop(bus, feed, name, STOP_TIMEOUT_S)


async def _renew(bus: Bus, request: StartRequest, every_s: float, say: Callable[[str], None]) -> None:
    silent = False
    while True:
        await asyncio.sleep(every_s)
        try:
            await bus.request("streamer.start", request, FeedReport, timeout_s=every_s)
        except TickwireError as error:
            if not silent:
                say(f"{request.feed}: {error}")
            silent = True
        else:
            if silent:
                say(f"{request.feed}: a streamer answers again")
            silent = False
