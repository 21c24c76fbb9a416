"""What of a fetch request is refused before it is queued."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.errors import BadRequest, TickwireError
from tickwire.fetcher.request_checks import check
from tickwire.model.messages import FetchRequest
from tickwire.settings import ExchangeSettings, FetcherSettings, Settings

pytestmark = pytest.mark.pure

NOW = 1_717_243_200_000  # 2024-06-01 12:00 UTC
YEAR = 365 * 86_400_000


def wanted(**changes: Any) -> FetchRequest:
    usual: dict[str, Any] = {"exchange": "binance", "symbol": "ETH/USDT", "timeframe": "1m", "since": NOW - YEAR}
    return FetchRequest(**usual | {"id": "one"} | changes)


def test_years_of_minutes_may_be_asked_for_and_years_of_seconds_in_parts() -> None:
    check(wanted(since=NOW - 10 * YEAR), NOW, Settings())
    check(wanted(timeframe="1s", since=NOW - YEAR), NOW, Settings())
    with pytest.raises(BadRequest, match=r"94,608,000 candles.*50,000,000; split the range, take a larger timeframe"):
        check(wanted(timeframe="1s", since=NOW - 3 * YEAR), NOW, Settings())
    check(wanted(timeframe="1s", since=NOW - 3 * YEAR), NOW, Settings(fetcher=FetcherSettings(max_candles=10**9)))


def test_a_time_of_another_unit_or_far_ahead_is_refused_but_not_one_slightly_ahead() -> None:
    check(wanted(until=NOW + 3_600_000), NOW, Settings())
    for until in (NOW + 2 * YEAR, NOW * 1000, 10**18):
        with pytest.raises(BadRequest, match=r"until \(\d+\) is far in the future; times are ms"):
            check(wanted(until=until), NOW, Settings())
    # Of an exchange whose clock is its own, as of a stand-in, only what is no time in ms at all.
    stand_in = Settings(exchange={"binance": ExchangeSettings(gateway="http://127.0.0.1:1")})
    check(wanted(since=NOW + 10 * YEAR, until=NOW + 11 * YEAR), NOW, stand_in)
    with pytest.raises(BadRequest, match="far in the future"):
        check(wanted(until=10**18), NOW, stand_in)


@given(
    st.integers(-(2**63), 2**64),
    st.one_of(st.none(), st.integers(-(2**63), 2**64)),
    st.sampled_from("smhdwMy"),
    st.booleans(),
)
def test_any_requested_times_are_refused_by_name_or_can_be_worked_with(
    since: int, until: int | None, unit: str, stand_in: bool
) -> None:
    settings = Settings(exchange={"binance": ExchangeSettings(gateway="http://127.0.0.1:1")} if stand_in else {})
    try:
        check(wanted(since=since, until=until, timeframe=f"1{unit}"), NOW, settings)
    except TickwireError:
        return
    assert 0 <= since < 7_258_118_400_001
    assert until is None or since < until < 7_258_118_400_001
