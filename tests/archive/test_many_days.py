"""Many days that are to be closed at once do not keep the archive from writing what comes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from archive.test_left_open import DAY, FEED, written
from tickwire.archive import day_closing
from tickwire.archive.day_closing import DayClosing
from tickwire.archive.metrics import ArchiveMetrics
from tickwire.archive.rounds import Position
from tickwire.archive.storage import Storage
from tickwire.archive.stream_feeds import StreamFeeds
from tickwire.archive_files.layout import DAY_MS
from tickwire.archive_files.root import FolderRoot
from tickwire.bus.connection import Bus
from tickwire.observe.metrics import Metrics
from tickwire.settings import ArchiveSettings

pytestmark = pytest.mark.actors


async def owned() -> None:
    """Confirm that the owner is still one."""


async def test_days_are_closed_for_a_while_before_the_next_round(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A feed goes on after it was stopped for three days."""
    monkeypatch.setattr(day_closing, "LONGEST_S", 0.0)
    root, metrics, stop = FolderRoot(tmp_path), ArchiveMetrics(Metrics()), asyncio.Event()
    written(root, Position(1), 1, 2)
    storage = Storage("TRADES-0", metrics)
    try:
        closing = DayClosing(bus, StreamFeeds(root, "TRADES-0", 1), storage, ArchiveSettings(), metrics)
        closing.days.written(DAY)
        closing.days.declared(FEED, DAY.span.until + 3 * DAY_MS)
        monkeypatch.setattr(day_closing, "now_ms", lambda: DAY.span.until + 4 * DAY_MS)
        made = []
        for _ in range(5):
            made.append((await closing.close_due(owned, stop), closing.is_behind, len(root.names(FEED.folder))))
        assert made == [(True, True, 1), (True, True, 2), (True, True, 3), (True, False, 4), (False, False, 4)]
    finally:
        storage.close()
