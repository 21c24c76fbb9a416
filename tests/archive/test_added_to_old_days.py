"""Rows that come to a day right before it would be removed: it is closed first, and planned anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from archive.test_left_open import DAY, FEED, written
from archive.test_rounds import START
from tickwire.archive.metrics import ArchiveMetrics
from tickwire.archive.open_days import OpenDays
from tickwire.archive.removing import Removing
from tickwire.archive.rounds import Position
from tickwire.archive.storage import Storage
from tickwire.archive.stream_feeds import StreamFeeds
from tickwire.archive_files import days
from tickwire.archive_files.added import write_page
from tickwire.archive_files.layout import DAY_MS
from tickwire.archive_files.removal import NAME, remove_day
from tickwire.archive_files.root import FolderRoot
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Trade
from tickwire.model.messages.archive_writing import TradePage
from tickwire.observe.metrics import Metrics
from tickwire.settings import ArchiveSettings

pytestmark = pytest.mark.actors

PAGE = TradePage(
    exchange=FEED.exchange,
    symbol=FEED.symbol,
    source="file",
    since=START,
    until=START + 10,
    received=START,
    trades=[Trade(id="9", timestamp=START + 9, side="buy", price=1.0, amount=1.0)],
)


def two_days(root: FolderRoot) -> None:
    """Two certified days of which the first has to make room."""
    written(root, Position(1), 1, 2)
    written(root, Position(1, 2, 1), 3 + DAY_MS, 4 + DAY_MS)
    for each in (DAY, FEED.on(type(DAY.date).fromordinal(DAY.date.toordinal() + 1))):
        days.close_day(root, each, None, lambda: None)


async def test_a_day_that_gets_rows_after_its_removal_was_planned_is_kept(bus: Bus, tmp_path: Path) -> None:
    root, metrics = FolderRoot(tmp_path), ArchiveMetrics(Metrics())
    two_days(root)
    storage, open_days, confirmed = Storage("TRADES-0", metrics), OpenDays(0), 0

    async def confirm() -> None:
        nonlocal confirmed
        confirmed += 1
        if confirmed == 1:
            # As `archive.write.<p>` does, whose request comes now.
            await asyncio.to_thread(write_page, root, PAGE, lambda: None)
            open_days.added(DAY, 0)

    limits = ArchiveSettings(root=str(tmp_path), keep_days={"trade": 1})
    removing = Removing(bus, StreamFeeds(root, "TRADES-0", 1), storage, limits, metrics)
    try:
        await removing.remove_due(open_days, confirm, asyncio.Event())
    finally:
        storage.close()
    assert open_days.due(DAY.span.until + 120_000) == [DAY]
    made = days.close_day(root, DAY, None, lambda: None)
    assert (made.rows, made.imported, made.version) == (3, 1, 2)
    assert not (tmp_path / FEED.folder / NAME).exists()


def test_a_day_with_rows_that_are_not_merged_is_not_removed(tmp_path: Path) -> None:
    root = FolderRoot(tmp_path)
    two_days(root)
    write_page(root, PAGE, lambda: None)
    assert not remove_day(root, DAY, lambda: None)
    assert days.close_day(root, DAY, None, lambda: None).rows == 3
    assert remove_day(root, DAY, lambda: None)
    assert not (tmp_path / DAY.folder).exists()
