"""The wall clock of the machine is set while feeds stream and ranges are fetched: nothing of the data notices.

The simulator keeps true time; fetcher, streamer and cache run under libfaketime.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support import live
from support.faketime import WallClock, wall_clock
from support.hearing import Heard, hearing
from support.pipeline import CONFIG, OKX_CONFIG, Pipeline, pipeline
from support.processes import SimulatorProcess, running_simulator
from tickwire.model.feeds import Candle, Feed, Status
from tickwire.model.messages import Coverage, KeyRequest
from tickwire.model.subjects import Key

pytestmark = [
    pytest.mark.faults,
    pytest.mark.needs("faketime"),
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("declared"),
]

HOUR = 3600
STEPS = (HOUR, -HOUR, 24 * HOUR)
MINUTE = 60_000
LEASE_TTL_S = 60
"""Far below any step. With 5 s, a busy machine lost sessions again and again, and pages were not stored in time."""
SYMBOL = "BTC/USDT"
SERVICES = ("cache", "fetcher", "streamer")


@asynccontextmanager
async def stepping(
    broker: str, simulator: SimulatorProcess, folder: Path, config: str
) -> AsyncIterator[tuple[Pipeline, WallClock]]:
    """Services whose wall clock can be set."""
    wall = wall_clock(folder)
    async with pipeline(broker, simulator, folder, (), config, lease_ttl_s=LEASE_TTL_S) as line:
        for service in SERVICES:
            await line.start(service, 0, **wall.variables)
        for service in SERVICES:
            await line.ready(service)
        yield line, wall


async def now(line: Pipeline) -> int:
    """The exchange's time, ms."""
    clock: int = (await line.simulator.clock())["now"]
    return clock


async def assert_true(line: Pipeline, key: Key) -> list[tuple[int, int]]:
    """Nothing is verified that has not happened; what is verified is the exchange's own, row by row. The ranges."""
    request = KeyRequest(**key._asdict())
    known = await line.bus.request("cache.coverage", request, Coverage, timeout_s=30)
    rows = {row[0]: row for row in line.rows(key)}
    at = await now(line)
    assert all(until <= at for _, until in known.verified), (known.verified, at)
    for since, until in known.verified:
        truth = await line.simulator.truth("candles", symbol=SYMBOL, timeframe=key.timeframe, since=since, until=until)
        held = [rows[at] for at in sorted(rows) if since <= at < until]
        assert held == [(int(row[0]), *map(float, row[1:6])) for row in truth]
    return [(since, until) for since, until in known.verified]


def closed(heard: Heard[Candle]) -> list[Candle]:
    return [candle for candle in heard.said if candle.closed]


async def assert_candles(line: Pipeline, heard: Heard[Candle], length: int) -> None:
    """Each closed candle once, none before its end, and the complete ones are the exchange's own."""
    told = closed(heard)
    opens = [candle.timestamp for candle in told]
    assert opens == list(range(opens[0], opens[-1] + length, length))
    assert opens[-1] + length <= await now(line)
    truth = await line.simulator.truth(
        "candles", symbol=SYMBOL, timeframe=told[0].timeframe, since=opens[0], until=opens[-1] + length
    )
    exchange_s = {int(row[0]): [float(value) for value in row[1:6]] for row in truth}
    for candle in told[1:]:
        assert candle.complete
        built = [candle.open, candle.high, candle.low, candle.close, candle.volume]
        assert built == exchange_s[candle.timestamp]


