"""Times in the future: pages with such times are rejected, and files of earlier versions that have some are read."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.stored import opened
from tickwire.cache.future_guard import AHEAD_MS, WallClock, reaches_future, without_future
from tickwire.model import subjects
from tickwire.model.messages import CandlePage, Row
from tickwire.model.ranges import Range, covers, merge
from tickwire.model.subjects import Key
from tickwire.observe import logs
from tickwire.settings import LogSettings

pytestmark = pytest.mark.pure

KEY = Key("binance", "BTC/USDT", "1m")
OTHER = Key("binance", "ETH/USDT", "1m")
MINUTE, DAY = 60_000, 86_400_000
YEAR = 365 * DAY
NOW = time.time_ns() // 1_000_000 // MINUTE * MINUTE


def page(since: int, rows: int, key: Key = KEY, until: int | None = None) -> CandlePage:
    made: list[Row] = [(since + n * MINUTE, 1.0, 2.0, 0.5, 1.5, 3.0) for n in range(rows)]
    return CandlePage(**key._asdict(), since=since, until=since + rows * MINUTE if until is None else until, rows=made)


def file_of(folder: Path, ending: str, key: Key = KEY) -> Path:
    return folder / f"{subjects.file_stem(key)}{ending}"


@pytest.mark.parametrize(
    "wrong",
    [
        page(NOW + YEAR, 3),
        page(NOW - 10 * MINUTE, 3, until=NOW + YEAR),
        page(NOW - 10 * MINUTE, 3, until=10**18),
        page(NOW * 1000, 3),
        page(NOW - 10 * MINUTE, 0, until=NOW + AHEAD_MS + 600 * MINUTE),
        page(-10 * MINUTE, 3),
    ],
    ids=["a year ahead", "until a year ahead", "until 10^18", "microseconds", "beyond the tolerance", "negative"],
)
def test_a_page_of_a_time_that_has_not_happened_is_refused_by_itself(tmp_path: Path, wrong: CandlePage) -> None:
    store = opened(tmp_path)
    outcome = store.commit([(1, page(NOW - 20 * MINUTE, 5)), (2, wrong), (3, page(NOW - 20 * MINUTE, 5, OTHER))])
    assert [rejected.seq for rejected in outcome.rejected] == [2]
    assert "not in the past" in outcome.rejected[0].error.message
    assert {stored.symbol for stored in outcome.stored} == {KEY.symbol, OTHER.symbol}
    assert store.position == 3
    assert store.coverage(KEY).verified == [Range(NOW - 20 * MINUTE, NOW - 15 * MINUTE)]


def test_a_clock_that_is_a_day_behind_refuses_nothing(tmp_path: Path) -> None:
    # As seen from there, the present is a day ahead.
    store = opened(tmp_path)
    assert store.commit([(1, page(NOW + DAY, 5))]).rejected == []
    assert store.coverage(KEY).rows == 5


def test_a_clock_that_was_reset_refuses_nothing_that_was_right_in_the_last_run(tmp_path: Path) -> None:
    before = opened(tmp_path)
    before.commit([(1, page(NOW - 9 * MINUTE, 5))])
    before.checkpoint()
    # As it looks to a machine whose clock went back by 300 days.
    os.utime(tmp_path / ".partition-0.json", (time.time() + 300 * 86_400,) * 2)
    after = opened(tmp_path, 2)
    assert after.commit([(2, page(NOW + 300 * DAY, 5))]).rejected == []
    assert after.coverage(KEY).rows == 10


@given(st.lists(st.integers(0, 2**42), min_size=1), st.integers(0, 2**42))
def test_the_present_never_goes_back(clock: list[int], witness: int) -> None:
    ticks = iter(clock)
    present = WallClock(witness, lambda: next(ticks) / 1000)
    seen = [present.now() for _ in clock]
    assert seen == sorted(seen)
    assert seen[-1] == max([witness, *(int(tick / 1000 * 1000) for tick in clock)])


@pytest.mark.parametrize("until", [NOW + YEAR, 10**18], ids=["a year", "beyond all times"])
def test_what_an_earlier_version_verified_ahead_is_believed_as_far_as_rows_prove_it(
    tmp_path: Path, until: int, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(LogSettings(format="text"))

    def said() -> int:
        return capsys.readouterr().err.count("ranges in the future were verified")

    since = NOW - DAY
    store = opened(tmp_path)
    # Sound and apart; then rows, a minute without one, rows again, and nothing since.
    store.commit([(1, page(since, 5)), (2, page(since + 100 * MINUTE, 5)), (3, page(since + 106 * MINUTE, 4))])
    store.checkpoint()
    meta = json.loads(file_of(tmp_path, ".meta.json").read_text())
    meta["verified"] = [[since, since + 20 * MINUTE], [since + 100 * MINUTE, until]]
    file_of(tmp_path, ".meta.json").write_text(json.dumps(meta))

    healed = opened(tmp_path, 2)
    wanted = [
        Range(since, since + 20 * MINUTE),
        Range(since + 100 * MINUTE, since + 105 * MINUTE),
        Range(since + 106 * MINUTE, since + 110 * MINUTE),
    ]
    coverage = healed.coverage(KEY)
    assert (coverage.verified, coverage.rows, coverage.holes) == (wanted, 14, 15)
    assert said() == 1
    # It lasts, and is said once.
    assert opened(tmp_path, 3).coverage(KEY).verified == wanted
    assert said() == 0
    # The next fetch closes it.
    again = opened(tmp_path, 4)
    again.commit([(4, page(since + 105 * MINUTE, 0, until=NOW))])
    again.flush()
    assert again.coverage(KEY).verified == [wanted[0], Range(since + 100 * MINUTE, NOW)]


@pytest.mark.parametrize("ahead", [NOW + YEAR, NOW * 1000], ids=["a year", "microseconds"])
def test_rows_of_the_future_are_not_read_and_are_a_problem_that_repair_mends(tmp_path: Path, ahead: int) -> None:
    since = NOW - DAY
    opened(tmp_path).commit([(1, page(since, 5))])
    data = file_of(tmp_path, ".csv")
    lines = f"{ahead},1.0,1.0,1.0,1.0,1.0\n{ahead + MINUTE},1.0,1.0,1.0,1.0,1.0\n"
    data.write_text(data.read_text() + lines)
    store = opened(tmp_path, 2)
    coverage = store.coverage(KEY)
    # They stay until an operator removes them: the clock may be wrong.
    assert data.read_text().endswith(lines)
    assert (coverage.rows, coverage.holes, coverage.verified) == (5, 0, [Range(since, since + 5 * MINUTE)])
    assert coverage.last == since + 4 * MINUTE
    assert store.read(KEY, None, None).dates.tolist() == [since + n * MINUTE for n in range(5)]
    assert store.read(KEY, None, 2**62).dates.size == 5
    assert [problem.message for problem in store.verify(KEY).problems] == ["2 rows lie outside the verified ranges"]
    done = store.repair(KEY)
    assert (done.rows_kept, done.lines_dropped) == (5, 2)
    assert lines in Path(done.moved_to).read_text()
    assert store.verify(KEY).problem_count == 0
    assert store.commit([(2, page(since + 5 * MINUTE, 5))]).stored
    assert store.coverage(KEY).verified == [Range(since, since + 10 * MINUTE)]


instants = st.integers(0, 400)
some_ranges = st.lists(st.builds(lambda a, b: Range(min(a, b) * DAY, max(a, b) * DAY), instants, instants)).map(merge)


@given(some_ranges, some_ranges, st.integers(0, 300).map(lambda day: day * DAY))
def test_what_is_believed_was_verified_and_does_not_reach_beyond(
    ranges: list[Range], proven: list[Range], present: int
) -> None:
    kept = without_future(ranges, proven, present)
    assert not reaches_future(kept, present)
    assert all(covers(ranges, each) for each in kept)
    for each in ranges:
        if each.until <= present + AHEAD_MS:
            assert covers(kept, each)
    if not reaches_future(ranges, present):
        assert kept == ranges
