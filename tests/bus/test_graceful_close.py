"""Closing a connection to a dead broker: nothing waits for it, and no task of the connection remains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec import Struct

from support.brokers import Server
from support.ports import free_port
from tickwire.bus.connection import Bus, connect
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.model.messages import Candles, KeyRequest
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.actors

PROMPTLY_S = 5
"""Half of what nats-py would wait."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    port = free_port()
    config = tmp_path / "nats.conf"
    config.write_text(f"listen: 127.0.0.1:{port}\nlogtime: false\n")
    async with Server(tmp_path, config, port) as server:
        yield server


async def handle(request: KeyRequest, _call: Call) -> Struct:
    return Candles(exchange=request.exchange, symbol=request.symbol, timeframe=request.timeframe, rows=[])


async def joined(url: str, many: int) -> list[tuple[Bus, AsyncExitStack]]:
    """Services, each with a connection of its own."""
    services = []
    for number in range(many):
        stack = AsyncExitStack()
        bus = await stack.enter_async_context(connect(NatsSettings(url=url), name="test"))
        endpoint = Endpoint("cache.get", KeyRequest, handle)
        await stack.enter_async_context(serve(bus, "cache", [endpoint], instance=str(number)))
        services.append((bus, stack))
    return services


async def test_a_broker_that_dies_while_services_end_is_not_waited_for(server: Server) -> None:
    services = await joined(server.url, 10)
    server.suspend()
    async with asyncio.timeout(PROMPTLY_S), asyncio.TaskGroup() as group:
        for bus, stack in services:
            await bus.publish("never.sent", KeyRequest(exchange="a", symbol="b", timeframe="1m"))
            group.create_task(stack.aclose())
        await asyncio.sleep(0)
        await server.kill()
    assert all(bus.client.is_closed for bus, _ in services)


async def test_a_connection_that_dies_while_it_is_drained_is_not_waited_for(server: Server) -> None:
    stacks = []
    for _ in range(10):
        stack = AsyncExitStack()
        stacks.append((await stack.enter_async_context(connect(NatsSettings(url=server.url), name="test")), stack))
    server.suspend()
    async with asyncio.timeout(PROMPTLY_S), asyncio.TaskGroup() as group:
        for bus, stack in stacks:
            await bus.publish("never.sent", KeyRequest(exchange="a", symbol="b", timeframe="1m"))
            group.create_task(stack.aclose())
        while not all(bus.client.is_draining for bus, _ in stacks):
            await asyncio.sleep(0)
        await server.kill()
    assert all(bus.client.is_closed for bus, _ in stacks)


async def test_a_service_that_looks_for_its_broker_ends_at_any_moment(server: Server) -> None:
    services = await joined(server.url, 60)
    await server.kill()
    async with asyncio.timeout(2 * PROMPTLY_S), asyncio.TaskGroup() as group:
        for _, stack in services:
            # Moments of a round of 0.2 s between attempts, each connection's at another place in it.
            await asyncio.sleep(0.007)
            group.create_task(stack.aclose())
    assert all(bus.client.is_closed for bus, _ in services)
    assert not [task for task in asyncio.all_tasks() if "reconnect" in repr(task.get_coro())]
