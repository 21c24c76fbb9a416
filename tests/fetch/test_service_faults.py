"""A fetcher whose exchange fails: a passing fault costs time, a lasting one leaves what is missing named."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fetch.fetched import DAY, NOW, cached, fetch, klines, truth
from support.processes import SimulatorProcess
from tickwire.bus.connection import Bus
from tickwire.model import timeframes
from tickwire.model.ranges import Range

pytestmark = pytest.mark.actors

FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("status", {"code": 500, "count": 2}),
    ("status", {"code": 503, "count": 2}),
    ("status", {"code": 429, "count": 1}),
    ("truncated", {"count": 2}),
    ("empty", {"count": 1}),
    ("empty", {"count": 1, "after": 1}),
    ("short", {"count": 3, "rows": 7}),
    ("drop", {"count": 2}),
    ("hang", {"count": 1}),
    ("delay", {"count": 1, "seconds": 0.3}),
    ("same_last", {"count": 1}),
]


@pytest.mark.parametrize(("kind", "parameters"), FAULTS)
@pytest.mark.usefixtures("services")
async def test_a_passing_fault_costs_time_and_no_candle(
    bus: Bus, exchange: SimulatorProcess, kind: str, parameters: dict[str, Any]
) -> None:
    await exchange.fault("klines", kind, **parameters)
    job = await fetch(bus, since=NOW - 2 * DAY)
    assert (job.state, job.complete, job.missing, job.error) == ("done", True, [], None)
    assert await cached(bus) == await truth(exchange, NOW - 2 * DAY, NOW)


@pytest.mark.parametrize("kind", ["status", "truncated", "hang", "drop"])
@pytest.mark.usefixtures("services")
async def test_an_exchange_that_stays_broken_fails_the_job_which_keeps_what_it_has(
    bus: Bus, exchange: SimulatorProcess, kind: str
) -> None:
    await exchange.fault("klines", kind, after=1)
    job = await fetch(bus, since=NOW - 2 * DAY)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "exchange_failed"
    assert job.retries == 2
    fetched = timeframes.advance("1m", NOW - 2 * DAY, 1000)
    assert job.missing == [Range(fetched, NOW)]
    assert await cached(bus) == await truth(exchange, NOW - 2 * DAY, fetched)
    await exchange.clear()
    again = await fetch(bus, since=NOW - 2 * DAY)
    assert (again.complete, again.rows_from_cache) == (True, 1000)


@pytest.mark.parametrize("kind", ["empty", "same_last"])
@pytest.mark.usefixtures("services")
async def test_an_exchange_that_brings_nothing_new_ends_as_missing_and_not_in_a_loop(
    bus: Bus, exchange: SimulatorProcess, kind: str
) -> None:
    await exchange.fault("klines", kind, after=1)
    job = await fetch(bus, since=NOW - 2 * DAY)
    assert (job.state, job.complete, job.error) == ("done", False, None)
    assert await cached(bus) == [
        row
        for row in await truth(exchange, NOW - 2 * DAY, NOW)
        if not any(gap.since <= row[0] < gap.until for gap in job.missing)
    ]
    assert len(await klines(exchange)) < 15


@pytest.mark.usefixtures("services")
async def test_no_request_is_made_while_a_retry_after_runs(bus: Bus, exchange: SimulatorProcess) -> None:
    await exchange.fault("klines", "status", code=429, retry_after=2, count=1)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(fetch(bus))
        while not any(entry["status"] == 429 for entry in await exchange.log()):
            await asyncio.sleep(0.02)
        second = group.create_task(fetch(bus, symbol="BTC/USDT"))
    assert first.result().complete
    assert second.result().complete
    log = await exchange.log()
    refused = next(entry for entry in log if entry["status"] == 429)
    later = [entry["time_ms"] - refused["time_ms"] for entry in log if entry["index"] > refused["index"]]
    assert min(later) >= 1_900
