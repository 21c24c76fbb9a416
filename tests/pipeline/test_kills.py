"""kill -9 at random moments: the backfill completes, equals the market, and nothing announced is ever missing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.pipeline import SHORT_S, Pipeline, pipeline
from support.processes import SimulatorProcess
from tickwire.errors import JobParked, NoSuchService, RequestTimeout
from tickwire.fetcher.probation import PARKED_AFTER
from tickwire.model.messages import Job, Row
from tickwire.model.subjects import Key

pytestmark = pytest.mark.faults

MINUTE = 60_000
KEY = Key("binance", "BTC/USDT", "1m")


async def truth(simulator: SimulatorProcess, since: int, until: int) -> list[Row]:
    """The simulator's own candles."""
    rows = await simulator.truth("candles", symbol=KEY.symbol, timeframe=KEY.timeframe, since=since, until=until)
    return [(int(r[0]), *(float(value) for value in r[1:6])) for r in rows]  # type: ignore[misc]


async def a_range(simulator: SimulatorProcess, candles: int) -> tuple[int, int]:
    """So many minutes that ended an hour ago by the exchange's clock."""
    now = int((await simulator._json("GET", "clock"))["now"])
    until = now // MINUTE * MINUTE - 60 * MINUTE
    return until - candles * MINUTE, until


def assert_nothing_announced_is_missing(line: Pipeline) -> None:
    there = {row[0] for row in line.rows(KEY)}
    for stored in line.stored:
        announced = sum(1 for date in there if stored.since <= date < stored.until)
        assert announced >= stored.rows, f"{stored} announced, {announced} rows there"


async def fetched(line: Pipeline, since: int, until: int, *, refresh: bool = False) -> Job:
    """Have a range fetched while its fetcher is killed at random.

    Two kills in a row before a page is stored park a job, by design: it is then ordered again, as its error says. That
    is accepted only where there were two kills since it was ordered; every other failure fails.
    """
    while True:
        before = line.kills["fetcher"]
        await line.ready("fetcher")
        try:
            job = await line.submit(KEY, since, until, refresh=refresh)
        except (NoSuchService, RequestTimeout):
            assert line.kills["fetcher"] > before
            continue
        done = await job.result(300)
        if done.error is None:
            return done
        assert done.error.code == JobParked.code, done
        assert line.kills["fetcher"] - before >= PARKED_AFTER, done


async def backfill_under_kills(
    line: Pipeline, kills: int, victims: Sequence[str], seed: int, candles: int = 20_000
) -> None:
    """Backfill again and again while services are killed, until there were so many kills."""
    chance = random.Random(seed)
    await line.observe_stored()
    # Slow answers make the backfill last long enough to be hit in the middle.
    await line.simulator.fault("klines", "delay", seconds=0.02)
    since, until = await a_range(line.simulator, candles)
    result = asyncio.ensure_future(fetched(line, since, until))
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.05, 0.6))
        for victim in chance.choice([[victims[0]], [victims[-1]], list(victims)]):
            await line.kill(victim)
            assert_nothing_announced_is_missing(line)
            await line.start(victim)
        if result.done():
            result.result()
            # Start over on the same key: everything is asked for again, rows that are there stay.
            result = asyncio.ensure_future(fetched(line, since, until, refresh=True))
    done = await result
    assert done.complete, done
    assert done.missing == []
    assert line.rows(KEY) == await truth(line.simulator, since, until)
    assert_nothing_announced_is_missing(line)


async def test_a_backfill_survives_kills_of_fetcher_and_cache(
    broker: str, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    async with pipeline(broker, simulator, tmp_path, lease_ttl_s=SHORT_S) as line:
        await backfill_under_kills(line, 8, ["fetcher", "cache"], seed=1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
async def test_a_backfill_survives_a_hundred_kills(
    broker: str, simulator: SimulatorProcess, tmp_path: Path, seed: int
) -> None:
    async with pipeline(broker, simulator, tmp_path, lease_ttl_s=SHORT_S) as line:
        await backfill_under_kills(line, 30, ["fetcher", "cache"], seed=seed)
