"""The archive while its root, its disk, its broker or itself is away for a while: nothing is lost, nothing is twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from archive.archive_process import run, settings
from archive.test_archive_killed import living
from archive.written_tape import SYMBOLS, Tape, certificates, open_days, rows_of, until_archived
from pipeline.small_disk import Disk, small_disk
from support.hearing import hearing
from support.ports import free_port
from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.model.messages import Certificate
from tickwire.observe.metrics import Metrics
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

HOUR = 3_600_000
LATER = 1e9
"""Days are not closed before their feed is declared complete."""


@asynccontextmanager
async def taped(broker: str, root: Path, lease_s: float = 2.0) -> AsyncIterator[Tape]:
    async with connect(NatsSettings(url=broker), name="test") as bus:
        await streams.declare_for(bus.jetstream, settings(broker, root, lease_s))
        yield Tape(bus)


@asynccontextmanager
async def archiving(
    broker: str, root: Path | str, instance: str = "one", metrics: Metrics | None = None, **chosen: Any
) -> AsyncIterator[None]:
    """An archive within this process."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(run(settings(broker, root, **chosen), instance, stop, metrics))
        try:
            yield
        finally:
            stop.set()


def assert_files_are_the_tape(root: Path, tape: Tape) -> None:
    for symbol, rows in tape.rows.items():
        assert rows_of(root, symbol) == rows


async def until_rows(root: Path, *tapes: Tape) -> None:
    """Wait until the files have all of some tapes; looked at again, because folders announce nothing."""
    wanted = {symbol: sum(len(each.rows[symbol]) for each in tapes) for symbol in tapes[0].rows}
    async with asyncio.timeout(100):
        while any(len(rows_of(root, symbol)) < rows for symbol, rows in wanted.items()):
            await asyncio.sleep(0.1)


