"""Two cache instances on one folder: never two writers, quick takeover, every request answered."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cache.suspending import suspend_between_commits
from support.pipeline import SHORT_S, Pipeline, pipeline
from support.processes import SimulatorProcess
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, Candles, CandlesRequest, Coverage, KeyRequest, Row
from tickwire.model.subjects import Key

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("declared")]

MINUTE = 60_000
START = 1_700_000_040_000 // MINUTE * MINUTE
KEYS = [Key("binance", symbol, "1m") for symbol in ("A/B", "C/D", "E/F", "G/H", "I/J", "K/L", "M/N", "O/P")]


def page(key: Key, number: int, rows: int = 10) -> CandlePage:
    since = START + number * rows * MINUTE
    made: list[Row] = [(since + i * MINUTE, 1.0 + number, 2.0 + number, 0.5, 1.5, float(i)) for i in range(rows)]
    return CandlePage(**key._asdict(), since=since, until=since + rows * MINUTE, rows=made)


async def publish(line: Pipeline, key: Key, number: int) -> None:
    sent = page(key, number)
    await line.bus.append(subjects.ohlcv(key), messages.encode(sent), message_id=f"{key}-{number}")


async def all_stored(line: Pipeline, pages: int) -> None:
    """Wait until every key has that many pages announced as durable."""
    async with asyncio.timeout(100):
        while True:
            until = {(s.symbol): s.until for s in sorted(line.stored, key=lambda s: s.until)}
            if all(until.get(key.symbol, 0) >= START + pages * 10 * MINUTE for key in KEYS):
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def probe(folder: Path) -> AsyncIterator[None]:
    """Read every partition's checkpoint all the time: its epoch must never go back, for that is a second writer."""
    newest: dict[str, tuple[int, int]] = {}

    async def watch() -> None:
        while True:
            for path in (folder / f".partition-{number}.json" for number in range(8)):
                try:
                    found = json.loads(path.read_text())
                except FileNotFoundError:
                    continue
                epoch = (int(found["generation"]), int(found["epoch"]))
                assert epoch >= newest.get(path.name, (0, 0)), f"{path.name} was written by an older holder"
                newest[path.name] = epoch
            await asyncio.sleep(0.002)

    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch())
        yield
        watcher.cancel()
    assert newest, "the probe saw no checkpoint"


@pytest.fixture
async def line(broker: str, simulator: SimulatorProcess, tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with pipeline(broker, simulator, tmp_path, ["cache"], lease_ttl_s=SHORT_S) as running:
        await running.observe_stored()
        yield running


def assert_files_are_whole(line: Pipeline, pages: int) -> None:
    for key in KEYS:
        assert line.rows(key) == [row for number in range(pages) for row in page(key, number).rows]


async def coverage(line: Pipeline, key: Key) -> Coverage:
    ask = KeyRequest(**key._asdict())
    return await line.bus.request("cache.coverage", ask, Coverage, timeout_s=15)


async def test_a_killed_instance_is_followed_within_the_ttl_and_every_request_is_answered(line: Pipeline) -> None:
    await line.start("cache", 1)
    await line.started("cache", 1)
    for key in KEYS:
        await publish(line, key, 0)
    await all_stored(line, 1)
    answered = 0
    over = asyncio.Event()

    async def keep_asking() -> None:
        nonlocal answered
        while not over.is_set():
            for key in KEYS:
                found = await coverage(line, key)
                assert found.rows >= 10
                answered += 1

    async with probe(line.cache_dir), asyncio.TaskGroup() as group:
        group.create_task(keep_asking())
        await line.kill("cache", 0)
        for key in KEYS:
            await publish(line, key, 1)
        await all_stored(line, 2)
        over.set()
    assert answered > 0
    assert_files_are_whole(line, 2)


async def test_a_paused_instance_writes_nothing_when_it_continues(line: Pipeline) -> None:
    for key in KEYS:
        await publish(line, key, 0)
    await all_stored(line, 1)
    first = line.running["cache-0"].process
    await line.start("cache", 1)
    await line.started("cache", 1)
    async with probe(line.cache_dir):
        await suspend_between_commits(first, line.cache_dir)
        for key in KEYS:
            await publish(line, key, 1)
        await all_stored(line, 2)
        first.send_signal(signal.SIGCONT)
        for key in KEYS:
            await publish(line, key, 2)
        await all_stored(line, 3)
        for key in KEYS:
            assert (await coverage(line, key)).rows == 30
    assert_files_are_whole(line, 3)


async def test_instances_that_come_and_go_under_load_lose_nothing(line: Pipeline) -> None:
    pages = 60

    async def load() -> None:
        for number in range(pages):
            for key in KEYS:
                await publish(line, key, number)

    async with probe(line.cache_dir), asyncio.TaskGroup() as group:
        loading = group.create_task(load())
        for number in (1, 2, 3):
            await line.start("cache", number)
            await line.started("cache", number)
            if number % 2:
                await line.kill("cache", number - 1)
            else:
                assert await line.stop("cache", number - 1) == 0
        await loading
        await all_stored(line, pages)
    assert_files_are_whole(line, pages)


async def test_a_reply_over_the_limit_comes_in_chunks_from_whichever_instance_is_asked(line: Pipeline) -> None:
    await line.start("cache", 1)
    await line.started("cache", 1)
    key = KEYS[0]
    for number in range(20):
        sent = page(key, number, rows=1000)
        await line.bus.append(subjects.ohlcv(key), messages.encode(sent), message_id=str(number))
    async with asyncio.timeout(100):
        while not any(stored.until >= START + 20_000 * MINUTE for stored in line.stored):
            await asyncio.sleep(0.02)
    ask = CandlesRequest(**key._asdict())
    for _ in range(6):
        chunks = [c async for c in line.bus.request_chunks("cache.get", ask, lambda d: messages.decode(d, Candles))]
        assert len(chunks) > 1
        got = [row for chunk in chunks for row in chunk.rows]
        assert got == [row for number in range(20) for row in page(key, number, rows=1000).rows]
