"""A replay of times of which nothing is archived, of a feed that is: a gap over all of it, never nothing."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from archive.archive_process import settings
from archive.test_archive_outages import LATER, archiving
from archive.test_reads import BTC, HOUR
from archive.written_books import BookTape
from archive.written_tape import DAY, Tape, rows_of
from tickwire.bus import streams
from tickwire.bus.connection import connect as connect_bus
from tickwire.client import Book, Gap, connect
from tickwire.client.replay_publisher import Replay, publish_replay
from tickwire.model.feeds import Feed
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults


async def test_times_before_and_after_what_is_archived_are_a_gap(broker: str, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    async with connect_bus(NatsSettings(url=broker), name="test") as bus, asyncio.timeout(200):
        await streams.declare_for(bus.jetstream, settings(broker, root, 10.0))
        tape, books = Tape(bus), BookTape(bus)
        async with archiving(broker, root, certify_after_s=LATER, lease_s=10.0), connect(broker) as client:
            for _ in range(3):
                tape.at, books.at = tape.at + HOUR, books.at + HOUR
                await tape.write(BTC, 3)
                await books.write(BTC)
            while len(rows_of(root, BTC)) < 9 or not list(root.glob("book_delta/*/*/*/part-*")):
                await asyncio.sleep(0.1)
            end = max(tape.at, books.at)
            for since, until in ((tape.begun - 9 * DAY, tape.begun - 8 * DAY), (end + DAY, end + 2 * DAY)):
                for kind in ("trade", "book"):
                    found = [each.item async for each in client.replay([(kind, "binance", BTC)], since, until)]
                    (gap,) = (each for each in found if isinstance(each, Gap))
                    # It may reach beyond the range.
                    assert (gap.since or 0) <= since, (kind, gap)
                    assert gap.until is None or gap.until >= until, (kind, gap)
                    # The only book is none.
                    assert [each.state for each in found if isinstance(each, Book)] == ["resyncing"] * (kind == "book")
                    feed = Feed(kind, "binance", BTC)
                    status = await publish_replay(
                        client.bus, Replay("out", [feed], since, until, math.inf), lambda _: None
                    )
                    assert (status.state, status.gaps, status.trades) == ("ended", 1, 0)
