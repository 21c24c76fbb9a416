"""Lines of candle files: written, read, found by date, merged, salvaged."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.cache import csv_bytes, splice_plan
from tickwire.cache.candle_rows import HEADER, checked, columns, format_row, format_rows, parse_rows, proven, proves
from tickwire.cache.salvage import salvage
from tickwire.errors import BadRequest, UnsupportedTimeframe
from tickwire.model.messages import CandlePage, Row
from tickwire.model.ranges import Range
from tickwire.model.timeframes import grid

pytestmark = pytest.mark.pure

MINUTE = 60_000
numbers = st.floats(allow_nan=False, allow_infinity=False)
minutes = st.integers(min_value=0, max_value=30_000_000)


def row_at(minute: int, value: float = 1.0) -> Row:
    return (minute * MINUTE, value, value, value, value, value)


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Ascending rows with any finite numbers."""
    times = sorted(draw(st.sets(minutes, max_size=30)))
    return [(at * MINUTE, *draw(st.tuples(numbers, numbers, numbers, numbers, numbers))) for at in times]


def salvaged(data: bytes) -> tuple[list[bytes], list[Range], int]:
    """The lines that are kept, the ranges that are lost, how many lines were dropped."""
    kept = bytearray()
    done = salvage(data, len(data), grid("1m"), kept.extend)
    return bytes(kept).splitlines(keepends=True), done.lost, done.dropped


def page(rows: list[Row], since: int, until: int, timeframe: str = "1m") -> CandlePage:
    return CandlePage(exchange="binance", symbol="BTC/USDT", timeframe=timeframe, since=since, until=until, rows=rows)


@given(tables())
def test_a_line_is_what_repr_writes_and_float_reads(rows: list[Row]) -> None:
    expected = "".join(f"{d},{o!r},{h!r},{lo!r},{c!r},{v!r}\n" for d, o, h, lo, c, v in rows).encode()
    assert format_rows(rows) == expected
    assert b"".join(map(format_row, rows)) == expected
    assert parse_rows(expected) == rows
    assert list(zip(*(column.tolist() for column in columns(expected)), strict=True)) == rows


@pytest.mark.parametrize("value", [1e-4, 9.999e-5, 1e-7, 5e-324, 1e15, 1e16, 1.5e300, -0.0, 0.1 + 0.2, 2300413.7295])
def test_numbers_at_the_edges_of_the_exponent_form_are_written_as_repr_does(value: float) -> None:
    assert format_rows([row_at(1, value), row_at(2)]) == format_row(row_at(1, value)) + format_row(row_at(2))
    assert format_row(row_at(1, value)).split(b",")[1].decode() == repr(value)


@given(tables(), minutes, st.integers(-MINUTE, MINUTE))
def test_bisect_finds_what_a_search_through_all_rows_finds(rows: list[Row], minute: int, shift: int) -> None:
    lines = [format_row(row) for row in rows]
    view = HEADER + b"".join(lines)
    date = minute * MINUTE + shift
    before = sum(len(line) for line, row in zip(lines, rows, strict=True) if row[0] < date)
    assert csv_bytes.bisect(view, date, csv_bytes.START, len(view)) == csv_bytes.START + before


@given(tables(), st.integers(0, 40))
def test_cutting_after_n_rows_leaves_the_first_n(rows: list[Row], limit: int) -> None:
    view = HEADER + format_rows(rows)
    end = csv_bytes.cut_after(view, csv_bytes.START, len(view), limit)
    assert view[csv_bytes.START : end] == format_rows(rows[:limit])


@given(tables(), st.integers(0, 40), st.integers(0, 40))
def test_cutting_before_n_rows_leaves_the_last_n(rows: list[Row], limit: int, skipped: int) -> None:
    view = HEADER + format_rows(rows)
    start = csv_bytes.cut_after(view, csv_bytes.START, len(view), skipped)
    kept = rows[skipped:]
    begin = csv_bytes.cut_before(view, start, len(view), limit)
    assert view[begin:] == format_rows(kept[len(kept) - min(limit, len(kept)) :])


