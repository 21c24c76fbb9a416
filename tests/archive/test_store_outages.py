"""The archive in an object store that is away, full, or refuses, and killed: nothing is lost, nothing is twice."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from archive.test_archive_killed import HOUR, living
from archive.test_archive_outages import LATER, archiving, taped
from archive.written_tape import SYMBOLS, Tape, certificates, folder, open_days, rows_of
from archive_files.object_store import ObjectStore, copy_of, credentials
from pipeline.small_disk import small_disk
from tickwire.observe.metrics import Metrics

pytestmark = pytest.mark.faults

KILLS = 20


async def seen(store: ObjectStore, copies: Path, is_enough: Callable[[Path], bool], timeout_s: float = 100) -> Path:
    """A copy of the archive that has enough; copied again until then, because a store announces nothing.

    Each object of every copy is read whole: a half one is an error.
    """
    async with asyncio.timeout(timeout_s):
        while True:
            copy = await asyncio.to_thread(copy_of, store, copies)
            if await asyncio.to_thread(is_enough, copy):
                return copy
            await asyncio.sleep(0.2)


def has_all(tape: Tape) -> Callable[[Path], bool]:
    def found(copy: Path) -> bool:
        rows = {symbol: rows_of(copy, symbol) for symbol in tape.rows}
        # Whenever it is looked at, each trade is there once, and none is missing before another.
        assert all(each == tape.rows[symbol][: len(each)] for symbol, each in rows.items())
        return all(len(each) == len(tape.rows[symbol]) for symbol, each in rows.items())

    return found


def assert_certified(copy: Path, tape: Tape) -> None:
    for symbol, rows in tape.rows.items():
        assert rows_of(copy, symbol, "data.parquet") == rows
        for name, each in certificates(copy, symbol).items():
            data = (folder(copy, symbol) / name / "data.parquet").read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (each["bytes"], each["sha256"])


@asynccontextmanager
async def started(where: Path) -> AsyncIterator[ObjectStore]:
    store = ObjectStore(where)
    with pytest.MonkeyPatch.context() as patch:
        credentials(patch)
        await store.start()
        try:
            yield store
        finally:
            await store.kill()


async def test_a_store_that_is_away_full_or_refuses_is_named_and_nothing_is_lost(broker: str, tmp_path: Path) -> None:
    metrics, copies = Metrics(), tmp_path / "copies"

    async def until_named(text: str | None) -> None:
        """Wait until readiness names this of the storage; None: nothing at all."""
        async with asyncio.timeout(100):
            while (text or "") not in (said := metrics.ready.failing().get("storage", "")) or bool(said) != bool(text):
                await asyncio.sleep(0.02)

    async def write_some() -> None:
        for number in range(8):
            tape.at += HOUR // 4
            await tape.write(SYMBOLS[number % 2], 50)

    with small_disk() as disk:
        async with (
            started(disk.folder / "store") as store,
            taped(broker, tmp_path) as tape,
            archiving(broker, store.url, metrics=metrics, certify_after_s=LATER),
        ):
            await write_some()
            await seen(store, copies, has_all(tape))
            assert metrics.ready.failing() == {}
            await store.kill()
            await write_some()
            await until_named("NETWORK_CONNECTION")
            await store.start()
            await until_named(None)
            await seen(store, copies, has_all(tape))
            store.permit("Read", "List")
            await write_some()
            await until_named("ACCESS_DENIED")
            await seen(store, copies, lambda copy: not has_all(tape)(copy))
            store.permit("Admin")
            await until_named(None)
            await seen(store, copies, has_all(tape))
            disk.fill(0)
            await write_some()
            await until_named("INTERNAL_FAILURE")
            disk.grow()
            await until_named(None)
            await tape.end_day()
            assert_certified(await seen(store, copies, lambda copy: has_all(tape)(copy) and not open_days(copy)), tape)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_an_archive_that_is_killed_leaves_each_trade_once_in_a_store(broker: str, tmp_path: Path) -> None:
    draw, killed, copies = random.Random(5), 0, tmp_path / "copies"
    async with started(tmp_path / "store") as store, taped(broker, tmp_path) as tape:
        async with living(broker, store.url) as lives, asyncio.TaskGroup() as group:
            writing = group.create_task(tape.go_on(lambda: killed >= KILLS, step=HOUR // 3))
            while killed < KILLS:
                await asyncio.sleep(draw.uniform(0.1, 0.5))
                await lives.kill()
                killed += 1
                await seen(store, copies, lambda copy: has_all(tape)(copy) or True)
            await writing
            await tape.end_day()
            assert_certified(await seen(store, copies, lambda copy: has_all(tape)(copy) and not open_days(copy)), tape)