async def test_a_day_is_certified_when_its_feed_is_declared_complete_beyond_it(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    async with taped(broker, root) as tape, archiving(broker, root):
        async with hearing(tape.bus, "md.archived.trade.*.*", Certificate) as heard:
            await tape.go_on(lambda: tape.at > tape.begun + 60 * HOUR, step=HOUR // 2, pause_s=0)
            await tape.end_day()
            await until_archived(root, tape)
            for symbol in SYMBOLS:
                days = list(certificates(root, symbol).values())
                assert [each["condition"] for each in days] == ["partial", *["complete"] * (len(days) - 1)]
                await heard.first(
                    lambda said: (said.symbol, said.date, said.condition) == (symbol, days[-1]["date"], "complete")  # noqa: B023
                )
    for symbol, rows in tape.rows.items():
        assert rows_of(root, symbol, "data.parquet") == rows


async def test_an_archive_suspended_past_its_session_does_no_harm_when_it_wakes(broker: str, tmp_path: Path) -> None:
    root, done = tmp_path / "archive", False
    async with taped(broker, root) as tape, living(broker, root, certify_after_s=LATER) as suspended:
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(tape.go_on(lambda: done, step=HOUR // 20))
            async with archiving(broker, root, "two", certify_after_s=LATER):
                for _ in range(3):
                    await asyncio.sleep(0.7)
                    os.kill(suspended.pid, signal.SIGSTOP)
                    before = {symbol: len(rows_of(root, symbol)) for symbol in SYMBOLS}
                    async with asyncio.timeout(60):
                        while any(len(rows_of(root, each)) <= before[each] for each in SYMBOLS):
                            await asyncio.sleep(0.1)
                    os.kill(suspended.pid, signal.SIGCONT)
                done = True
                await writing
                await tape.end_day()
                await until_archived(root, tape)
    for symbol, rows in tape.rows.items():
        assert rows_of(root, symbol, "data.parquet") == rows


@asynccontextmanager
async def replaceable(folder: Path, port: int) -> AsyncIterator[str]:
    """A broker on a port of its own, so that it may come back there."""
    async with embedded.embedded(folder, port=port) as url:
        yield url


async def test_a_broker_that_restarts_and_one_that_was_wiped_leave_each_trade_once(tmp_path: Path) -> None:
    root, port = tmp_path / "archive", free_port()
    url = f"nats://127.0.0.1:{port}"
    written: list[Tape] = []
    async with living(url, root, certify_after_s=LATER) as _:
        for store in ("first", "first", "second"):
            async with replaceable(tmp_path / store, port):
                async with taped(url, root) as tape:
                    if written:
                        tape.at = tape.begun = written[-1].at
                    if written and store == "first":
                        tape.continues(written[-1])
                    await tape.go_on(lambda: tape.at > tape.begun + 10 * HOUR, step=HOUR // 10, pause_s=0)
                    written.append(tape)
                    await until_rows(root, *(written if len(written) == 1 else written[1:]))
    for symbol in SYMBOLS:
        assert rows_of(root, symbol) == written[1].rows[symbol] + written[2].rows[symbol]


async def test_without_its_checkpoints_the_archive_goes_on_behind_what_its_files_have(
    broker: str, tmp_path: Path
) -> None:
    root = tmp_path / "archive"
    async with taped(broker, root) as tape:
        async with archiving(broker, root, certify_after_s=LATER):
            await tape.go_on(lambda: tape.at > tape.begun + 30 * HOUR, step=HOUR // 4, pause_s=0)
            await until_rows(root, tape)
        await tape.bus.jetstream.delete_stream(f"KV_{streams.ARCHIVE}")
        async with archiving(broker, root, certify_after_s=LATER):
            await tape.go_on(lambda: tape.at > tape.begun + 60 * HOUR, step=HOUR // 4, pause_s=0)
            await tape.end_day()
            await until_archived(root, tape)
    for symbol, rows in tape.rows.items():
        assert rows_of(root, symbol, "data.parquet") == rows
        # What was read before is not known any more.
        conditions = [each["condition"] for each in certificates(root, symbol).values()]
        assert conditions.count("partial") == 2


async def test_days_in_another_root_are_not_complete_by_what_the_former_one_has(broker: str, tmp_path: Path) -> None:
    """An archive that is moved without its files, or whose folder is not mounted."""
    former, root = tmp_path / "former", tmp_path / "archive"
    async with taped(broker, root) as tape:
        async with archiving(broker, former, certify_after_s=LATER):
            await tape.go_on(lambda: tape.at > tape.begun + 20 * HOUR, step=HOUR // 4, pause_s=0)
            await until_rows(former, tape)
        before = {symbol: len(rows) for symbol, rows in tape.rows.items()}
        async with archiving(broker, root, certify_after_s=LATER):
            await tape.go_on(lambda: tape.at > tape.begun + 50 * HOUR, step=HOUR // 4, pause_s=0)
            await tape.end_day()
            tape.rows = {symbol: rows[before[symbol] :] for symbol, rows in tape.rows.items()}
            await until_archived(root, tape)
        moved = tmp_path / "moved"
        root.rename(moved)
        async with archiving(broker, moved, certify_after_s=LATER):
            await tape.go_on(lambda: tape.at > tape.begun + 90 * HOUR, step=HOUR // 4, pause_s=0)
            await tape.end_day()
            await until_archived(moved, tape)
    for symbol, rows in tape.rows.items():
        assert rows_of(moved, symbol, "data.parquet") == rows
        conditions = [each["condition"] for each in certificates(moved, symbol).values()]
        assert conditions == ["partial", *["complete"] * (len(conditions) - 1)]
        assert len(conditions) > 3


async def test_a_root_that_is_away_for_a_while_is_named_and_nothing_is_lost(broker: str, tmp_path: Path) -> None:
    root, away, metrics = tmp_path / "mounted" / "archive", tmp_path / "away", Metrics()
    root.parent.mkdir()
    async with taped(broker, root) as tape, archiving(broker, root, metrics=metrics, certify_after_s=LATER):
        await tape.write("BTC/USDT", 500)
        await until_rows(root, tape)
        assert metrics.ready.failing() == {}
        # In its place a file: no folder can be made.
        root.parent.rename(away)
        root.parent.write_text("")
        for _ in range(20):
            await tape.write("BTC/USDT", 100)
        async with asyncio.timeout(60):
            while "storage" not in metrics.ready.failing():
                await asyncio.sleep(0.05)
        assert str(root) in metrics.ready.failing()["storage"]
        root.parent.unlink()
        away.rename(root.parent)
        await until_rows(root, tape)
        async with asyncio.timeout(60):
            while metrics.ready.failing():
                await asyncio.sleep(0.05)
    assert_files_are_the_tape(root, tape)


async def test_a_full_disk_is_waited_for_and_leaves_no_half_file(broker: str, tmp_path: Path) -> None:
    with small_disk() as disk:
        root, metrics = disk.folder / "archive", Metrics()
        async with taped(broker, root) as tape, archiving(broker, root, metrics=metrics, certify_after_s=LATER):
            await tape.write("BTC/USDT", 500)
            await until_rows(root, tape)
            await fill_and_grow(disk, root, tape, metrics)
            await tape.end_day()
            await until_archived(root, tape)
        for symbol, rows in tape.rows.items():
            assert rows_of(root, symbol, "data.parquet") == rows
            assert [each["condition"] for each in certificates(root, symbol).values()] == ["partial"]


async def fill_and_grow(disk: Disk, root: Path, tape: Tape, metrics: Metrics) -> None:
    """While the disk is full, many rounds come; all files that are visible can be read."""
    disk.fill()
    for _ in range(20):
        await tape.write("BTC/USDT", 100)
    async with asyncio.timeout(60):
        while "No space left" not in metrics.ready.failing().get("storage", ""):
            await asyncio.sleep(0.05)
    assert rows_of(root, "BTC/USDT") == tape.rows["BTC/USDT"][: len(rows_of(root, "BTC/USDT"))]
    disk.grow()


async def test_the_days_of_a_feed_are_answered_and_a_misspelt_symbol_names_the_nearest(
    broker: str, tmp_path: Path
) -> None:
    root = tmp_path / "archive"
    async with taped(broker, root) as tape, archiving(broker, root):
        await tape.go_on(lambda: tape.at > tape.begun + 40 * HOUR, step=HOUR // 2, pause_s=0)
        await tape.end_day()
        await until_archived(root, tape)
        answers = await asked(tape.bus, "BTC/USDT")
        assert [each["date"] for each in answers["days"]] == [
            each["date"] for each in certificates(root, "BTC/USDT").values()
        ]
        assert answers["days"] == list(certificates(root, "BTC/USDT").values())
        refused = await asked(tape.bus, "BTC/UDST")
        assert refused["code"] == "not_archived"
        assert "archived are binance BTC/USDT" in refused["remedy"]
    assert open_days(root) == []


async def asked(bus: Bus, symbol: str) -> dict[str, Any]:
    """The reply to `archive.days`, of one chunk, or the error."""
    request = json.dumps({"exchange": "binance", "symbol": symbol}).encode()
    found: dict[str, Any] = json.loads((await bus.client.request("archive.days", request, timeout=60)).data)
    return found
