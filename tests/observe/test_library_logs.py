"""What a program that uses tickwire as a library, with the standard library's logging alone, reads on its screen."""

from __future__ import annotations

import asyncio
import sys

import pytest

pytestmark = pytest.mark.actors

PROGRAM = """
import asyncio, sys
from tickwire.bus.connection import connect
from tickwire.settings import NatsSettings

async def main():
    async with connect(NatsSettings(url=sys.argv[1]), name="test") as bus:
        go = asyncio.Event()

        async def take(message):
            await go.wait()

        await bus.client.subscribe("some.subject", cb=take, pending_msgs_limit=1)
        for _ in range(300):
            await bus.client.publish("some.subject", b"x")
        await bus.client.flush()
        go.set()

asyncio.run(main())
"""


async def test_a_subscription_that_is_too_slow_is_told_once_and_by_name(broker: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, broker, stderr=asyncio.subprocess.PIPE
    )
    errors = (await process.communicate())[1].decode().splitlines()
    assert errors == ["a subscription is too slow, and messages are dropped (subject=some.subject)"]