def test_the_last_rows_of_a_long_file_are_found_by_looking_at_its_end_alone() -> None:
    """Ten thousand of half a million rows; nothing before them is looked at, save for one piece."""
    view = HEADER + format_rows([row_at(minute, 0.1 + minute) for minute in range(500_000)])
    looked: list[int] = []

    class Watched(bytes):
        def __getitem__(self, place: Any) -> Any:
            looked.append(place.start)
            return super().__getitem__(place)

    begin = csv_bytes.cut_before(Watched(view), csv_bytes.START, len(view), 10_000)
    assert csv_bytes.date_at(view, begin) == 490_000 * MINUTE
    assert min(looked) >= begin - (1 << 18)


@given(tables(), tables())
def test_merging_is_an_upsert_by_date(old: list[Row], new: list[Row]) -> None:
    view = HEADER + format_rows(old)
    plan = splice_plan.plan(view, len(view), [(row[0], format_row(row)) for row in new])
    result = b"".join(piece if isinstance(piece, bytes) else view[slice(*piece)] for piece in plan.pieces)
    before, after = {row[0]: row for row in old}, {row[0]: row for row in new}
    union = before | after
    assert result == format_rows([union[date] for date in sorted(union)])
    assert plan.added == len(union) - len(before)
    written = {date for date in before if date in after and format_row(before[date]) != format_row(after[date])}
    assert plan.changed == len(written)


def test_merging_rows_that_are_there_already_writes_nothing() -> None:
    view = HEADER + format_rows([row_at(minute) for minute in range(9)])
    plan = splice_plan.plan(view, len(view), [(row_at(m)[0], format_row(row_at(m))) for m in (2, 3, 7)])
    assert plan == splice_plan.SplicePlan([(csv_bytes.START, len(view))], 0, 0)


@given(tables())
def test_a_scan_of_a_good_file_finds_every_row_and_no_flaw(rows: list[Row]) -> None:
    view = HEADER + format_rows(rows)
    found = csv_bytes.scan(view, csv_bytes.START, len(view), grid("1m"))
    assert (found.rows, found.flaws) == (len(rows), [])
    assert sum((until - since) // MINUTE for since, until in found.runs) == len(rows)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"hello\n", "not a row"),
        (b"180000,1.0,1.0,1.0,1.0\n", "not a row"),
        (b"180000,1.0,1.0,1.0,1.0,1.0,1.0\n", "not a row"),
        (b"180000,1.0,nan,1.0,1.0,1.0\n", "not a row"),
        (b"180000.0,1.0,1.0,1.0,1.0,x\n", "not a row"),
        (b"\n", "not a row"),
        (b"180000,1.0,1.0,1.0,1.0,1.0\r\n", "not a row"),
        (b"120000,1.0,1.0,1.0,1.0,1.0\n", "repeats"),
        (b"60000,1.0,1.0,1.0,1.0,1.0\n", "goes back"),
        (b"180001,1.0,1.0,1.0,1.0,1.0\n", "no 1m candle opens"),
        (b"1800\0\0\0\0,1.0,1.0,1.0,1.0,1.0\n", "cut off"),
    ],
)
def test_a_flaw_is_named_with_its_line(bad: bytes, says: str) -> None:
    view = HEADER + format_rows([row_at(1), row_at(2)]) + bad + format_rows([row_at(4)])
    found = csv_bytes.scan(view, csv_bytes.START, len(view), grid("1m"), keep=10)
    assert [(flaw.line, says in flaw.message) for flaw in found.flaws] == [(4, True)]
    assert found.rows == 3


@given(st.integers(0, 60))
def test_an_unfinished_last_line_is_torn_and_a_finished_wrong_one_is_not(length: int) -> None:
    whole = format_row(row_at(3, 1.5))
    if length < len(whole) and length:
        assert csv_bytes.is_torn(whole[:length])
    assert not csv_bytes.is_torn(b"hello\n")
    assert not csv_bytes.is_torn(b"hello")
    assert csv_bytes.is_torn(b"18\0\0\n")


