"""Days that are removed because of their age or size, by an archive that goes on writing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from archive.test_archive_outages import LATER, archiving, taped
from archive.written_tape import DAY, SYMBOLS, Tape, certificates, folder, rows_of, until_archived
from support.hearing import hearing
from tickwire.archive_files.layout import date_of
from tickwire.bus.connection import Bus
from tickwire.client import archived
from tickwire.client.missing import Missing, missing
from tickwire.model.feeds import Feed
from tickwire.model.messages import Certificate
from tickwire.model.ranges import Range
from tickwire.observe.metrics import Metrics

pytestmark = pytest.mark.faults

HOUR = 3_600_000
FEED = Feed("trade", "binance", "BTC/USDT")


async def days_of(tape: Tape, bus: Bus) -> dict[str, str]:
    """The condition of each day, by request."""
    return {each.date: each.condition for each in await archived.days(bus, FEED, tape.begun, tape.at)}


def dates(root: Path, symbol: str) -> list[str]:
    """The days that a feed has files of."""
    return [each.name.removeprefix("date=") for each in sorted(folder(root, symbol).glob("date=*"))]


async def until_dates(root: Path, wanted: list[str]) -> None:
    """Wait until every feed has files of certain days alone; looked at again, because folders announce nothing."""
    async with asyncio.timeout(60):
        while any(dates(root, symbol) != wanted for symbol in SYMBOLS):
            await asyncio.sleep(0.05)


async def test_days_beyond_the_limit_are_announced_removed_and_named(broker: str, tmp_path: Path) -> None:
    root, metrics = tmp_path / "archive", Metrics()
    async with taped(broker, root) as tape:
        async with archiving(broker, root, certify_after_s=LATER):
            await tape.go_on(lambda: tape.at > tape.begun + 4 * DAY, step=HOUR, pause_s=0)
            await tape.end_day()
            await until_archived(root, tape)
        before = {symbol: certificates(root, symbol) for symbol in SYMBOLS}
        every = dates(root, "BTC/USDT")
        assert len(every) == 5
        # The day after the last one has begun: of those before it two are kept.
        gone, kept = every[:3], every[3:]
        async with hearing(tape.bus, "md.archived.trade.*.*", Certificate) as heard:
            async with archiving(broker, root, metrics=metrics, certify_after_s=LATER, keep_days={"trade": 2}):
                await until_dates(root, kept)
                for symbol in SYMBOLS:
                    for name in gone:
                        said = await heard.first(lambda each: (each.symbol, each.date) == (symbol, name))  # noqa: B023
                        was = before[symbol][f"date={name}"]
                        assert (said.condition, said.rows, said.bytes) == ("removed", was["rows"], was["bytes"])
                found = await days_of(tape, tape.bus)
                assert {name: found[name] for name in gone} == dict.fromkeys(gone, "removed")
                assert "removed" not in {found[name] for name in kept}
                found_missing = missing(
                    await archived.days(tape.bus, FEED, tape.begun, tape.at), Range(tape.begun, tape.begun + 3 * DAY)
                )
                begin = (tape.begun // DAY + 3) * DAY
                assert found_missing == [Missing(tape.begun, begin, "removed from the archive")]
                # It goes on.
                await tape.write("BTC/USDT", 5)
                async with asyncio.timeout(60):
                    while rows_of(root, "BTC/USDT")[-5:] != tape.rows["BTC/USDT"][-5:]:
                        await asyncio.sleep(0.05)
                counted = {sample.name: sample.value for each in metrics.registry.collect() for sample in each.samples}
                assert counted["tickwire_archive_removed_days_total"] == len(gone) * len(SYMBOLS)
        await until_archived_of(root, tape, kept)


async def until_archived_of(root: Path, tape: Tape, kept: list[str]) -> None:
    """The rows of the days that are kept are those of the tape."""
    for symbol, rows in tape.rows.items():
        assert rows_of(root, symbol) == [row for row in rows if date_of(row[1]).isoformat() >= kept[0]]


async def test_the_oldest_days_make_room_while_new_ones_come_and_open_ones_stay(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    # The least that may be set, 1 MiB, takes four or five of the days below, of which each feed has four.
    async with (
        taped(broker, root) as tape,
        archiving(
            broker, root, part_rows=100_000, part_minutes=0.01, certify_after_s=LATER, keep_bytes={"trade": 1 << 20}
        ),
    ):
        for _ in range(4):
            for symbol in SYMBOLS:
                for _ in range(4):
                    tape.at += HOUR
                    await tape.write(symbol, 5_000)
            await tape.end_day()
        last = date_of(tape.at - 1).isoformat()
        async with asyncio.timeout(100):
            while any(dates(root, symbol) != [last] for symbol in SYMBOLS):
                await asyncio.sleep(0.1)
        assert sum(each.stat().st_size for each in root.rglob("*") if each.is_file()) <= 1 << 20
        for symbol, rows in tape.rows.items():
            assert rows_of(root, symbol) == [row for row in rows if date_of(row[1]).isoformat() >= last]
