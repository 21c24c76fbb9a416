"""Closing a day takes the memory of some row groups, however many rows the day has."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from archive_files.taped import BEGIN, DATE, DAY, FEED, GENERATION, unchecked
from tickwire.archive_files import days, parts
from tickwire.archive_files.chained_rows import Part
from tickwire.archive_files.file_meta import FileMeta
from tickwire.archive_files.layout import Sequences
from tickwire.archive_files.root import FolderRoot
from tickwire.archive_files.schema import ROW_GROUP, TRADES

pytestmark = pytest.mark.actors

TODAY = FEED.on(DATE)


def write_day(root: FolderRoot, groups: int) -> None:
    """Parts of half a row group each, of rows that are all different."""
    half = ROW_GROUP // 2
    for number in range(2 * groups):
        begin = number * half
        numbers = pa.array(range(begin, begin + half), pa.int64())
        times = pa.array(range(BEGIN + begin, BEGIN + begin + half), pa.int64()).cast(TRADES.field("timestamp").type)
        word = TRADES.field("side").type
        rows = pa.table(
            [
                times,
                times,
                numbers.cast(pa.string()),
                pa.array(["buy"] * half).cast(word),
                numbers.cast(pa.float64()),
                numbers.cast(pa.float64()),
                pa.array(["live"] * half).cast(word),
                numbers,
            ],
            schema=TRADES,
        )
        meta = FileMeta.of(TODAY, covered=[Sequences(GENERATION, begin + 1, begin + half)], until=BEGIN + begin + half)
        parts.write_part(root, Part(TODAY, meta, rows))


def peak(root: FolderRoot) -> int:
    """The most bytes that Arrow has at once while the day is closed."""
    usual = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counted)
    try:
        days.close_day(root, TODAY, BEGIN + DAY, unchecked)
    finally:
        pa.set_memory_pool(usual)
    most = counted.max_memory()
    assert isinstance(most, int)
    return most


def test_a_day_four_times_as_long_is_closed_with_the_same_memory(tmp_path: Path) -> None:
    found = {}
    for groups in (4, 16):
        root = FolderRoot(tmp_path / str(groups))
        write_day(root, groups)
        found[groups] = peak(root)
        made = days.read_certificate(root, TODAY)
        assert made is not None
        assert made.rows == groups * ROW_GROUP
    assert found[4] > ROW_GROUP * 8 * 5
    assert found[16] < found[4] * 1.25
