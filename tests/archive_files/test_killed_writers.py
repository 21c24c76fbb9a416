"""A writer that is killed between any two steps, or finds no room, leaves what was there before or what it wrote."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from archive_files import killed_writer
from archive_files.killed_writer import END, FIRST, LATE, SECOND, WRITINGS
from archive_files.taped import BEGIN, DATE, DAY, FEED, message, times_of, unchecked, write_round
from pipeline.small_disk import small_disk
from tickwire.archive_files import days, parts
from tickwire.archive_files.layout import DATA
from tickwire.archive_files.root import FolderRoot
from tickwire.errors import StorageError
from tickwire.model.feeds import Trade
from tickwire.model.messages.archive import Certificate

pytestmark = pytest.mark.faults

TESTS = Path(__file__).parents[1]
TODAY = FEED.on(DATE)
ROWS = [trade.timestamp for sent, _, _ in FIRST + SECOND for trade in sent.trades]
LATE_ROWS = [trade.timestamp for sent, _, _ in LATE for trade in sent.trades]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is left of the writers."""
    folder = tmp_path_factory.mktemp("killed")
    env = os.environ | {"PYTHONPATH": str(TESTS)}
    subprocess.run([sys.executable, killed_writer.__file__, folder], env=env, check=True, timeout=200)
    return folder


def in_day_file(root: FolderRoot) -> list[int] | None:
    """The times in the day's file, as any program reads it; None if there is none."""
    path = Path(root.url) / TODAY.data
    return pq.read_table(path)["timestamp"].cast("int64").to_pylist() if path.exists() else None


def certified(root: FolderRoot) -> Certificate | None:
    """The certificate, without when it was made."""
    found = days.read_certificate(root, TODAY)
    return found and msgspec.structs.replace(found, made=0)


def left(killed: Path, writing: str) -> list[FolderRoot]:
    """What each killed writer left, in the order of their steps; the last came to its end."""
    folders = [path for path in (killed / writing).iterdir() if path.name.isdecimal()]
    return [FolderRoot(path) for path in sorted(folders, key=lambda path: int(path.name))]


def test_a_part_is_there_whole_or_not_at_all(killed: Path) -> None:
    roots = left(killed, "part")
    found = [times_of(root) for root in roots]
    whole = [trade.timestamp for sent, _, _ in FIRST for trade in sent.trades]
    assert {tuple(each) for each in found} == {(), tuple(whole)}
    assert found == sorted(found)
    assert len(roots) > 5
    for root in roots:
        WRITINGS["part"][1](root)
        assert times_of(root) == whole


@pytest.mark.parametrize(("writing", "before", "after"), [("close", None, ROWS), ("reopen", ROWS, ROWS + LATE_ROWS)])
def test_each_row_is_read_once_whenever_the_writer_of_a_day_was_killed(
    killed: Path, writing: str, before: list[int] | None, after: list[int]
) -> None:
    roots = left(killed, writing)
    unharmed = roots[-1]
    assert (in_day_file(unharmed), unharmed.names(TODAY.folder)) == (after, ["data.parquet", "day.json"])
    old, new = certified(FolderRoot(killed / writing / "before")), certified(unharmed)
    assert new is not None
    seen = []
    for root in roots:
        assert times_of(root) == after
        state = (in_day_file(root), certified(root))
        assert state in ((before, old), (after, old), (after, new))
        seen.append(((before, old), (after, old), (after, new)).index(state))
        WRITINGS[writing][1](root)
        assert (in_day_file(root), certified(root)) == (after, new)
        assert root.names(TODAY.folder) == ["data.parquet", "day.json"]
    assert seen == sorted(seen)
    assert set(seen) == {0, 1, 2}


def test_a_day_whose_removal_was_cut_short_is_whole_or_removed_and_removed_again(killed: Path) -> None:
    roots = left(killed, "remove")
    seen = []
    for root in roots:
        (day,) = days.days(root, FEED, BEGIN, BEGIN + DAY)
        assert day.condition in ("complete", "removed")
        assert times_of(root) == (ROWS if day.condition == "complete" else [])
        # What speaks of the day is there as long as its file.
        assert day.condition == "removed" or root.names(TODAY.folder) == ["data.parquet", "day.json"]
        seen.append(day.condition)
        WRITINGS["remove"][1](root)
        assert days.days(root, FEED, BEGIN, BEGIN + DAY)[0].condition == "removed"
        assert not (Path(root.url) / TODAY.folder).exists()
    assert seen == sorted(seen)
    assert {"complete", "removed"} == set(seen)


@pytest.mark.parametrize(("writing", "rows"), [("close", ROWS), ("reopen", ROWS + LATE_ROWS), ("remove", ROWS)])
def test_a_reader_of_half_a_day_gets_each_row_or_an_error_whenever_its_writer_dies(
    killed: Path, writing: str, rows: list[int]
) -> None:
    """Whether it goes on, or asks another instance with its cursor. Only removal is an error, and never a part."""
    found = [json.loads(path.read_text()) for path in (killed / writing).glob("read-*")]
    assert len(found) == len(left(killed, writing)) > 5
    removed = f"{TODAY} was removed while it was read"
    for going_on, asking in found:
        assert going_on in ([rows[1:], removed] if writing == "remove" else [rows[1:]])
        assert asking in ([rows[1:], removed] if writing == "remove" else [rows[1:]])
    assert writing != "remove" or removed in [asking for _, asking in found]


def test_a_full_disk_leaves_the_day_as_it_was_and_later_nothing_is_missing() -> None:
    with small_disk() as disk:
        root = FolderRoot(disk.folder)
        killed_writer.late_part(root)
        # Numbers that do not compress: a part of several hundred KB.
        prices = random.Random(7)
        many = msgspec.structs.replace(
            message(until=END),
            trades=[
                Trade(id=str(n), timestamp=BEGIN + n, side="buy", price=1 + prices.random(), amount=1)
                for n in range(50_000)
            ],
        )
        rows = parts.PartRows(1_700_000_000_000, 4)
        rows.append(many, 5, 4)
        (part,) = rows.parts(5)
        old = in_day_file(root)
        disk.fill()
        with pytest.raises(StorageError, match=r"No space left on device; free some space"):
            parts.write_part(root, part)
        assert times_of(root) == ROWS + LATE_ROWS
        disk.grow()
        parts.write_part(root, part)
        disk.fill()
        with pytest.raises(StorageError, match=r"No space left on device; free some space"):
            days.close_day(root, TODAY, END, unchecked)
        assert (in_day_file(root), len(times_of(root))) == (old, len(ROWS + LATE_ROWS) + 50_000)
        assert not [path for path in (disk.folder / TODAY.folder).iterdir() if path.name.startswith(".")]
        disk.grow()
        made = days.close_day(root, TODAY, END, unchecked)
        assert (made.version, made.rows, made.file) == (2, len(ROWS + LATE_ROWS) + 50_000, DATA)


def test_what_killed_writers_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    root = FolderRoot(tmp_path)
    write_round(root, FIRST, 2)
    old, new = (tmp_path / TODAY.folder / f".data.parquet.{name}.writing" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    root.sweep(TODAY.folder)
    assert (old.exists(), new.exists()) == (False, True)
    # Whoever closes a day is the only one that may write there.
    days.close_day(root, TODAY, END, unchecked)
    assert not new.exists()
