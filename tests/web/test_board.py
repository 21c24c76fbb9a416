"""Things that tabs watch: read once for all, and only while somebody watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
from msgspec import Struct

from tickwire.errors import BadRequest, BrokerUnavailable
from tickwire.task_group import TaskGroup
from tickwire.web import board as boards
from tickwire.web.board import Board, Read, Source, Watch

pytestmark = pytest.mark.pure

AWAY = "the broker is not reachable; is `tickwire up` running?"


class Number(Struct):
    """What is read."""

    value: int


class Counter:
    """Counts how often it is read; fails on demand."""

    def __init__(self) -> None:
        self.reads = 0
        self.open = 0
        self.fails = False
        self.lost = asyncio.Event()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Read]:
        self.open += 1
        try:
            yield self.read
        finally:
            self.open -= 1

    async def read(self) -> Number:
        if self.fails:
            raise BrokerUnavailable("nobody answers", "wait")
        self.reads += 1
        if self.lost.is_set():
            # Nobody answers.
            await asyncio.Event().wait()
        return Number(self.reads)


@asynccontextmanager
async def board(counter: Counter, most: int = 4) -> AsyncIterator[Board]:
    def find(name: str) -> Source:
        if not name.startswith("thing"):
            raise BadRequest(f"no {name}")
        return Source(counter.opened, 0.01)

    async with TaskGroup() as group:
        made = Board(group, find, counter.lost, most=most)
        yield made
        made.close()


async def value(watch: Watch) -> int:
    """The next value that a tab is sent."""
    async with asyncio.timeout(60):
        (message,) = await watch.news()
    number: int = msgspec.json.decode(message)["data"]["value"]
    return number


async def test_twenty_tabs_cost_as_many_readings_as_one() -> None:
    counter = Counter()
    async with board(counter) as made, AsyncExitStack() as stack:
        tabs = [stack.enter_context(made.watching(["thing"])) for _ in range(20)]
        seen = [[await value(each) for each in tabs] for _ in range(5)]
        assert counter.open == 1
        # Each tab was sent five values or newer ones of the same readings.
        assert max(map(max, seen)) <= counter.reads
        assert all(list(each) == sorted(each) for each in zip(*seen, strict=True))


async def test_a_slow_tab_gets_the_newest_value_not_every_one() -> None:
    counter = Counter()
    async with board(counter) as made:
        with made.watching(["thing"]) as slow, made.watching(["thing"]) as fast:
            first = await value(slow)
            while await value(fast) < first + 5:
                pass
            newest = counter.reads
            assert await value(slow) >= newest - 1
            # What was skipped is counted.
            assert slow.skipped() >= 4
            assert slow.skipped() == 0


async def test_what_nobody_watches_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "LINGER_S", 0.02)
    counter = Counter()
    async with board(counter) as made:
        assert counter.reads == 0
        with made.watching(["thing"]) as watch:
            await value(watch)
        async with asyncio.timeout(60):
            while made.read:
                await asyncio.sleep(0.01)
        before = counter.reads
        assert counter.open == 0
        with made.watching(["thing"]) as watch:
            assert await value(watch) > before


async def test_a_failure_is_told_and_ends_with_the_next_reading() -> None:
    counter = Counter()
    async with board(counter) as made:
        with made.watching(["thing"]) as watch:
            await value(watch)
            counter.fails = True
            found: dict[str, object] = {}
            async with asyncio.timeout(60):
                while "nobody answers" not in str(found.get("error", "")):
                    found = msgspec.json.decode((await watch.news())[0])
                counter.fails = False
                while found.get("data") is None:
                    found = msgspec.json.decode((await watch.news())[0])


async def test_a_lost_connection_is_told_at_once_and_what_follows_is_read_anew() -> None:
    counter = Counter()
    async with board(counter) as made:
        with made.watching(["thing"]) as watch:
            await value(watch)
            counter.lost.set()
            told = {"name": "thing", "data": None, "error": AWAY}
            async with asyncio.timeout(60):
                while msgspec.json.decode((await watch.news())[0]) != told:
                    pass
                with made.watching(["thing"]) as another, made.watching(["thing 2"]) as other:
                    for each in (another, other):
                        assert msgspec.json.decode((await each.news())[0])["error"] == AWAY
                before = counter.reads
                counter.lost.clear()
                assert await value(watch) > before


async def test_an_unknown_thing_or_one_too_many_is_told_and_hides_no_other() -> None:
    async with board(Counter(), most=2) as made:
        with made.watching(["elsewhere", "thing 1"]) as watch:
            (refused,) = await watch.news()
            assert msgspec.json.decode(refused) == {"name": "elsewhere", "data": None, "error": "no elsewhere"}
            assert await value(watch) > 0
        with made.watching(["thing 1", "thing 2", "thing 3"]) as watch:
            (refused,) = await watch.news()
            assert "2 different things are watched already" in msgspec.json.decode(refused)["error"]
            assert {msgspec.json.decode(each)["name"] for each in await watch.news()} <= {"thing 1", "thing 2"}
