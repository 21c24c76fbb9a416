"""Large messages by the hundred: the sink keeps its lease, and writes each trade once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink.tape_and_database import SINK, Writer, assert_equal, sinking, until_written
from support.influx import InfluxDb
from support.pipeline import CONFIG, Pipeline, pipeline
from support.processes import SimulatorProcess
from tickwire.sink.reader import BATCH_BYTES, next_limit

pytestmark = pytest.mark.faults

TTL_S = 2.0
TRADES = 5000
"""In one message: 450 KB, about the most that a message may have."""


def said(line: Pipeline, event: str) -> list[dict[str, object]]:
    """What the sink logged of one kind."""
    lines = (line.folder / "sink-0.log").read_text().splitlines()
    found = [json.loads(each) for each in lines if each.startswith("{")]
    return [each for each in found if each["event"] == event]


@pytest.mark.needs("influxdb")
async def test_messages_of_thousands_of_trades_cost_the_sink_no_lease_and_no_batch(
    broker: str, influx: InfluxDb, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    config = CONFIG + "[log]\nstalls = true\n" + SINK.format(influx=influx.url)
    async with pipeline(broker, simulator, tmp_path, (), config, lease_ttl_s=TTL_S) as line:
        # Declared, so that all of it waits on the tape when the sink begins.
        writer = Writer(line.bus)
        for number in range(48):
            await writer.write(["BTC/USDT", "ETH/USDT"][number % 2], TRADES)
        await line.start("sink")
        await line.ready("sink")
        await until_written(line.bus, timeout_s=300)
        async with asyncio.timeout(100):
            # Counted after the acknowledgement.
            while (report := await sinking(line.bus)).trades < 48 * TRADES:
                await asyncio.sleep(0.05)
        assert report.trades == 48 * TRADES
        await assert_equal(influx, writer.written)
        assert not said(line, "lease lost")
        assert len(said(line, "lease held")) == 1
        # Nothing was written twice: each batch was acknowledged the first time.
        assert not said(line, "messages were lost on the way, reading them again")
        assert report.points == 48 * TRADES + len(await influx.query("SELECT * FROM trade_sizes"))
        stalls = [each["longest_stall_ms"] for each in said(line, "stalls")]
        assert stalls
        assert all(isinstance(each, float | int) and each < TTL_S / 3 * 1000 for each in stalls), stalls


@given(asked=st.integers(1, 500), share=st.floats(0, 1), size=st.integers(1, 1 << 20))
def test_a_batch_fits_into_its_room_and_grows_carefully(asked: int, share: float, size: int) -> None:
    came = round(asked * share)
    following = next_limit(asked, came, came * size)
    assert 1 <= following <= 2 * asked
    if came:
        assert following == 1 or following * size <= BATCH_BYTES
    if came < asked:
        # A few that came late say nothing about how many there will be.
        assert following <= asked
    if came == asked and asked * size * 2 <= BATCH_BYTES:
        assert following == 2 * asked
