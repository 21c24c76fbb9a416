"""A round is announced before its first file: whoever writes it again writes the same files, however it cuts rounds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from archive.test_archive_outages import archiving, taped, until_rows
from archive.written_tape import Tape, folder, rows_of
from tickwire.bus import streams
from tickwire.bus.fenced_entries import FencedEntries
from tickwire.model.messages import ArchiveCheckpoint
from tickwire.observe.metrics import Metrics

pytestmark = pytest.mark.faults

STREAM = "TRADES-1"
BOTH = ("BTC/USDT", "ETH/USDT")
"""The feeds of this stream, in the order in which a round of the test writes them."""
LATER = 1e9
"""Days stay open."""


async def checkpoint(tape: Tape) -> ArchiveCheckpoint:
    return await FencedEntries(tape.bus, streams.ARCHIVE, ArchiveCheckpoint).of(STREAM)


def parts(root: Path, symbol: str) -> list[tuple[int, int]]:
    """First and last message of each part."""
    names = sorted(each.stem for each in folder(root, symbol).glob("date=*/part-*"))
    return [(int(first), int(last)) for _, _, first, last in (each.split("-") for each in names)]


async def write(tape: Tape, messages: int) -> None:
    """Messages of 20 trades for both feeds in turn."""
    for number in range(messages):
        await tape.write(BOTH[number % 2], 20)


@pytest.mark.parametrize("refused", [0, 1], ids=["before its first file", "between two files"])
async def test_a_round_is_announced_before_its_first_file_and_written_again_as_it_was(
    refused: int, broker: str, tmp_path: Path
) -> None:
    root, metrics = tmp_path / "archive", Metrics()
    async with taped(broker, root) as tape:
        await write(tape, 2)
        async with archiving(broker, root, part_rows=40, certify_after_s=LATER):
            await until_rows(root, tape)
        done = (await checkpoint(tape)).done
        # A file in place of a feed's folder: its part cannot be written.
        place = folder(root, BOTH[refused])
        place.rename(tmp_path / "away")
        place.write_text("")
        await write(tape, 6)
        lost = asyncio.create_task(archive_until_cancelled(broker, root, metrics, part_rows=80))
        async with asyncio.timeout(60):
            while str(place) not in metrics.ready.failing().get("storage", ""):
                await asyncio.sleep(0.02)
        entry = await checkpoint(tape)
        assert (entry.done, entry.writing) == (done, done + 4)
        assert [parts(root, symbol) for symbol in BOTH[:refused]] == [[(1, done), (done + 1, done + 4)]] * refused
        lost.cancel()
        await asyncio.wait({lost})
        place.unlink()
        (tmp_path / "away").rename(place)
        async with archiving(broker, root, part_rows=100_000, certify_after_s=LATER):
            await until_rows(root, tape)
    for symbol in BOTH:
        assert parts(root, symbol) == [(1, done), (done + 1, done + 4), (done + 5, done + 6)]
        assert rows_of(root, symbol) == tape.rows[symbol]


async def archive_until_cancelled(broker: str, root: Path, metrics: Metrics, part_rows: int) -> None:
    """An archive that ends as one that is killed: at once, and without saving anything."""
    async with archiving(broker, root, metrics=metrics, part_rows=part_rows, certify_after_s=LATER):
        await asyncio.Event().wait()
