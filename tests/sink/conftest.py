"""What tests of the sink stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.influx import InfluxDb, influxdb


@pytest.fixture
async def influx(tmp_path: Path) -> AsyncIterator[InfluxDb]:
    """A database of this test's own."""
    async with influxdb(tmp_path / "influx") as database:
        yield database
