"""A failing exchange: the result is complete, or says exactly what is missing. Never a silent hole."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from support.pipeline import Pipeline, pipeline
from support.processes import running_simulator
from tickwire.bus import embedded as embedded_broker
from tickwire.model.messages import Job
from tickwire.model.ranges import Range, subtract
from tickwire.model.subjects import Key

MINUTE = 60_000
pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="module")]

KEY = Key("binance", "BTC/USDT", "1m")
CANDLES = 2500


blocks = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_line(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pipeline]:
    """One pipeline for all tests of this file: each asks for a range of its own, older than those before."""
    folder = tmp_path_factory.mktemp("faults")
    async with (
        embedded_broker.embedded(folder / "nats") as broker,
        running_simulator() as simulator,
        pipeline(broker, simulator, folder) as running,
    ):
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def line(shared_line: Pipeline) -> AsyncIterator[Pipeline]:
    await shared_line.simulator.forget_log()
    yield shared_line
    await shared_line.simulator.clear()


async def a_range(line: Pipeline) -> Range:
    now = int((await line.simulator._json("GET", "clock"))["now"])
    until = now // MINUTE * MINUTE - next(blocks) * (CANDLES + 60) * MINUTE
    return Range(until - CANDLES * MINUTE, until)


async def assert_honest(line: Pipeline, job: Job, asked: Range) -> None:
    """What is not listed as missing is there, value for value; and nothing else is."""
    truth = await line.simulator.truth(
        "candles", symbol=KEY.symbol, timeframe=KEY.timeframe, since=asked.since, until=asked.until
    )
    known = subtract(asked, [Range(*missing) for missing in job.missing])
    expected = [
        [float(value) for value in row[:6]]
        for row in truth
        if any(since <= int(row[0]) < until for since, until in known)
    ]
    held = [list(row) for row in line.rows(KEY) if any(since <= row[0] < until for since, until in known)]
    assert held == expected
    assert job.complete == (not job.missing)
    assert (job.state == "failed") == (job.error is not None)


async def fetched(line: Pipeline, **options: Any) -> tuple[Job, Range]:
    asked = await a_range(line)
    job = await line.fetch(KEY, asked.since, asked.until, **options)
    await assert_honest(line, job, asked)
    return job, asked


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "code": 500},
        {"kind": "status", "code": 503},
        {"kind": "status", "code": 429, "retry_after": 1},
        {"kind": "status", "code": 418, "retry_after": 1},
        {"kind": "truncated"},
        {"kind": "drop"},
        {"kind": "hang"},
        {"kind": "delay", "seconds": 0.3},
        {"kind": "short", "rows": 100},
        {"kind": "empty"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
async def test_a_passing_fault_is_overcome(line: Pipeline, fault: dict[str, Any]) -> None:
    await line.simulator.fault("klines", count=1, after=1, **fault)
    job, _ = await fetched(line)
    assert job.complete, job


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "code": 500},
        {"kind": "truncated"},
        {"kind": "drop"},
        {"kind": "empty"},
        {"kind": "same_last"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
async def test_a_lasting_fault_ends_the_job_and_keeps_what_there_is(line: Pipeline, fault: dict[str, Any]) -> None:
    await line.simulator.fault("klines", count=None, after=1, **fault)
    job, asked = await fetched(line)
    assert not job.complete
    # The first page arrived; at most a candle that was repeated for ever is known besides.
    assert job.missing[0].since == asked.since + 1000 * MINUTE
    assert sum(until - since for since, until in job.missing) >= (CANDLES - 1001) * MINUTE
    await line.simulator.clear()
    repaired = await line.fetch(KEY, asked.since, asked.until)
    assert repaired.complete
    assert repaired.rows_from_cache in (1000, 1001)
    await assert_honest(line, repaired, asked)


async def test_pages_that_always_stop_short_still_make_a_whole(line: Pipeline) -> None:
    await line.simulator.fault("klines", "short", rows=300)
    job, _ = await fetched(line)
    assert job.complete


@pytest.mark.parametrize("on_its_way", [0, 1])
async def test_no_request_is_made_while_a_retry_after_runs(line: Pipeline, on_its_way: int) -> None:
    # With the second page a third is sent, which the exchange gets before its refusal has arrived.
    await line.simulator.fault("klines", "status", code=429, retry_after=2, count=1, after=on_its_way)
    job, _ = await fetched(line)
    assert job.complete
    assert job.retries >= 1
    log = await line.simulator.log()
    refused = next(entry for entry in log if entry["status"] == 429)
    later = sorted(entry["time_ms"] - refused["time_ms"] for entry in log if entry["index"] > refused["index"])
    assert len(later) > on_its_way
    assert later[on_its_way] >= 2000


async def test_a_listing_later_than_since_is_found_and_what_lies_before_is_known(line: Pipeline) -> None:
    key = Key("binance", "ETH/USDT", "1m")
    now = int((await line.simulator._json("GET", "clock"))["now"])
    until = now // MINUTE * MINUTE - 60 * MINUTE
    listed = until - 700 * MINUTE
    since = until - 200_000 * MINUTE
    await line.simulator.fault("klines", "listing", since=listed)
    job = await line.fetch(key, since, until)
    assert job.complete, job
    rows = line.rows(key)
    assert (rows[0][0], len(rows)) == (listed, 700)
    await line.simulator.forget_log()
    assert (await line.fetch(key, since, until)).complete
    assert await line.simulator.log("klines") == []
