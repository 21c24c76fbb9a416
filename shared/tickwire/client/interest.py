"""Interest in a feed: registered, renewed for as long as a block lasts, withdrawn at its end."""

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
from tickwire.task_group import TaskGroup

START_TIMEOUT_S = 60.0
"""The first feed of an exchange waits until its markets are loaded."""
STOP_TIMEOUT_S = 3.0
TTL_S = 10
SUBSCRIBER = "cli"
"""The default subscriber of `tickwire start`."""

log = logs.get(__name__)


def subscriber(command: str) -> str:
    """A unique subscriber name: `watch-<host>-<random>`."""
    host = "".join(character for character in socket.gethostname() if character.isalnum())
    return f"{command}-{host}-{secrets.token_hex(3)}"


async def start(bus: Bus, request: StartRequest) -> FeedReport:
    """Register an interest; waits for a streamer that is restarting.

    Raises the streamer's typed refusal, and NoSuchService when no streamer comes.
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


def start_request(
    feed: Feed, name: str, *, ttl_s: int | None = TTL_S, depth: int | None = None, cadence_ms: int | None = None
) -> StartRequest:
    """The interest of subscriber `name` in a feed, which expires `ttl_s` after its last renewal, if it is set."""
    return StartRequest(
        kind=feed.kind,
        exchange=feed.exchange,
        symbol=feed.symbol,
        timeframe=feed.timeframe,
        subscriber=name,
        ttl_s=ttl_s,
        depth=depth,
        cadence_ms=cadence_ms,
    )


@asynccontextmanager
async def interested(
    bus: Bus, request: StartRequest, *, report: Callable[[str], None] = log.warning
) -> AsyncIterator[FeedReport]:
    """Keep a feed running for as long as the block lasts; yields the report of its start.

    Renews the interest each third of its TTL, so that it expires when this process dies. `report` gets a line when no
    streamer answers any more, and when one answers again. Raises as `start` does.
    """
    try:
        feed = await start(bus, request)
        async with lifecycle.unwrapped(), TaskGroup() as group:
            renewing = group.create_task(_renew(bus, request, report))
            try:
                yield feed
            finally:
                renewing.cancel()
    finally:
        # Also when the start was cancelled half-way. Where the request is lost, the interest expires.
        if bus.client.is_connected:
            with suppress(TickwireError):
                await stop(bus, request.feed, request.subscriber, STOP_TIMEOUT_S)


async def _renew(bus: Bus, request: StartRequest, report: Callable[[str], None]) -> None:
    every_s = (request.ttl_s or TTL_S) / 3
    silent = False
    while True:
        await asyncio.sleep(every_s)
        try:
            await bus.request("streamer.start", request, FeedReport, timeout_s=every_s)
        except TickwireError as error:
            if not silent:
                report(f"{request.feed}: {error}")
            silent = True
        else:
            if silent:
                report(f"{request.feed}: a streamer answers again")
            silent = False
