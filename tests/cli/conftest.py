"""What tests of commands stand on: `tickwire up`, for all tests of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.commands import Command, up
from support.processes import SimulatorProcess, running_simulator


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exchange() -> AsyncIterator[SimulatorProcess]:
    """A simulated exchange."""
    async with running_simulator() as process:
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, exchange: SimulatorProcess) -> AsyncIterator[Command]:
    """`tickwire up`, asking the simulated exchange."""
    async with up(tmp_path_factory.mktemp("up"), exchange) as command:
        yield command
