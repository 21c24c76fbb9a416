"""Retention: certified days alone, oldest first, no more than the limits say, whoever removes them in which order."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.archive_files.layout import ArchivedFeed, Sequences
from tickwire.archive_files.retention import Limits, stored_days, to_remove

pytestmark = pytest.mark.pure

FIRST = date(2026, 3, 1)
FEEDS = [ArchivedFeed("trade", *each) for each in (("binance", "BTC/USDT"), ("kraken", "BTC/USD:USD"))]
PART = Sequences(1_700_000_000_000, 1, 9).part
Files = dict[str, int]


@st.composite
def archives(draw: st.DrawFn) -> Files:
    """Files with their bytes: certified days, open ones, ones that were opened again, and days without files."""
    files: Files = {}
    for feed in FEEDS:
        for number in range(draw(st.integers(0, 8))):
            folder = feed.on(FIRST + timedelta(days=number)).folder
            names = draw(st.sampled_from([("data.parquet", "day.json"), ("day.json",), (PART,), (PART, "data.parquet"),
                                          ("data.parquet", "day.json", PART), ("data.parquet",), ()]))  # fmt: skip
            files |= {f"{folder}/{name}": draw(st.integers(1, 50)) for name in names}
    return files


def day_names(files: Files, folder: str) -> set[str]:
    return {path.rpartition("/")[2] for path in files if path.rpartition("/")[0] == folder}


def folders(files: Files, limits: Limits, today: date) -> list[str]:
    """The folders of the days to remove."""
    return [each.day.folder for each in to_remove(stored_days(files.items()), limits, today)]


def dates_of(chosen: list[str]) -> list[str]:
    return [folder.rpartition("=")[2] for folder in chosen]


limits = st.builds(Limits, st.none() | st.integers(1, 10), st.none() | st.integers(0, 500))
todays = st.integers(0, 20).map(lambda days: FIRST + timedelta(days=days))


@given(archives(), todays)
def test_without_limits_nothing_is_removed(files: Files, today: date) -> None:
    assert folders(files, Limits(), today) == []


@given(archives(), limits, todays)
def test_only_certified_days_are_removed_oldest_first_and_never_the_last_of_a_feed(
    files: Files, limits: Limits, today: date
) -> None:
    chosen = folders(files, limits, today)
    assert dates_of(chosen) == sorted(dates_of(chosen))
    for folder in chosen:
        names = day_names(files, folder)
        assert "day.json" in names
        assert PART not in names
        # The next day of the feed is certified too: it needs this one no more.
        feed = folder.rpartition("/")[0]
        later = sorted({path.rpartition("/")[0] for path in files if path.startswith(f"{feed}/")})
        following = day_names(files, next(each for each in later if each > folder))
        assert "day.json" in following
        assert PART not in following


@given(archives(), st.integers(1, 10), todays)
def test_by_age_days_within_the_limit_stay_and_older_ones_go(files: Files, keep: int, today: date) -> None:
    newest = max((stored.day.date for stored in stored_days(files.items())), default=FIRST)
    chosen = folders(files, Limits(days=keep), today)
    removable = folders(files, Limits(bytes=0), today)
    # A clock that is ahead makes no day older than the archive itself shows.
    oldest = min(today, newest + timedelta(days=1)) - timedelta(days=keep)
    old = [folder for folder in removable if date.fromisoformat(folder[-10:]) < oldest]
    assert chosen == old


@given(archives(), st.integers(0, 500), todays)
def test_by_bytes_no_more_days_are_removed_than_needed(files: Files, keep: int, today: date) -> None:
    chosen = folders(files, Limits(bytes=keep), today)
    removable = folders(files, Limits(bytes=0), today)
    assert chosen == removable[: len(chosen)]

    def left(gone: list[str]) -> int:
        return sum(size for path, size in files.items() if path.rpartition("/")[0] not in gone)

    assert left(chosen) <= keep or chosen == removable
    if chosen:
        assert left(chosen[:-1]) > keep


@given(archives(), limits, todays, st.data())
def test_owners_that_remove_their_parts_of_a_plan_remove_no_more_than_one_would(
    files: Files, limits: Limits, today: date, data: st.DataObject
) -> None:
    chosen = folders(files, limits, today)
    gone = set(data.draw(st.lists(st.sampled_from(chosen), unique=True))) if chosen else set()
    rest = {path: size for path, size in files.items() if path.rpartition("/")[0] not in gone}
    planned, left = [folder for folder in chosen if folder not in gone], folders(rest, limits, today)
    assert left == planned[: len(left)]
    # What the plan has no more needs to go neither by bytes nor by age.
    if left != planned:
        assert limits.bytes is not None
        assert sum(size for path, size in rest.items() if path.rpartition("/")[0] not in left) <= limits.bytes
        assert set(folders(rest, limits._replace(bytes=None), today)) <= set(left)


def test_files_of_others_are_no_days() -> None:
    feed = FEEDS[0].folder
    others = {f"{feed}/removed.json": 5, f"{feed}/date=2026-03-01/notes.txt": 5, "trade/x/data.parquet": 5,
              f"{feed}/date=2026-13-01/day.json": 5, ".tickwire": 0}  # fmt: skip
    assert stored_days(others.items()) == []
