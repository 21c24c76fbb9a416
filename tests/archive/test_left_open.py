"""A day whose closing was cut short is found by the next owner, also if it has an earlier certificate."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from archive.test_rounds import START, entry
from tickwire.archive.open_days import OpenDays
from tickwire.archive.rounds import Position, Round
from tickwire.archive.stream_feeds import StreamFeeds
from tickwire.archive_files import days
from tickwire.archive_files.layout import ArchivedFeed, date_of
from tickwire.archive_files.parts import write_part
from tickwire.archive_files.root import FolderRoot, read, write
from tickwire.errors import Fenced

pytestmark = pytest.mark.actors

FEED = ArchivedFeed("trade", "binance", "BTC/USDT")
DAY = FEED.on(date_of(START))


def written(root: FolderRoot, position: Position, *sequences: int) -> Position:
    """Write a round of these messages, each with a trade."""
    made = Round(position, 100)
    for each in sequences:
        assert made.take(entry(each, "BTC/USDT", each - 1, 1, START + each))
    for part in made.parts.parts(made.last):
        write_part(root, part)
    return made.position(1)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_closing_that_was_cut_short_leaves_the_day_open(tmp_path: Path, step: int) -> None:
    root, steps = FolderRoot(tmp_path), iter(range(1, 9))

    def cut() -> None:
        if next(steps) == step:
            raise Fenced("killed")

    def pending() -> list[date]:
        return [each for found in StreamFeeds(root, "TRADES-0", 1).left_open() for each in found.pending]

    position = written(root, Position(1), 1, 2)
    assert pending() == [DAY.date]
    days.close_day(root, DAY, None, lambda: None)
    assert pending() == []
    # Late trades open it again.
    written(root, position, 3, 4)
    with pytest.raises(Fenced):
        days.close_day(root, DAY, None, cut)
    assert pending() == [DAY.date]
    assert days.close_day(root, DAY, None, lambda: None).rows == 4
    assert pending() == []


def test_a_day_certified_without_proof_is_certified_again_once_it_is_proven(tmp_path: Path) -> None:
    """Also if the owner that certified it has died meanwhile."""
    root = FolderRoot(tmp_path)
    written(root, Position(1), 1, 2)
    end = DAY.span.until
    assert days.close_day(root, DAY, None, lambda: None).condition == "partial"
    (found,) = StreamFeeds(root, "TRADES-0", 1).left_open()
    assert (found.pending, found.unproven) == ([], [DAY.date])
    open_days = OpenDays(0)
    open_days.found(found.feed, found.pending, found.newest, found.unproven)
    open_days.declared(FEED, end - 1)
    assert open_days.due(end + 1) == []
    open_days.declared(FEED, end)
    assert open_days.due(end + 1) == [DAY]
    days.close_day(root, DAY, end, lambda: None)
    (found,) = StreamFeeds(root, "TRADES-0", 1).left_open()
    assert (found.pending, found.unproven) == ([], [])


def test_a_day_that_was_left_open_long_ago_is_found(tmp_path: Path) -> None:
    """Rows of years ago were added, or repaired, and their archive has died."""
    root = FolderRoot(tmp_path)
    written(root, Position(1), 1, 2)
    days.close_day(root, DAY, None, lambda: None)
    for number in range(1, 100):
        later = FEED.on(DAY.date + timedelta(days=number))
        for path in (later.data, later.certificate):
            write(root, path, read(root, DAY.certificate))
    (found,) = StreamFeeds(root, "TRADES-0", 1).left_open()
    assert found.pending == []
    written(root, Position(1, done=2, begin=1), 3, 4)
    (found,) = StreamFeeds(root, "TRADES-0", 1).left_open()
    assert (found.pending, found.newest) == ([DAY.date], DAY.date + timedelta(days=99))


def test_a_damaged_certificate_keeps_no_other_day_open(tmp_path: Path) -> None:
    root = FolderRoot(tmp_path)
    written(root, Position(1), 1, 2)
    days.close_day(root, DAY, None, lambda: None)
    (tmp_path / DAY.certificate).write_text("{")
    (found,) = StreamFeeds(root, "TRADES-0", 1).left_open()
    assert (found.pending, found.unproven) == ([], [])


def test_a_quiet_day_is_closed_also_if_the_next_one_has_a_part_before_it_is_due() -> None:
    """A round may have the end of a quiet day, and trades of the next one."""
    open_days, (first, quiet, third) = (
        OpenDays(1 << 62),
        [FEED.on(DAY.date + timedelta(days=each)) for each in range(3)],
    )
    open_days.written(first)
    open_days.declared(FEED, quiet.span.since)
    now = third.span.until
    assert open_days.due(now) == [first]
    open_days.closed(first, now)
    open_days.written(third)
    open_days.declared(FEED, third.span.since + 1)
    assert open_days.due(now) == [quiet]


def test_a_quiet_day_whose_owner_died_before_it_was_closed_is_found(tmp_path: Path) -> None:
    root = FolderRoot(tmp_path)
    written(root, Position(1), 1, 2)
    quiet, later = (FEED.on(DAY.date + timedelta(days=each)) for each in (1, 2))
    after = Round(Position(1, 2, 1), 100)
    assert after.take(entry(3, "BTC/USDT", 2, 1, START + 3))
    assert after.take(entry(4, "BTC/USDT", 3, 0, later.span.since))
    for part in after.parts.parts(4):
        write_part(root, part)
    write(root, f"{later.folder}/part-{1:013}-{5:020}-{6:020}.parquet", read(root, f"{DAY.folder}/{part_of(root)}"))
    (found,) = StreamFeeds(root, "TRADES-0", 1).left_open()
    assert found.pending == [DAY.date, quiet.date, later.date]
    assert days.close_day(root, quiet, later.span.since, lambda: None).rows == 0
    assert quiet.date not in StreamFeeds(root, "TRADES-0", 1).left_open()[0].pending


def part_of(root: FolderRoot) -> str:
    """The first part of the day."""
    return root.names(DAY.folder)[0]
