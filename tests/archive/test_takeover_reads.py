"""A new owner of a stream reads back what its feeds declared: of all feeds at the same time."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from archive.archive_process import PARTITIONS
from archive.test_archive_outages import taped
from archive.written_tape import SYMBOLS
from tickwire.archive.day_closing import DayClosing
from tickwire.archive.metrics import ArchiveMetrics
from tickwire.archive.rounds import Position, Round, TapeEntry
from tickwire.archive.storage import Storage
from tickwire.archive.stream_feeds import StreamFeeds
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.archive_files.parts import write_part
from tickwire.archive_files.root import FolderRoot
from tickwire.observe.metrics import Metrics
from tickwire.settings import ArchiveSettings

pytestmark = pytest.mark.actors


async def test_the_feeds_of_a_stream_are_read_back_at_the_same_time(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, metrics = FolderRoot(tmp_path), ArchiveMetrics(Metrics())
    async with taped(broker, tmp_path) as tape, asyncio.timeout(60):
        for symbol in SYMBOLS:
            await tape.write(symbol, 2)
        until, jetstream = {symbol: tape.rows[symbol][-1][1] for symbol in SYMBOLS}, tape.bus.jetstream
        for number in range(PARTITIONS):
            stream = f"TRADES-{number}"
            last = (await jetstream.stream_info(stream)).state.last_seq
            made = Round(Position(1), 1_000)
            for sequence in range(1, last + 1):
                each = await jetstream.get_msg(stream, sequence)
                made.take(TapeEntry(sequence, each.subject or "", each.data or b"", 0, 0))
            for part in made.parts.parts(last):
                write_part(root, part)
            feeds = StreamFeeds(root, stream, PARTITIONS)
            of_stream = [each for each in SYMBOLS if feeds.has(ArchivedFeed("trade", "binance", each))]
            # Nobody is answered before all have asked.
            all_asked, get = asyncio.Barrier(len(of_stream)), jetstream.get_last_msg

            async def held(*names: str, barrier: asyncio.Barrier, get: Any = get, **fields: Any) -> Any:
                await barrier.wait()
                return await get(*names, **fields)

            storage = Storage(stream, metrics)
            closing = DayClosing(tape.bus, feeds, storage, ArchiveSettings(root=str(tmp_path)), metrics)
            with monkeypatch.context() as patch:
                patch.setattr(jetstream, "get_last_msg", partial(held, barrier=all_asked))
                assert await closing.find_open(last)
            storage.close()
            for symbol in of_stream:
                assert closing.days.until(ArchivedFeed("trade", "binance", symbol)) == until[symbol]
