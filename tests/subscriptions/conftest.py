"""What tests of subscriptions stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.processes import SimulatorProcess, running_simulator
from support.venues import as_new


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trading(request: pytest.FixtureRequest) -> AsyncIterator[SimulatorProcess]:
    """A simulated exchange where each symbol trades as often a second as RATE of the test file says."""
    async with running_simulator("--live-rate", str(request.module.RATE)) as process:
        yield process


@pytest.fixture
async def exchange(trading: SimulatorProcess) -> AsyncIterator[SimulatorProcess]:
    """The same, as new."""
    async with as_new(trading) as process:
        yield process
