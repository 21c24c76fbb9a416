"""Long texts are parsed in threads. A call in C holds the interpreter's lock against the loop, so none is long."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.cache import candle_rows, csv_bytes, key_snapshot
from tickwire.cache.candle_rows import HEADER
from tickwire.model import timeframes

pytestmark = pytest.mark.pure

ROWS = [(minute * 60_000, 1.25, minute % 977 + 0.5, 0.125, 0.5, 3.5) for minute in range(50_000)]
LINES = b"".join(b"%d,1.25,%.1f,0.125,0.5,3.5\n" % (row[0], row[2]) for row in ROWS)
"""2 MB."""
PIECE = LINES[: LINES.rindex(b"\n", 0, key_snapshot.PIECE_BYTES) + 1]
GRID = timeframes.grid("1m")


def longest_call(work: Callable[[], object]) -> float:
    """The CPU time of the longest call in C of some work, as a share of all of it."""
    calls: list[float] = []
    longest = 0.0

    def note(_: FrameType, event: str, __: object) -> None:
        nonlocal longest
        if event == "c_call":
            calls.append(time.thread_time())
        elif event in ("c_return", "c_exception") and calls:
            longest = max(longest, time.thread_time() - calls.pop())

    began = time.thread_time()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return longest / (time.thread_time() - began)


@pytest.mark.parametrize(
    ("work", "most"),
    [
        (lambda: csv_bytes.scan(HEADER + LINES, len(HEADER), len(HEADER + LINES), GRID), 0.02),
        (lambda: candle_rows.parse_rows(PIECE), 0.2),
        (lambda: candle_rows.columns(PIECE), 0.2),
    ],
    ids=["a first check of a file", "rows", "columns"],
)
def test_no_call_takes_a_large_part_of_the_work(work: Callable[[], object], most: float) -> None:
    work()
    # The least of a few: others may take the core within a call, and the caches with it.
    assert min(longest_call(work) for _ in range(5)) < most


@given(st.integers(1, 200), st.integers(0, 50))
def test_slices_of_any_size_have_the_rows_of_the_whole(size: int, count: int) -> None:
    lines, rows = b"".join(PIECE.splitlines(keepends=True)[:count]), ROWS[:count]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candle_rows, "SLICE_BYTES", size)
        assert candle_rows.parse_rows(lines) == rows
        found = candle_rows.columns(lines)
        assert [tuple(map(float, row)) for row in zip(*found, strict=True)] == [tuple(map(float, row)) for row in rows]
        for wrong in (lines + b"1", lines + b"1,2,3,4,5\n", lines + b"\n"):
            for parse in (candle_rows.parse_rows, candle_rows.columns):
                with pytest.raises(ValueError, match=r"."):
                    parse(wrong)
