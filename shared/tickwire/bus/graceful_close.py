"""Closing: drains, then closes; never blocks on a dead broker.

Facts about nats-py 2.16, each seen here: a drain waits its whole time (10 s) for a broker that dies meanwhile, and
takes a cancellation for its end; an attempt to reconnect loses a cancellation that arrives together with a refused
connection, and goes on for ever (https://github.com/python/cpython/issues/86296).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

import nats.errors
from nats.aio.client import Client

from tickwire.bus.natspy import BusClient
from tickwire.observe import logs

log = logs.get(__name__)

CANCEL_AGAIN_S = 0.1
"""A cancelled task that goes on is cancelled again after this time."""


class Unsubscribable(Protocol):
    """A subscription of nats-py, plain or of JetStream."""

    async def unsubscribe(self) -> None: ...


async def close(client: BusClient, lost: asyncio.Event) -> None:
    """Drain a connection and close it; `lost` is set while the broker is away."""
    if client.is_connected:
        draining = asyncio.create_task(client.drain())
        try:
            await _done_or_lost(draining, lost)
        except (nats.errors.Error, TimeoutError) as error:
            log.warning("could not drain", error=repr(error))
        finally:
            if not draining.done():
                await _cut_off(client)
                await _ended(draining)
    if not client.is_closed:
        await _cut_off(client)
        await client.close()


async def unsubscribe(client: Client, subscription: Unsubscribable) -> None:
    """End a subscription, also while the broker is away: nats-py would subscribe again when the broker is back.

    Returns at once when the connection is closing or closed, which ends its subscriptions.
    """
    if not (client.is_closed or client.is_draining):
        await subscription.unsubscribe()


async def unless_lost(lost: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Await `work`, or cancel it when the connection is lost. Raises what `work` raises."""
    task = asyncio.create_task(work)
    try:
        await _done_or_lost(task, lost)
    finally:
        await _ended(task)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended, with whatever result."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug("cancelled", error=repr(error))


async def _done_or_lost(task: asyncio.Task[None], lost: asyncio.Event) -> None:
    waiting = asyncio.create_task(lost.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if task.done():
        task.result()


async def _cut_off(client: BusClient) -> None:
    if (reconnecting := client.reconnecting) is not None:
        await _ended(reconnecting)
    client.forget_server()
