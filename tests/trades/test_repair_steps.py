"""What a repair does after each page, and which minutes it leaves complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.exchange.past_trades import PageRequest
from tickwire.streamer.control.minute_marks import last_minute
from tickwire.streamer.trades.ordering import PageResult
from tickwire.streamer.trades.repair_plan import Step, step_after

pytestmark = pytest.mark.pure

PLAIN = PageRequest(0, None)
CUT = PageRequest(0, None, cut=True)


@pytest.mark.parametrize(
    ("result", "request_", "has_trades", "waiting", "step"),
    [
        (PageResult.COMPLETE, PLAIN, True, 0, Step.VERIFY),
        (PageResult.COMPLETE, CUT, True, 5, Step.VERIFY),
        (PageResult.MORE, PLAIN, True, 5, Step.REQUEST),
        # Too old to request, and later trades wait: a gap lets them go on.
        (PageResult.LAGS, CUT, True, 5, Step.RELEASE),
        (PageResult.ABSENT, CUT, True, 5, Step.RELEASE),
        # An empty page may have come too early.
        (PageResult.LAGS, CUT, False, 5, Step.COUNT_ABSENT),
        (PageResult.ABSENT, PLAIN, True, 5, Step.COUNT_ABSENT),
        (PageResult.LAGS, CUT, True, 0, Step.COUNT_ABSENT),
        (PageResult.LAGS, PLAIN, True, 5, Step.WAIT),
        (PageResult.LAGS, PLAIN, False, 0, Step.WAIT),
    ],
)
def test_the_step_after_a_page(
    result: PageResult, request_: PageRequest, has_trades: bool, waiting: int, step: Step
) -> None:
    assert step_after(result, request_, has_trades=has_trades, waiting=waiting) is step


@given(st.integers(1_000_000, 2**42), st.integers(0, 600_000))
def test_a_minute_is_over_once_its_trades_had_time_to_settle(now: int, settle_ms: int) -> None:
    end, ago = last_minute(now, settle_ms)
    assert end % 60_000 == 0
    assert end + settle_ms + ago == now
    assert 0 <= ago < 60_000
