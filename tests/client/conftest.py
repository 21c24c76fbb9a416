"""The client that the tests of the Python client share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from support.pipeline import Pipeline
from tickwire.client import Client, connect


@pytest_asyncio.fixture(loop_scope="module")
async def client(line: Pipeline) -> AsyncIterator[Client]:
    """A client of it."""
    async with connect(line.bus.url) as connected:
        yield connected
    await line.simulator.clear()
