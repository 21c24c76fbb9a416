"""A day whose removal was cut short: the next owner of its feed removes the rest, and does not take it as open."""

from __future__ import annotations

from pathlib import Path

import pytest

from archive.test_left_open import DAY, FEED, written
from tickwire.archive.removing import planned
from tickwire.archive.rounds import Position
from tickwire.archive.stream_feeds import StreamFeeds
from tickwire.archive_files import days
from tickwire.archive_files.layout import DAY_MS
from tickwire.archive_files.removal import NAME, remove_day
from tickwire.archive_files.retention import Limits
from tickwire.archive_files.root import FolderRoot
from tickwire.model.subjects import tape_partition_of

pytestmark = pytest.mark.actors

NOW = DAY.span.until
MUCH = Limits(bytes=1 << 40)
"""Nothing has to make room."""


class Cut(Exception):
    """The owner died."""


def removed_until(root: FolderRoot, step: int) -> None:
    """Remove the day, but die before a step: the marker, the day's file, the certificate."""
    steps = iter(range(1, 9))

    def cut() -> None:
        if next(steps) == step:
            raise Cut

    with pytest.raises(Cut):
        remove_day(root, DAY, cut)


@pytest.mark.parametrize(("step", "rest"), [(1, []), (2, []), (3, [DAY])])
def test_a_removal_that_was_cut_short_is_finished_though_nothing_has_to_make_room(
    tmp_path: Path, step: int, rest: list[object]
) -> None:
    root, feeds = FolderRoot(tmp_path), StreamFeeds(FolderRoot(tmp_path), "TRADES-0", 1)
    written(root, Position(1), 1, 2)
    days.close_day(root, DAY, None, lambda: None)
    removed_until(root, step)
    assert (tmp_path / FEED.folder / NAME).exists() == (step > 1)
    assert [each.day for each in planned(feeds, MUCH, NOW)] == rest
    assert [each.pending for each in feeds.left_open()] == [[]]
    (day,) = days.days(root, FEED, NOW - DAY_MS, NOW)
    assert (day.condition == "removed") == (step == 3)


def test_each_owner_removes_days_of_its_own_feeds_alone(tmp_path: Path) -> None:
    root = FolderRoot(tmp_path)
    written(root, Position(1), 1, 2)
    days.close_day(root, DAY, None, lambda: None)
    removed_until(root, 3)
    owner = tape_partition_of(FEED.exchange, FEED.symbol, 4)
    for number in range(4):
        found = planned(StreamFeeds(root, f"TRADES-{number}", 4), MUCH, NOW)
        assert [each.day for each in found] == ([DAY] if number == owner else [])


def test_what_is_left_of_a_removed_day_is_not_open(tmp_path: Path) -> None:
    """An empty folder: the owner died before it removed that."""
    root = FolderRoot(tmp_path)
    written(root, Position(1), 1, 2)
    days.close_day(root, DAY, None, lambda: None)
    remove_day(root, DAY, lambda: None)
    (tmp_path / DAY.folder).mkdir()
    assert StreamFeeds(root, "TRADES-0", 1).left_open() == []
    assert [each.condition for each in days.days(root, FEED, NOW - DAY_MS, NOW)] == ["removed"]
