"""Waits until instances of a service answer pings."""

from __future__ import annotations

import asyncio

from tickwire.bus.connection import Bus
from tickwire.errors import BrokerUnavailable

POLL_S = 0.05
ANSWER_S = 0.5


async def ready(bus: Bus, service: str, count: int = 1) -> None:
    """Wait until `count` instances of a service answer."""
    # Polled, because NATS does not announce new endpoints.
    while len(await instances(bus, service, count)) < count:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)


async def instances(bus: Bus, service: str, count: int) -> set[bytes]:
    """Ping a service; return the distinct answers within half a second, or the first `count`."""
    try:
        return set(await bus.request_all(f"$SRV.PING.{service}", wait_s=ANSWER_S, most=count))
    except BrokerUnavailable:
        return set()
