"""Rows of pages whose times cannot be: none of them proves anything, and the others stay."""

from __future__ import annotations

from typing import Any

import pytest

from tickwire.fetcher.page_rows import BadRows, parse_page, parse_volumes
from tickwire.model.timeframes import grid

pytestmark = pytest.mark.pure

MINUTE = 60_000
DAY = 1_440 * MINUTE
START = 1_700_006_400_000
LATEST = START + DAY
WRONG = [START + 400 * DAY, START // 1000, START * 1000, 10**18, 0, -1, LATEST + MINUTE]


def row(at: Any) -> list[Any]:
    return [at, 1.0, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("wrong", WRONG)
def test_such_a_row_of_a_page_is_rejected_by_itself(wrong: int) -> None:
    answer = parse_page([row(START), row(wrong), row(START + 2 * MINUTE)], grid("1m"), LATEST)
    assert answer.opens == [START, START + 2 * MINUTE]
    assert len(answer.rejected) == 1
    # What it may have stood for is not known.
    assert any(doubt.since <= START + MINUTE < doubt.until for doubt in answer.doubts)


@pytest.mark.parametrize("wrong", WRONG)
def test_candles_of_a_larger_timeframe_prove_nothing_with_one_among_them(wrong: int) -> None:
    with pytest.raises(BadRows):
        parse_volumes([row(START - DAY), row(wrong), row(START)], LATEST)
    assert list(parse_volumes([row(START - DAY), row(START)], LATEST)) == [START - DAY, START]
