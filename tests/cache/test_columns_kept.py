"""Columns that a cache process keeps beside its files: killed while it writes them, suspended, without space."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from cache.splices import FIRST, KEY, page
from cache.suspending import suspend_between_commits
from pipeline.small_disk import small_disk
from support.pipeline import SHORT_S, Pipeline, pipeline
from support.processes import SimulatorProcess
from tickwire.bus import streams
from tickwire.cache import column_index
from tickwire.client import history
from tickwire.client.columns import requested, rows_of
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, CandlesRequest, Row

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("declared")]

PAGE = 1000
SPAN = history.Span(0, 2**42)


@pytest_asyncio.fixture
async def line(broker: str, simulator: SimulatorProcess, tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with pipeline(broker, simulator, tmp_path, ["cache"], lease_ttl_s=SHORT_S) as started:
        await started.observe_stored()
        yield started


async def publish(line: Pipeline, start: int, pages: int, version: int = 0) -> None:
    """Publish pages from a minute on, and wait until they are durable and no successor applies them again."""
    made = [page(range(at, at + PAGE), version) for at in range(start, start + pages * PAGE, PAGE)]
    for number, one in enumerate(made):
        await append(line, one, f"{version} {number}")
    async with asyncio.timeout(100):
        while {one.since for one in made} - {stored.since for stored in line.stored}:
            await asyncio.sleep(0.005)
        while (await line.bus.jetstream.stream_info(streams.OHLCV)).state.messages:
            await asyncio.sleep(0.02)
    line.stored.clear()


async def append(line: Pipeline, one: CandlePage, name: str) -> None:
    await line.bus.append(subjects.ohlcv(KEY), messages.encode(one), message_id=f"{one.since} {name}")


async def frame_rows(line: Pipeline) -> list[Row]:
    """The rows of the client's frame, whose columns come packed where they are kept."""
    found = await history.frame(line.bus, KEY, SPAN)
    return [(stamp.value // 10**6, *values) for stamp, *values in found.itertuples()]


async def plain_rows(line: Pipeline) -> list[Row]:
    request = CandlesRequest(**KEY._asdict(), format="columns")
    return [row async for chunk in requested(line.bus, request) for row in rows_of(chunk)]


def columns_file(line: Pipeline) -> Path:
    return line.cache_dir / f"{subjects.file_stem(KEY)}.columns"


def written(line: Pipeline) -> tuple[int, int]:
    """What changes with each write to the columns."""
    if not columns_file(line).exists():
        return 0, 0
    status = columns_file(line).stat()
    return status.st_size, status.st_mtime_ns


async def until_written(line: Pipeline, before: tuple[int, int]) -> None:
    async with asyncio.timeout(100):
        while written(line) == before:
            await asyncio.sleep(0)


async def test_a_cache_killed_between_candles_and_columns_answers_with_the_candles(line: Pipeline) -> None:
    for turn in range(6):
        # Every second time older rows change, so that the data file is replaced and its columns are wrong.
        start = FIRST + turn * 12 * PAGE if turn % 2 == 0 else FIRST + turn * 5 * PAGE
        await publish(line, start, 12, turn)
        before = written(line)
        assert await frame_rows(line) == line.rows(KEY)
        await until_written(line, before)
        await line.kill("cache", 0)
        await line.start("cache")
        await line.started("cache")
        expected = line.rows(KEY)
        assert await frame_rows(line) == expected
        assert await plain_rows(line) == expected
    assert columns_file(line).stat().st_size > column_index.RECORD_BYTES


async def test_a_cache_suspended_while_it_keeps_columns_leaves_its_successor_right_ones(line: Pipeline) -> None:
    await publish(line, FIRST, 30)
    before = written(line)
    await frame_rows(line)
    await until_written(line, before)
    sleeper = line.running["cache-0"].process
    # Elsewhere it would hold a lock that its successor waits for.
    await suspend_between_commits(sleeper, line.cache_dir)
    await line.start("cache", 1)
    await line.started("cache", 1)
    await publish(line, FIRST + 10 * PAGE, 3, version=7)
    sleeper.send_signal(signal.SIGCONT)
    for _ in range(5):
        assert await frame_rows(line) == line.rows(KEY)


async def test_without_space_no_columns_are_kept_and_every_read_is_answered(
    broker: str, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    with small_disk() as disk:
        (tmp_path / "cache").symlink_to(disk.folder)
        async with pipeline(broker, simulator, tmp_path, ["cache"]) as line:
            await line.observe_stored()
            await publish(line, FIRST, 12)
            # Space for candles, not for columns.
            disk.fill(column_index.SPARE_BYTES)
            before = await frame_rows(line)
            await publish(line, FIRST + 12 * PAGE, 1)
            assert (
                await frame_rows(line)
                == line.rows(KEY)
                == before + page(range(FIRST + 12 * PAGE, FIRST + 13 * PAGE), 0).rows
            )
            # No space at all: the next page waits.
            disk.fill()
            before = line.rows(KEY)
            await append(line, page(range(FIRST + 13 * PAGE, FIRST + 14 * PAGE), 0), "waits")
            for _ in range(3):
                assert await plain_rows(line) == before
            assert not columns_file(line).exists() or not columns_file(line).stat().st_size
            # What the reads have asked for may be kept as soon as there is space.
            unwritten = written(line)
            disk.grow()
            async with asyncio.timeout(100):
                while not line.stored:
                    await asyncio.sleep(0.005)
            assert await frame_rows(line) == line.rows(KEY)
            await until_written(line, unwritten)
            assert await frame_rows(line) == line.rows(KEY)
