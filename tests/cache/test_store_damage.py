"""Damaged, foreign and torn files of the store: refused with their line, cut off where an append was torn, repaired."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cache.stored import HEADER, KEY, MINUTE, append_to, data_file, in_minutes, meta_file, minutes_in, opened, page
from tickwire.cache.key_endpoints import listing
from tickwire.errors import CacheFileError, NotCached

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("contents", "line"),
    [
        ("timestamp,open,high,low,close,volume\n60000,1.0,1.0,1.0,1.0,1.0\n", 1),
        ("", 1),
        ("PNG\0\1\2", 1),
        (HEADER + "60000,1.0,1.0,1.0,1.0,1.0\nhello\n", 3),
        (HEADER + "60000,1.0,1.0,1.0,1.0,1.0\n120000,1.0,1.0", 3),
        (HEADER + "120000,1.0,1.0,1.0,1.0,1.0\n60000,1.0,1.0,1.0,1.0,1.0\n", 3),
        (HEADER + "60000,1.0,1.0,1.0,1.0,1.0\n60000,1.0,1.0,1.0,1.0,1.0\n", 3),
        (HEADER + "61000,1.0,1.0,1.0,1.0,1.0\n", 2),
    ],
)
def test_a_foreign_or_malformed_file_is_refused_with_its_line_and_left_as_it_is(
    tmp_path: Path, contents: str, line: int
) -> None:
    data_file(tmp_path).write_text(contents)
    store = opened(tmp_path)
    outcome = store.commit([(1, page([5]))])
    assert outcome.stored == []
    [rejected] = outcome.rejected
    assert isinstance(rejected.error, CacheFileError)
    assert (rejected.error.path, rejected.error.line) == (str(data_file(tmp_path)), line)
    assert f"line {line}" in str(rejected.error)
    assert "\n" not in str(rejected.error)
    with pytest.raises(CacheFileError):
        store.read(KEY, None, None)
    assert listing(store)[1] == [str(rejected.error)]
    assert store.verify(KEY).problem_count >= 1
    assert data_file(tmp_path).read_text() == contents
    assert not meta_file(tmp_path).exists()


def test_a_file_without_meta_is_kept_and_verified_where_its_rows_are_consecutive(tmp_path: Path) -> None:
    lines = [f"{minute * MINUTE},1.0,1.0,1.0,1.0,1.0\n" for minute in (1, 2, 5)]
    data_file(tmp_path).write_text(HEADER + "".join(lines))
    coverage = opened(tmp_path).coverage(KEY)
    assert (coverage.rows, coverage.holes, in_minutes(coverage.verified)) == (3, 0, [(1, 3), (5, 6)])


@pytest.mark.parametrize("tail", ["1200", "1200000,1.0,2.0,0.5,1.5,1", "\0\0\0\0", "1200000,1.0\0\0\0\0\n1\0"])
def test_what_an_interrupted_append_left_is_cut_off(tmp_path: Path, tail: str) -> None:
    opened(tmp_path).commit([(1, page([1, 2]))])
    before = data_file(tmp_path).read_text()
    append_to(data_file(tmp_path), tail)
    store = opened(tmp_path, 2)
    assert store.coverage(KEY).rows == 2
    assert data_file(tmp_path).read_text() == before
    assert store.commit([(2, page([3]))]).stored
    assert minutes_in(tmp_path) == [1, 2, 3]


def test_a_wrong_line_that_no_torn_append_can_leave_is_refused_and_not_cut_off(tmp_path: Path) -> None:
    opened(tmp_path).commit([(1, page([1, 2]))])
    append_to(data_file(tmp_path), "hello,world\n")
    with pytest.raises(CacheFileError, match="line 4"):
        opened(tmp_path, 2).coverage(KEY)
    assert data_file(tmp_path).read_text().endswith("hello,world\n")


def test_a_file_that_lost_rows_behind_our_back_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).commit([(1, page(list(range(9))))])
    lines = data_file(tmp_path).read_text().splitlines(keepends=True)
    data_file(tmp_path).write_text("".join(lines[:5] + lines[7:]))
    store = opened(tmp_path, 2)
    with pytest.raises(CacheFileError, match="2 of its 9 rows are missing"):
        store.coverage(KEY)
    repaired = store.repair(KEY)
    assert in_minutes(repaired.unverified) == [(4, 6)]
    assert in_minutes(store.coverage(KEY).verified) == [(0, 4), (6, 9)]


def test_repair_moves_the_damaged_file_aside_and_unverifies_what_was_lost(tmp_path: Path) -> None:
    opened(tmp_path).commit([(1, page([1, 2, 3, 4, 7], 1, 10))])
    damaged = data_file(tmp_path).read_text().replace("180000,1.0", "180000;1.0")
    data_file(tmp_path).write_text(damaged)
    store = opened(tmp_path, 2)
    problems = store.verify(KEY).problems
    assert [problem.line for problem in problems] == [4]
    done = store.repair(KEY)
    assert (done.rows_kept, done.lines_dropped, in_minutes(done.unverified)) == (4, 1, [(3, 4)])
    assert done.moved_to == f"{data_file(tmp_path)}.damaged-1"
    assert Path(done.moved_to).read_text() == damaged
    assert minutes_in(tmp_path) == [1, 2, 4, 7]
    assert in_minutes(store.coverage(KEY).verified) == [(1, 3), (4, 10)]
    assert store.verify(KEY).problem_count == 0
    assert store.repair(KEY).moved_to == ""
    assert store.commit([(2, page([3]))]).rejected == []
    store.flush()
    assert in_minutes(store.coverage(KEY).verified) == [(1, 10)]
    assert opened(tmp_path, 3).verify(KEY).problem_count == 0


@pytest.mark.parametrize("name", ["excel_de_utf8.csv", "excel_us.csv", "excel_unicode_text.csv", "quoted.csv"])
def test_repair_keeps_the_rows_of_a_file_that_a_spreadsheet_saved_over_it(tmp_path: Path, name: str) -> None:
    store = opened(tmp_path)
    store.commit([(1, page([28_333_334, 28_333_335, 28_333_336]))])
    before = data_file(tmp_path).read_bytes()
    saved = (Path(__file__).parents[1] / "golden" / "saved" / name).read_bytes()
    data_file(tmp_path).write_bytes(saved)
    store = opened(tmp_path, 2)
    with pytest.raises(CacheFileError, match="the first line is not"):
        store.coverage(KEY)
    done = store.repair(KEY)
    assert (done.rows_kept, done.lines_dropped, done.unverified, done.problems) == (3, 0, [], [])
    assert Path(done.moved_to).read_bytes() == saved
    dates = [line.split(b",")[0] for line in data_file(tmp_path).read_bytes().splitlines()]
    assert dates == [line.split(b",")[0] for line in before.splitlines()]
    assert store.verify(KEY).problem_count == 0


def test_repair_leaves_a_file_alone_that_could_be_read_in_two_ways(tmp_path: Path) -> None:
    opened(tmp_path).commit([(1, page([1, 2]))])
    saved = b"dates;opens;highs;lows;closes;volumes\r\n1700000040000;1,234;1,234;1,234;1,234;5\r\n"
    data_file(tmp_path).write_bytes(saved)
    store = opened(tmp_path, 2)
    with pytest.raises(CacheFileError, match=r"line 2: '1,234' has a decimal mark or a thousands separator") as refused:
        store.repair(KEY)
    assert refused.value.line == 2
    assert data_file(tmp_path).read_bytes() == saved
    assert not [path for path in tmp_path.iterdir() if "damaged" in path.name or "tmp-" in path.name]


@pytest.mark.parametrize(
    "contents",
    ["{", "[]", '{"exchange":"okx","symbol":"X/Y","timeframe":"1m","verified":[],"rows":0,"bytes":0,"inode":0}'],
)
def test_an_unreadable_or_foreign_meta_file_is_refused_and_repaired_from_the_rows(
    tmp_path: Path, contents: str
) -> None:
    opened(tmp_path).commit([(1, page([1, 2, 5], 1, 9))])
    meta_file(tmp_path).write_text(contents)
    store = opened(tmp_path, 2)
    with pytest.raises(CacheFileError, match=r"meta\.json"):
        store.coverage(KEY)
    assert meta_file(tmp_path).read_text() == contents
    store.repair(KEY)
    assert in_minutes(store.coverage(KEY).verified) == [(1, 3), (5, 6)]
    assert Path(f"{meta_file(tmp_path)}.damaged-1").read_text() == contents


def test_a_meta_file_without_its_data_file_is_refused_and_moved_aside_by_repair(tmp_path: Path) -> None:
    opened(tmp_path).commit([(1, page([1, 2]))])
    data_file(tmp_path).unlink()
    store = opened(tmp_path, 2)
    with pytest.raises(CacheFileError, match="data file is missing"):
        store.coverage(KEY)
    assert in_minutes(store.repair(KEY).unverified) == [(1, 3)]
    with pytest.raises(NotCached):
        store.coverage(KEY)
    assert store.commit([(2, page([1]))]).stored


def test_rows_outside_the_verified_ranges_are_a_problem(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([(1, page([1, 2, 3]))])
    meta = json.loads(meta_file(tmp_path).read_text())
    meta["verified"] = [[MINUTE, 3 * MINUTE]]
    meta_file(tmp_path).write_text(json.dumps(meta))
    assert [p.message for p in opened(tmp_path, 2).verify(KEY).problems] == ["1 rows lie outside the verified ranges"]
