"""Cache processes that are killed and suspended, two on one folder, while pages come and questions are asked."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from cache.suspending import suspend_between_commits
from tickwire.bus.connection import Bus
from tickwire.errors import NoSuchService, RequestTimeout
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, Candles, CandlesRequest, Coverage, KeyRequest, Row, Stored, Verification
from tickwire.model.ranges import Range, covers
from tickwire.model.subjects import Key
from tickwire.process import children

pytestmark = pytest.mark.faults

PROGRAM = Path(__file__).parent / "cache_process.py"
KEYS = [Key("binance", f"C{number}/USDT", "1m") for number in range(6)]
MINUTE = 60_000
PAGE = 50


def row_at(key: Key, minute: int) -> Row:
    return (minute * MINUTE, float(KEYS.index(key)), minute + 0.25, 1e-7, 3.0, minute / 7)


def pages_of(key: Key, count: int, seed: int) -> list[CandlePage]:
    """A backfill: the middle first, then what is before, then on to the end; some pages twice."""
    draw = random.Random(f"{seed} {key}")
    order = [*range(count // 2, count * 3 // 4), *range(count // 2), *range(count * 3 // 4, count)]
    order = [number for number in order for _ in range(1 + (draw.random() < 0.1))]
    return [
        CandlePage(
            **key._asdict(),
            since=number * PAGE * MINUTE,
            until=(number + 1) * PAGE * MINUTE,
            rows=[row_at(key, minute) for minute in range(number * PAGE, (number + 1) * PAGE) if minute % 97],
        )
        for number in order
    ]


@asynccontextmanager
async def instance(url: str, folder: Path, name: str) -> AsyncIterator[children.Process]:
    argv = [sys.executable, str(PROGRAM), url, str(folder), name]
    with open(folder.parent / f"{name}.log", "ab") as log:
        async with children.child(argv, stderr=log.fileno()) as process:
            yield process


class Watcher:
    """Hears what is announced, and asks for coverage the whole time."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.announced: set[tuple[Key, int, int]] = set()
        self.news = asyncio.Event()
        self.answers = 0
        self.slowest_s = 0.0

    async def heard(self, message: Msg) -> None:
        stored = messages.decode(message.data, Stored)
        self.announced.add((Key(stored.exchange, stored.symbol, stored.timeframe), stored.since, stored.until))
        self.news.set()

    async def until_announced(self, pages: list[CandlePage]) -> None:
        """Wait for all; what was announced while we were not heard is in the coverage."""
        async with asyncio.timeout(100):
            for page in pages:
                while (page.key, page.since, page.until) not in self.announced:
                    self.news.clear()
                    try:
                        async with asyncio.timeout(1):
                            await self.news.wait()
                    except TimeoutError:
                        known = await persistently(self.bus, page.key)
                        if covers(known.verified, Range(page.since, page.until)):
                            break

    async def ask(self) -> None:
        """What was announced before the question is in the answer."""
        while True:
            key = KEYS[self.answers % len(KEYS)]
            before = [Range(since, until) for k, since, until in self.announced if k == key]
            began = time.monotonic()
            known = await persistently(self.bus, key)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.answers += 1
            assert all(covers(known.verified, each) for each in before)
            await asyncio.sleep(0.01)


async def coverage(bus: Bus, key: Key, timeout_s: float = 100) -> Coverage:
    request = KeyRequest(**key._asdict())
    return await bus.request("cache.coverage", request, Coverage, timeout_s=timeout_s)


async def persistently(bus: Bus, key: Key) -> Coverage:
    """Ask until there is an answer: all instances may be dead at once, and a suspended one has its share too."""
    async with asyncio.timeout(100):
        while True:
            try:
                return await coverage(bus, key, timeout_s=3)
            except (NoSuchService, RequestTimeout):
                await asyncio.sleep(0.05)


async def publish(bus: Bus, pages: list[CandlePage]) -> None:
    for number, page in enumerate(pages):
        await bus.append(
            subjects.ohlcv(page.key), messages.encode(page), message_id=f"{page.key} {page.since} {number}"
        )


async def rows_of(bus: Bus, key: Key) -> list[Row]:
    request = CandlesRequest(**key._asdict())
    rows: list[Row] = []
    async for chunk in bus.request_chunks("cache.get", request, partial(messages.decode, kind=Candles), timeout_s=15):
        rows += chunk.rows
    return rows


async def answering(bus: Bus) -> None:
    """Wait until a cache answers for every key."""
    async with asyncio.timeout(100):
        while True:
            try:
                for key in KEYS:
                    await coverage(bus, key)
            except (NoSuchService, RequestTimeout):
                await asyncio.sleep(0.05)
            else:
                return


