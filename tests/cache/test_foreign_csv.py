"""Data files that other programs saved: what is read of them, and what is refused because it could be two things."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.cache import salvage as salvaging
from tickwire.cache.candle_rows import format_rows
from tickwire.cache.foreign_csv import LONGEST, AmbiguousFile
from tickwire.cache.salvage import SalvageResult
from tickwire.model.messages import Row
from tickwire.model.ranges import Range
from tickwire.model.timeframes import grid

pytestmark = pytest.mark.pure

SAVED = Path(__file__).parents[1] / "golden" / "saved"
NOW = 1_800_000_000_000
MINUTE = 60_000
BEGIN = 1_700_000_040_000
ROWS: list[Row] = [
    (1_700_000_040_000, 37000.5, 37010.25, 36990.0, 37005.0, 12.5),
    (1_700_000_100_000, 37005.0, 37020.0, 37000.75, 37012.5, 0.00012),
    (1_700_000_160_000, 37012.5, 37012.5, 37001.0, 37001.0, 1234567.0),
]
NAMES = ("dates", "opens", "highs", "lows", "closes", "volumes")
HEADER = ",".join(NAMES)
SEMICOLONS = ";".join(NAMES)


def salvaged(data: bytes, timeframe: str = "1m", latest: int = NOW) -> tuple[bytes, SalvageResult]:
    kept = bytearray()
    done = salvaging.salvage(data, len(data), grid(timeframe), kept.extend, latest)
    return bytes(kept), done


def lines(*texts: str) -> bytes:
    return "".join(f"{text}\r\n" for text in texts).encode()


@pytest.mark.parametrize("name", sorted(path.name for path in SAVED.iterdir()))
def test_every_row_of_a_file_that_another_program_saved_is_kept(name: str) -> None:
    kept, done = salvaged((SAVED / name).read_bytes())
    assert kept == format_rows(ROWS)
    assert (done.rows, done.dropped, done.problems, done.lost) == (3, 0, [], [])


def plain(value: float) -> str:
    """As a spreadsheet shows a number: no exponent, no needless zero."""
    text = f"{value:.12f}".rstrip("0").rstrip(".")
    return text or "0"


values = st.integers(0, 10**12).map(lambda number: number / 10_000)


@given(
    st.sets(st.integers(0, 500_000), min_size=1, max_size=12),
    st.lists(st.tuples(values, values, values, values, values), min_size=12, max_size=12),
    st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", ","), ("\t", ".")]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.booleans(),
    st.sampled_from([str.upper, str.title, lambda name: f" {name} "]),
)
def test_good_rows_in_any_dialect_are_kept_exactly(
    minutes: set[int],
    numbers: list[tuple[float, float, float, float, float]],
    marks: tuple[str, str],
    end: str,
    encoding: str,
    quoted: bool,
    case: object,
) -> None:
    separator, decimal = marks
    # One number says which the decimal mark is.
    numbers[0] = (0.5, *numbers[0][1:])
    rows: list[Row] = [(BEGIN + minute * MINUTE, *each) for minute, each in zip(sorted(minutes), numbers, strict=False)]

    def written(fields: list[str]) -> str:
        return separator.join(f'"{field}"' if quoted else field for field in fields) + end

    text = written([case(name) for name in NAMES])  # type: ignore[operator]
    for date, *each in rows:
        text += written([str(date), *(plain(value).replace(".", decimal) for value in each)])
    kept, done = salvaged(text.encode(encoding))
    assert kept == format_rows(rows)
    assert (done.dropped, done.lost) == (0, [])


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (lines(SEMICOLONS, f"{BEGIN};1,234;1,234;1,234;1,234;5"), 2),
        (lines(SEMICOLONS, f"{BEGIN};1;1;1;1;5", f"{BEGIN + MINUTE};1;1.234;1;1;5"), 3),
        (lines(HEADER, f'{BEGIN},"1,234",1,1,1,5'), 2),
        (lines(SEMICOLONS, f"{BEGIN};0,5;1;1;1;5", f"{BEGIN + MINUTE};0.5;1;1;1;5"), 3),
        (lines(HEADER, "180000,1,1,1,1,1"), 2),
    ],
    ids=["all commas", "a point", "a comma in quotes", "both", "seconds or milliseconds"],
)
def test_a_file_that_can_be_read_in_two_ways_is_refused_with_its_line(data: bytes, line: int) -> None:
    with pytest.raises(AmbiguousFile) as refused:
        salvaged(data)
    assert refused.value.line == line


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("1.7E+12", "no 1m candle opens"),
        ("1.70001E+12", "rounded"),
        ("1.69998E+12", "rounded"),
        ("2023-11-14T22:14:00", "offset"),
        ("2023-11-14T22:14:30Z", "no 1m candle opens"),
        ("14.11.2023 22:14", "not a row"),
        ("", "not a row"),
        ("1700000040000.5", "not a row"),
    ],
)
def test_a_time_that_is_not_exact_costs_its_line_alone(field: str, says: str) -> None:
    good = [f"{date},{','.join(map(str, rest))}" for date, *rest in ROWS]
    kept, done = salvaged(lines(HEADER, good[0], f"{field},1,1,1,1,1", *good[1:]))
    assert kept == format_rows(ROWS)
    assert [(problem.line, says in problem.message) for problem in done.problems] == [(3, True)]


def test_a_rounded_time_is_read_where_no_other_candle_is_rounded_to_it() -> None:
    # Days open at multiples of 86,400,000 ms: this one has no other within the 5,000,000 ms of six digits.
    date = 1_728_000_000_000
    assert date % 86_400_000 == 0
    data = lines(HEADER, "1.728E+12,1.5,1.5,1.5,1.5,1")
    assert salvaged(data, "1d")[0] == format_rows([(date, 1.5, 1.5, 1.5, 1.5, 1.0)])
    assert salvaged(data, "1m")[0] == b""


def test_many_rows_of_one_rounded_time_are_all_dropped() -> None:
    data = lines(HEADER, *(f"1728000000000,{number}.5,9.5,0.5,1.5,1" for number in range(1, 8)))
    kept, done = salvaged(data)
    assert kept == b""
    assert done.dropped == 7
    assert done.lost == [Range(salvaging.NEVER, salvaging.EVER)]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("x" * (3 * LONGEST), "too long"),
        ("1700000220000,1,2,3,4", "not a row"),
        ("1700000220000,1,2,3,4,5,6", "not a row"),
        ('1700000220000,1,2,3,4,"5', "not a row"),
        ("1700000220000,1,2,3,nan,5", "not a row"),
        ("1700000220000,1,2,3,1e999,5", "not a row"),
        ("9" * 30 + ",1,2,3,4,5", "not a row"),
    ],
)
def test_what_is_no_row_is_named_and_costs_itself_alone(bad: str, says: str) -> None:
    good = [f"{date},{','.join(map(str, rest))}" for date, *rest in ROWS]
    kept, done = salvaged(lines(HEADER, *good, bad, "1700000280000,1,2,0.5,1,5"))
    assert kept == format_rows([*ROWS, (1_700_000_280_000, 1.0, 2.0, 0.5, 1.0, 5.0)])
    assert [(problem.line, says in problem.message) for problem in done.problems] == [(5, True)]
    assert done.lost == [Range(1_700_000_220_000, 1_700_000_280_000)]


def test_a_last_line_without_an_end_may_be_cut_off() -> None:
    data = lines(SEMICOLONS, f"{BEGIN};1;1;1;1;0,5") + f"{BEGIN + MINUTE};1;1;1;1;12".encode()
    kept, done = salvaged(data)
    assert kept == format_rows([(BEGIN, 1.0, 1.0, 1.0, 1.0, 0.5)])
    assert "cut off" in done.problems[0].message


@pytest.mark.parametrize("timeframe", ["1M", "1d"])
def test_a_time_beyond_all_calendars_costs_its_line_alone(timeframe: str) -> None:
    data = lines(HEADER, "1698796800000,1,1,1,1,1.5", f"{10**17},1,1,1,1,1.5")
    assert salvaged(data, timeframe)[0] == format_rows([(1_698_796_800_000, 1.0, 1.0, 1.0, 1.0, 1.5)])


def test_a_large_file_is_read_in_bounded_memory() -> None:
    text = "\r\n".join(f"{BEGIN + at * MINUTE};1,5;2,5;0,5;1,5;{at}" for at in range(60_000))
    data = f"{SEMICOLONS}\r\n{text}\r\n".encode()
    rows = 0

    def keep(kept: bytes) -> None:
        nonlocal rows
        rows += kept.count(b"\n")

    tracemalloc.start()
    try:
        salvaging.salvage(data, len(data), grid("1m"), keep)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 60_000
    assert used < len(data) / 2
