"""kill -9 at any moment: files have each trade and each delta of the tape once, and no half file is ever visible."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from archive import archive_process, written_books
from archive.written_tape import SYMBOLS, Tape, certificates, rows_of, until_archived
from tickwire.bus import streams
from tickwire.bus.connection import connect
from tickwire.process import children
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

NAMES = re.compile(r"part-\d{13}-\d{20}-\d{20}\.parquet|data\.parquet|day\.json|\..*\.writing")
HOUR = 3_600_000


class Watcher:
    """Reads every file of a folder as soon as it is there, as a reader in any program would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.read = 0
        self._seen: set[tuple[str, int, int]] = set()

    async def watch(self) -> None:
        """Until cancelled. Raises what reading raises."""
        while True:
            for path in list(self.root.glob("*/*/*/date=*/*")):
                await asyncio.to_thread(self._look, path)
            await asyncio.sleep(0.01)

    def _look(self, path: Path) -> None:
        assert NAMES.fullmatch(path.name), path
        if path.name.startswith("."):
            return
        try:
            stat = path.stat()
            if (version := (str(path), stat.st_ino, stat.st_mtime_ns)) in self._seen:
                return
            if path.suffix == ".json":
                json.loads(path.read_text())
            else:
                pq.ParquetFile(path).read()
        except FileNotFoundError:
            # Replaced by the day's file meanwhile.
            return
        self._seen.add(version)
        self.read += 1


class Lives:
    """An archive that lives again after each kill."""

    def __init__(self, process: children.Process) -> None:
        self._process = process
        self.pid = 0

    async def next(self) -> None:
        """Wait until the next life has begun."""
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            self.pid = int(await self._process.stdout.readline())

    async def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        await self.next()


@asynccontextmanager
async def living(broker: str, root: Path | str, **settings: object) -> AsyncIterator[Lives]:
    argv = [sys.executable, archive_process.__file__, broker, "archive-0", str(root), json.dumps(settings)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    async with children.child(argv, stdout=children.PIPE, env=env) as process:
        lives = Lives(process)
        await lives.next()
        yield lives
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.wait()


def conditions(root: Path, symbol: str) -> list[str]:
    return [each["condition"] for each in certificates(root, symbol).values()]


async def until_proven(root: Path, timeout_s: float = 100) -> None:
    """Wait until every day but the first, which was not followed from its begin, is certified as complete.

    A day that was certified by time alone is certified again once its feed is declared complete beyond it.
    """
    deadline = time.monotonic() + timeout_s
    while any(set(conditions(root, symbol)[1:]) != {"complete"} for symbol in SYMBOLS):
        assert time.monotonic() < deadline, [conditions(root, symbol) for symbol in SYMBOLS]
        await asyncio.sleep(0.05)


async def kill_often(
    broker: str, root: Path, kills: int, record_property: Callable[[str, object], None], *, step: int
) -> None:
    """The exchange's time goes on by `step` ms with each message: several days in all."""
    draw, killed = random.Random(11), 0
    async with connect(NatsSettings(url=broker), name="test") as bus:
        await streams.declare_for(bus.jetstream, archive_process.settings(broker, root))
        tape, books, watcher = Tape(bus), written_books.BookTape(bus), Watcher(root)
        async with living(broker, root) as lives, asyncio.TaskGroup() as group:
            watching = group.create_task(watcher.watch())
            writing = [group.create_task(each.go_on(lambda: killed >= kills, step=step)) for each in (tape, books)]
            while killed < kills:
                await asyncio.sleep(draw.uniform(0.05, 0.4))
                await lives.kill()
                killed += 1
            await asyncio.gather(*writing)
            await asyncio.gather(tape.end_day(), books.end_day())
            await until_archived(root, tape)
            await written_books.until_archived(root, books)
            await until_proven(root)
            watching.cancel()
    written = {symbol: len(tape.rows[symbol]) for symbol in SYMBOLS}
    record_property("measured", f"{killed} kills, {written} rows, {watcher.read} files read while they appeared")
    for symbol in SYMBOLS:
        assert rows_of(root, symbol, "data.parquet") == tape.rows[symbol]
        days = list(certificates(root, symbol).values())
        assert [each["condition"] for each in days] == ["partial"] + ["complete"] * (len(days) - 1)
        assert len(days) > 2
        assert sum(each["rows"] for each in days) == written[symbol]
    for symbol in written_books.SYMBOLS:
        assert_book_is_archived(root, books, symbol)
    assert watcher.read > kills


def assert_book_is_archived(root: Path, tape: written_books.BookTape, symbol: str) -> None:
    """Each change is there once, and each day leads to its book without any other file."""
    assert written_books.changes_of(root, symbol) == tape.changes[symbol]
    days = written_books.days_of(root, symbol)
    assert len(days) > 2
    for day in days:
        rows = written_books.rows_of(day / "data.parquet")
        assert written_books.replayed(rows) == tape.books[symbol][rows[-1]["update"]]
    assert set(written_books.conditions(root, symbol)[1:-1]) <= {"complete", "gaps"}


async def test_an_archive_killed_again_and_again_has_each_trade_of_the_tape_once(
    broker: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    await kill_often(broker, tmp_path / "archive", 25, record_property, step=HOUR // 4)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_an_archive_killed_two_hundred_times_has_each_trade_of_the_tape_once(
    broker: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    await kill_often(broker, tmp_path / "archive", 200, record_property, step=HOUR // 20)