async def everything_is_there(bus: Bus, folder: Path, pages: dict[Key, list[CandlePage]]) -> None:
    for key in KEYS:
        expected = sorted({row for page in pages[key] for row in page.rows})
        assert await rows_of(bus, key) == expected
        lines = (folder / f"{subjects.file_stem(key)}.csv").read_text().splitlines()[1:]
        assert [tuple(map(float, line.split(","))) for line in lines] == expected
        request = KeyRequest(**key._asdict())
        assert (await bus.request("cache.verify", request, Verification, timeout_s=30)).problem_count == 0


async def kill_and_compare(bus: Bus, broker: str, tmp_path: Path, kills: int, pages_a_key: int) -> Watcher:
    """Two instances on one folder, one of them killed again and again while pages come in."""
    folder = tmp_path / "cache"
    folder.mkdir()
    draw = random.Random(kills)
    pages = {key: pages_of(key, pages_a_key, kills) for key in KEYS}
    watcher = Watcher(bus)
    await bus.subscribe("md.stored.>", watcher.heard)
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(instance(broker, folder, f"i{n}")) for n in range(2)]
        await answering(bus)
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(watcher.ask())
            publishing = group.create_task(_spread(bus, pages, kills))
            for number in range(kills):
                await asyncio.sleep(draw.uniform(0.05, 0.6))
                if number % 3 == 0:
                    # Otherwise a busy machine may never have one that is up.
                    await persistently(bus, draw.choice(KEYS))
                victim = number % 2
                processes[victim].send_signal(signal.SIGKILL)
                await processes[victim].wait()
                processes[victim] = await stack.enter_async_context(instance(broker, folder, f"i{victim}"))
            await publishing
            await watcher.until_announced([page for key in KEYS for page in pages[key]])
            asking.cancel()
        await everything_is_there(bus, folder, pages)
    return watcher


async def _spread(bus: Bus, pages: dict[Key, list[CandlePage]], kills: int) -> None:
    """Publish all keys side by side, over the time that the kills take."""
    pause = kills * 0.5 / max(len(each) for each in pages.values())

    async def one(key: Key) -> None:
        for number, page in enumerate(pages[key]):
            await bus.append(subjects.ohlcv(key), messages.encode(page), message_id=f"{key} {page.since} {number}")
            await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as group:
        for key in KEYS:
            group.create_task(one(key))


async def test_kill_9_at_any_moment_loses_nothing_that_was_announced(bus: Bus, broker: str, tmp_path: Path) -> None:
    watcher = await kill_and_compare(bus, broker, tmp_path, kills=6, pages_a_key=60)
    # At least one between two kills, however busy the machine is.
    assert watcher.answers >= 6
    print(f"{watcher.answers} answers, the slowest after {watcher.slowest_s:.2f} s")


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_a_hundred_kills_lose_nothing_that_was_announced(bus: Bus, broker: str, tmp_path: Path) -> None:
    watcher = await kill_and_compare(bus, broker, tmp_path, kills=100, pages_a_key=900)
    print(f"{watcher.answers} answers, the slowest after {watcher.slowest_s:.2f} s")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells when every thread stands still")
async def test_a_suspended_instance_that_continues_writes_nothing(bus: Bus, broker: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    pages = {key: pages_of(key, 12, 1) for key in KEYS}
    halves = [
        {key: each[: len(each) // 2] for key, each in pages.items()},
        {key: each[len(each) // 2 :] for key, each in pages.items()},
    ]
    watcher = Watcher(bus)
    await bus.subscribe("md.stored.>", watcher.heard)
    async with instance(broker, folder, "sleeper") as sleeper:
        await answering(bus)
        for key in KEYS:
            await publish(bus, halves[0][key])
        # With work in hand: some pages were announced, others wait in it and come while it sleeps.
        await watcher.until_announced([halves[0][KEYS[0]][0]])
        await suspend_between_commits(sleeper, folder)
        for key in KEYS:
            await publish(bus, halves[1][key])
        async with instance(broker, folder, "successor"):
            await watcher.until_announced([page for key in KEYS for page in pages[key]])
            before = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
            sleeper.send_signal(signal.SIGCONT)
            for _ in range(20):
                await asyncio.gather(*(coverage(bus, key) for key in KEYS))
            await everything_is_there(bus, folder, pages)
            assert {path.name: path.read_bytes() for path in folder.glob("*.csv")} == before
