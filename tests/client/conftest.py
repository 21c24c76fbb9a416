"""The pipeline behind the tests of the Python client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.clients import SETTLING
from support.pipeline import Pipeline, pipeline
from support.processes import running_simulator
from tickwire.bus import embedded as embedded_broker
from tickwire.client import Client, connect


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    """Every service, on an exchange where each symbol trades 100 times a second."""
    folder = tmp_path_factory.mktemp("client")
    async with (
        embedded_broker.embedded(folder / "nats") as url,
        running_simulator("--live-rate", "100", "--symbols", "40") as exchange,
        pipeline(url, exchange, folder, ("cache", "fetcher", "streamer"), SETTLING) as running,
    ):
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def client(line: Pipeline) -> AsyncIterator[Client]:
    """A client of it."""
    async with connect(line.bus.url) as connected:
        yield connected
    await line.simulator.clear()
