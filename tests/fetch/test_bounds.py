"""Where a job's candles end: nothing is asked for that has not closed, nothing is final that may be revised."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.errors import BadRequest
from tickwire.fetcher.bounds import bounds_of
from tickwire.fetcher.paging_types import ProvenPage
from tickwire.model.messages import FetchRequest
from tickwire.model.timeframes import grid

pytestmark = pytest.mark.pure

MINUTE = 60_000
NOW = 1_717_243_200_000  # 2024-06-01 12:00 UTC
usual: dict[str, Any] = {"exchange": "kucoin", "symbol": "BTC/USDT", "timeframe": "1m"}


@given(
    since=st.integers(-300, 0),
    until=st.none() | st.integers(-300, 60),
    past_ms=st.integers(0, 59_999),
    settle_ms=st.integers(0, 5_000),
    revised_ms=st.integers(0, 600_000),
)
def test_what_has_not_closed_is_not_asked_for_and_what_may_be_revised_is_not_final(
    since: int, until: int | None, past_ms: int, settle_ms: int, revised_ms: int
) -> None:
    asked = None if until is None else NOW + until * MINUTE
    request = FetchRequest(**usual, since=NOW + since * MINUTE, until=asked)
    now = NOW + past_ms
    found = bounds_of(request, grid("1m"), now, 0, settle_ms, revised_ms)
    assert found.closed is not None
    assert found.settled is not None
    assert found.closed <= now - settle_ms < found.closed + MINUTE
    assert found.settled <= min(now - revised_ms, found.closed)
    assert found.since <= found.until
    assert found.since <= found.reach <= max(found.since, found.closed)
    assert found.until == max(found.since, found.settled if asked is None else asked)
    page = found.with_finality(ProvenPage(found.since, found.reach, []), None)
    # A candle that ends so late may be revised.
    final = page.until if page.settled is None else page.settled
    assert final <= max(found.since, now - revised_ms) or final <= found.settled
    assert page.settled is None or page.until > now - revised_ms - MINUTE


def test_where_no_clock_tells_the_newest_candle_does() -> None:
    request = FetchRequest(**usual, since=NOW - 60 * MINUTE)
    found = bounds_of(request, grid("1m"), None, NOW + 30_000, 1_000, 2 * MINUTE)
    assert (found.closed, found.settled, found.reach) == (None, None, NOW)
    page = found.with_finality(ProvenPage(NOW - 60 * MINUTE, NOW, []), newest=NOW)
    assert page.settled == NOW - 2 * MINUTE


def test_what_has_not_happened_is_refused() -> None:
    with pytest.raises(BadRequest, match="future"):
        bounds_of(FetchRequest(**usual, since=NOW + 1), grid("1m"), NOW, NOW, 0, 0)
