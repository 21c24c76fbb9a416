"""A connection that is awaited, and given up before it is made."""

from __future__ import annotations

import asyncio

import pytest

from tickwire.client import Client, connect

pytestmark = pytest.mark.system


async def test_a_connection_that_is_given_up_leaves_no_task() -> None:
    accepted, over = asyncio.Event(), asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await over.wait()
        writer.close()

    async def connected(port: int) -> Client:
        return await connect(f"nats://127.0.0.1:{port}")

    async with asyncio.timeout(100), await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        before = asyncio.all_tasks()
        connecting = asyncio.create_task(connected(server.sockets[0].getsockname()[1]))
        await accepted.wait()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        over.set()
        left = asyncio.all_tasks() - before
        assert [each for each in left if "_hold" in repr(each)] == []
