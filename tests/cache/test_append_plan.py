"""Which pages of a key are appended, which wait for a splice, and which are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tickwire.cache.append_plan import AppendPlan, CheckedPage
from tickwire.cache.cache_folder import CacheFolder
from tickwire.cache.candle_rows import format_rows
from tickwire.cache.disk import Disk
from tickwire.cache.future_guard import WallClock
from tickwire.cache.key_files import KeyFiles
from tickwire.cache.pending_splice import PendingSplice
from tickwire.model.messages import CandlePage, Row, VolumeUnit
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

pytestmark = pytest.mark.pure

MINUTE = 60_000
KEY = Key("binance", "BTC/USDT", "1m")


def page(seq: int, *minutes: int, price: float = 1.0, unit: VolumeUnit = "base") -> CheckedPage:
    """A page from the first of some minutes to the last, with a row at each."""
    rows: list[Row] = [(minute * MINUTE, price, price, price, price, 1.0) for minute in minutes]
    since, until = rows[0][0], rows[-1][0] + MINUTE
    return CheckedPage(seq, CandlePage(**KEY._asdict(), since=since, until=until, rows=rows, volume_unit=unit), rows)


@pytest.fixture
def file(tmp_path: Path) -> KeyFiles:
    """The files of a key with rows at the minutes 10 and 11, in base currency."""
    made = KeyFiles(CacheFolder(Disk(), str(tmp_path)), 0, KEY, WallClock())
    found = page(1, 10, 11)
    made.append(format_rows(found.rows), 10 * MINUTE, 11 * MINUTE, [Range(10 * MINUTE, 12 * MINUTE)], "base")
    return made


def plan(file: KeyFiles, *pages: CheckedPage, pending: PendingSplice | None = None) -> AppendPlan:
    """The plan for pages in base currency."""
    return AppendPlan(file, file.state, pages, "base", pending)


def test_newer_rows_are_appended_and_what_the_file_has_is_not_written_again(file: KeyFiles) -> None:
    found = plan(file, page(2, 11, 12), page(3, 13))
    assert [row[0] // MINUTE for row in found.rows] == [12, 13]
    assert len(found.appended) == 2
    assert (found.pending, found.rejected, found.proven) == (None, [], True)


def test_a_page_with_a_hole_needs_its_meta_file(file: KeyFiles) -> None:
    assert not plan(file, page(2, 12, 14)).proven


def test_rows_that_change_older_ones_wait_and_so_do_the_pages_that_overlap_them(file: KeyFiles) -> None:
    found = plan(file, page(2, 9), page(3, 12), page(4, 11, 12, price=2.0), page(5, 13))
    assert found.pending is not None
    assert list(found.pending.pages) == [2, 4]
    assert [each.since // MINUTE for each in found.appended] == [12, 13]


def test_pages_that_wait_already_hold_back_those_before_their_newest_row(file: KeyFiles) -> None:
    pending = PendingSplice(unit="base")
    waiting = page(2, 20)
    pending.add(waiting.seq, waiting.page, waiting.rows)
    found = plan(file, page(3, 15), page(4, 21), pending=pending)
    assert list(pending.pages) == [2, 3]
    assert [row[0] // MINUTE for row in found.rows] == [21]


def test_a_page_in_a_less_informative_unit_or_on_another_grid_is_rejected(file: KeyFiles) -> None:
    quotes = page(2, 12, unit="quote")
    shifted = CandlePage(
        **KEY._asdict(), since=MINUTE // 2, until=MINUTE // 2, rows=[], volume_unit="base", opens_at=MINUTE // 2
    )
    found = plan(file, quotes, CheckedPage(3, shifted, []))
    assert [each.seq for each in found.rejected] == [2, 3]
    assert "in the unit 'quote'" in found.rejected[0].error.message
    assert "open at other times" in found.rejected[1].error.message
    assert found.appended == []