async def test_steps_of_the_wall_clock_change_nothing_of_what_is_streamed_and_fetched(
    broker: str, tmp_path: Path
) -> None:
    feed = Feed("candle", "binance", SYMBOL, "1s")
    second, minute = Key("binance", SYMBOL, "1s"), Key("binance", SYMBOL, "1m")
    async with (
        running_simulator("--live-rate", "40") as simulator,
        stepping(broker, simulator, tmp_path, CONFIG) as (line, wall),
        hearing(line.bus, feed.public, Candle) as heard,
        hearing(line.bus, "md.status.>", Status) as told,
    ):
        await live.start(line.bus, feed)
        await heard.until_said(lambda said: sum(each.closed for each in said) >= 3)
        begun = await now(line) // MINUTE * MINUTE
        for number, step in enumerate(STEPS):
            # In the middle of a job, and with the newest candles among those asked for.
            job = await line.submit(minute, begun - (number + 1) * 3000 * MINUTE)
            wall.step(step)
            ended = await job.result()
            assert (ended.state, ended.complete) == ("done", True)
            assert ended.until <= await now(line)
            count = len(closed(heard))
            await heard.until_said(lambda said: sum(each.closed for each in said) >= count + 4)  # noqa: B023
            recent = await line.fetch(second, closed(heard)[0].timestamp)
            assert recent.complete
            assert recent.until <= await now(line)
            await assert_true(line, second)
            assert len(await assert_true(line, minute)) == 1
        wall.step(0)
        count = len(closed(heard))
        await heard.until_said(lambda said: sum(each.closed for each in said) >= count + 4)
        first, last = closed(heard)[0].timestamp, closed(heard)[-1].timestamp + 1000
        await assert_candles(line, heard, 1000)
        assert (await line.fetch(second, first, last)).complete
        assert any(since <= first and last <= until for since, until in await assert_true(line, second))
        # Nor was any socket or feed taken for dead.
        assert not [each for each in told.said if each.event in ("disconnected", "gap", "rejected", "late", "failed")]


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_what_one_cache_hands_to_another_is_answered_whatever_their_clocks_say(
    broker: str, tmp_path: Path, step: int
) -> None:
    wall = wall_clock(tmp_path)
    wall.step(step)
    async with (
        running_simulator() as simulator,
        pipeline(broker, simulator, tmp_path, (), CONFIG, lease_ttl_s=LEASE_TTL_S) as line,
    ):
        await line.start("cache", 0, **wall.variables)
        await line.started("cache", 0)
        await line.start("cache", 1)
        await line.started("cache", 1)
        # Any instance takes a request, and each owns half of the partitions.
        for number in range(40):
            request = KeyRequest(exchange="binance", symbol=f"A{number}/B", timeframe="1m")
            known = await line.bus.request("cache.coverage", request, Coverage, timeout_s=60)
            assert known.rows == 0


async def test_steps_of_the_wall_clock_change_nothing_where_ids_do_not_count(broker: str, tmp_path: Path) -> None:
    """On OKX, over the ends of two minutes."""
    feed, key = Feed("candle", "okx", SYMBOL, "1m"), Key("okx", SYMBOL, "1m")
    async with (
        running_simulator("--live-rate", "40") as simulator,
        stepping(broker, simulator, tmp_path, OKX_CONFIG) as (line, wall),
        hearing(line.bus, feed.public, Candle) as heard,
        hearing(line.bus, "md.status.>", Status) as told,
    ):
        # Twelve seconds before a minute ends.
        await simulator.clock(advance=(48_000 - await now(line)) % MINUTE)
        await live.start(line.bus, feed)
        await heard.until_said(lambda said: bool(said))
        begun = await now(line) // MINUTE * MINUTE
        for number, step in enumerate(STEPS):
            job = await line.submit(key, begun - (number + 1) * 900 * MINUTE)
            wall.step(step)
            ended = await job.result()
            assert (ended.state, ended.complete) == ("done", True)
            assert ended.until <= await now(line)
            count = len(heard.said)
            await heard.until_said(lambda said: len(said) > count)  # noqa: B023
            await assert_true(line, key)
        await heard.until_said(lambda said: sum(each.closed for each in said) >= 1)
        wall.step(-HOUR)
        await heard.until_said(lambda said: sum(each.closed for each in said) >= 2)
        await assert_candles(line, heard, MINUTE)
        last = closed(heard)[-1].timestamp + MINUTE
        async with asyncio.timeout(60):
            while not (await line.fetch(key, begun - 10 * MINUTE, last)).complete:
                pass
        assert any(since <= begun and last <= until for since, until in await assert_true(line, key))
        assert not [each for each in told.said if each.event in ("disconnected", "rejected", "late", "failed")]