@given(st.sets(st.integers(0, 40), min_size=1), st.data())
def test_salvage_keeps_every_good_line_and_gives_up_the_time_around_lost_ones(
    times: set[int], data: st.DataObject
) -> None:
    rows = [row_at(minute) for minute in sorted(times)]
    broken = data.draw(st.sets(st.sampled_from(range(len(rows)))))
    lines = [b"x,y\n" if at in broken else format_row(row) for at, row in enumerate(rows)]
    kept, lost, dropped = salvaged(HEADER + b"".join(lines))
    assert kept == [line for at, line in enumerate(lines) if at not in broken]
    assert dropped == len(broken)
    for at in broken:
        assert any(since <= rows[at][0] < until for since, until in lost)
    for at, row in enumerate(rows):
        assert at in broken or not any(since <= row[0] < until for since, until in lost)


def test_salvage_drops_a_date_that_jumps_ahead_rather_than_everything_behind_it() -> None:
    view = HEADER + format_rows([row_at(1)]) + format_rows([row_at(99_000)]) + format_rows([row_at(3), row_at(4)])
    kept, lost, dropped = salvaged(view)
    assert kept == [format_row(row_at(m)) for m in (1, 3, 4)]
    assert (lost, dropped) == ([Range(2 * MINUTE, 3 * MINUTE)], 1)


def test_salvage_keeps_one_of_two_equal_rows_of_a_date_and_none_of_different_ones() -> None:
    view = HEADER + format_rows([row_at(1), row_at(2), row_at(2, 7.0), row_at(3)]) + format_rows([row_at(3), row_at(4)])
    kept, lost, dropped = salvaged(view)
    assert kept == [format_row(row_at(m)) for m in (1, 3, 4)]
    assert (lost, dropped) == ([Range(2 * MINUTE, 3 * MINUTE)], 3)


def test_salvage_keeps_nothing_of_a_file_with_another_header() -> None:
    view = b"timestamp,open,high,low,close,volume\n" + format_rows([row_at(1)])
    assert salvaged(view)[0] == []


def test_a_page_is_put_in_order_and_repeated_equal_rows_count_once() -> None:
    given_rows = [row_at(3), row_at(1), row_at(3)]
    assert checked(page(given_rows, 0, 9 * MINUTE)) == [row_at(1), row_at(3)]


@pytest.mark.parametrize(
    "wrong",
    [
        page([row_at(5)], 0, 5 * MINUTE),
        page([row_at(1)], 2 * MINUTE, 5 * MINUTE),
        page([row_at(1), row_at(1, 2.0)], 0, 5 * MINUTE),
        page([row_at(1, math.inf)], 0, 5 * MINUTE),
        page([row_at(1, math.nan)], 0, 5 * MINUTE),
        page([(60_001, 1.0, 1.0, 1.0, 1.0, 1.0)], 0, 5 * MINUTE),
        page([row_at(1)], 0, 10**9, "1M"),
        page([], 5, 4),
    ],
)
def test_a_page_that_cannot_be_meant_is_refused(wrong: CandlePage) -> None:
    with pytest.raises(BadRequest):
        checked(wrong)


def test_a_page_of_no_timeframe_is_refused() -> None:
    with pytest.raises(UnsupportedTimeframe):
        checked(page([], 0, 1, "1x"))


def test_rows_prove_the_runs_of_consecutive_candles_also_of_months() -> None:
    # 2024-01-01, 2024-02-01, 2024-04-01, 2024-05-01, and where the runs end: 2024-03-01, 2024-06-01
    january, february, april, may = 1704067200000, 1706745600000, 1711929600000, 1714521600000
    dates = columns(b"".join(format_row((d, 1.0, 1.0, 1.0, 1.0, 1.0)) for d in (january, february, april, may))).dates
    assert proven(dates, grid("1M")) == [Range(january, 1709251200000), Range(april, 1717200000000)]


@pytest.mark.parametrize(
    ("times", "since", "until", "expected"),
    [
        ([1, 2, 3], 1, 4, True),
        ([1, 3], 1, 4, False),
        ([1, 2], 1, 4, False),
        ([2, 3], 1, 4, False),
        ([], 1, 4, False),
    ],
)
def test_a_page_is_proven_by_its_rows_only_when_no_candle_is_absent(
    times: list[int], since: int, until: int, expected: bool
) -> None:
    rows = [row_at(minute) for minute in times]
    assert proves(rows, page(rows, since * MINUTE, until * MINUTE)) is expected
    assert not proves(rows, page(rows, since * MINUTE - 1, until * MINUTE))
