"""Readers of an archive that is killed while it answers, or that starts late: they have each trade once, and all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from archive_files.taped import BEGIN, DAY, FEED, GENERATION, Taped, message, write_round
from tickwire.archive.days_reply import chunks as days_chunks
from tickwire.archive_files import pages
from tickwire.archive_files.layout import Through
from tickwire.archive_files.root import Root, open_root
from tickwire.bus.connection import Bus
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.client import Gap, RequestTimeout, archived, connect
from tickwire.client.attempts import TRIES
from tickwire.model.feeds import Feed
from tickwire.model.messages.archived_trades import ArchivedTradesRequest
from tickwire.model.messages.archiving import DaysRequest

pytestmark = pytest.mark.actors

WANTED = Feed("trade", FEED.exchange, FEED.symbol)
MESSAGES = 40


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """Files of 40 messages of two trades each, on four days."""
    made = open_root(str(tmp_path))
    taped: list[Taped] = [
        (message(BEGIN + number * DAY // 10, BEGIN + number * DAY // 10 + 1), number, number - 1 or 0)
        for number in range(1, MESSAGES + 1)
    ]
    write_round(made, taped, MESSAGES, done=0, generation=GENERATION)
    return made


class Killed:
    """An archive that answers `at_most` chunks of a request, and then nothing more."""

    def __init__(self, root: Root, at_most: int) -> None:
        self.requests: list[ArchivedTradesRequest | DaysRequest] = []
        self._root = root
        self._at_most = at_most

    async def answer(self, request: ArchivedTradesRequest | DaysRequest, call: Call) -> None:
        """Reply with the first chunks."""
        self.requests.append(request)
        parts: list[Any]
        if isinstance(request, DaysRequest):
            # Each second request is not answered.
            parts = list(days_chunks(self._root, request)) if len(self.requests) % 2 == 0 else []
            encode = msgspec.json.encode
        else:
            parts = list(pages.chunks(self._root, request, Through(GENERATION, MESSAGES)))
            encode = msgspec.msgpack.encode
        for part in parts[: self._at_most]:
            await call.reply(encode(part))


@asynccontextmanager
async def serving(bus: Bus, killed: Killed) -> AsyncIterator[None]:
    endpoints: list[Endpoint[Any]] = [
        Endpoint("archive.trades", ArchivedTradesRequest, killed.answer),
        Endpoint("archive.days", DaysRequest, killed.answer),
    ]
    async with serve(bus, "archive", endpoints, instance="one"):
        yield


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, and an archive that is soon taken for dead."""
    monkeypatch.setattr(pages, "BATCH_ROWS", 7)
    monkeypatch.setattr(archived, "ANSWER_S", 1.0)


async def read(bus: Bus) -> list[int]:
    """The times of all trades by request."""
    found = []
    async for chunk in archived.chunks(bus, WANTED, 0, None):
        found += archived.table_of(chunk).column("timestamp").cast(pa.int64()).to_pylist()
    return found


EXPECTED = [BEGIN + number * DAY // 10 + more for number in range(1, MESSAGES + 1) for more in (0, 1)]


async def test_a_reply_that_breaks_off_goes_on_behind_its_last_chunk(bus: Bus, root: Root) -> None:
    killed = Killed(root, 4)
    async with serving(bus, killed), connect(bus.url) as client, asyncio.timeout(100):
        assert await read(client.bus) == EXPECTED
    cursors = [each.cursor for each in killed.requests if isinstance(each, ArchivedTradesRequest)]
    # None of the requests could bring all.
    assert len(set(cursors)) >= 2 * MESSAGES // (7 * 4)


async def test_days_whose_reply_breaks_off_are_requested_again(bus: Bus, root: Root) -> None:
    killed = Killed(root, 100)
    async with serving(bus, killed), connect(bus.url) as client, asyncio.timeout(100):
        found = await archived.days(client.bus, WANTED, None, None)
    assert [each.rows for each in found] == [each.rows for part in _days(root) for each in part]
    assert len(killed.requests) >= 2


def _days(root: Root) -> list[Any]:
    return [each.days for each in days_chunks(root, DaysRequest(exchange=FEED.exchange, symbol=FEED.symbol))]


async def test_an_archive_that_never_answers_is_an_error_in_the_end(bus: Bus, root: Root) -> None:
    killed = Killed(root, 0)
    async with serving(bus, killed), connect(bus.url) as client, asyncio.timeout(100):
        with pytest.raises(RequestTimeout, match=r"archive\.trades did not answer"):
            await read(client.bus)
    assert len(killed.requests) == TRIES


async def test_frames_wait_for_an_archive_that_is_absent_at_first(bus: Bus, root: Root) -> None:
    waits = asyncio.Event()
    async with connect(bus.url) as client, asyncio.timeout(100), asyncio.TaskGroup() as group:
        client.bus.service_wait.report = lambda _: waits.set()
        reading = group.create_task(read(client.bus))
        await waits.wait()
        async with serving(bus, Killed(root, 1000)):
            assert await reading == EXPECTED


async def test_a_replay_waits_for_an_archive_that_is_configured(bus: Bus, root: Root, tmp_path: Path) -> None:
    waits = asyncio.Event()
    config = tmp_path / "tickwire.toml"
    config.write_text(f'[archive]\nroot = "{tmp_path}"\n')
    async with connect(bus.url, config=config) as client, asyncio.timeout(100), asyncio.TaskGroup() as group:
        client.bus.service_wait.report = lambda _: waits.set()

        async def replay() -> list[int]:
            items = client.replay(FEED.exchange, FEED.symbol, BEGIN)
            return [each.timestamp async for each in items if hasattr(each, "timestamp")]

        replaying = group.create_task(replay())
        await waits.wait()
        async with serving(bus, Killed(root, 1000)):
            assert await replaying == EXPECTED


async def test_a_quiet_time_that_the_archive_has_watched_is_no_gap(bus: Bus, root: Root) -> None:
    """The tape has nothing of the feed any more, and the last message but one declared it complete beyond itself."""
    end, last = EXPECTED[-1] + DAY // 3, EXPECTED[-1] + 2
    taped: list[Taped] = [(message(last, until=end), MESSAGES + 1, MESSAGES)]
    write_round(root, taped, MESSAGES + 1, done=MESSAGES)
    async with connect(bus.url) as client, serving(bus, Killed(root, 1000)), asyncio.timeout(100):
        assert [each async for each in client.replay(FEED.exchange, FEED.symbol, last + 1)] == []
        (gap,) = [each async for each in client.replay(FEED.exchange, FEED.symbol, end)]
    assert isinstance(gap, Gap)
