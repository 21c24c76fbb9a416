"""Instants that timers of a process share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.instants import next_instant

pytestmark = pytest.mark.pure

TIMES = st.floats(0, 1e7)
STEPS = st.sampled_from([5, 10, 25, 50, 100])


@given(TIMES, STEPS)
def test_the_next_instant_is_a_multiple_within_one_step(now: float, step_ms: int) -> None:
    found = next_instant(now, step_ms)
    assert round(found * 1000) % step_ms == 0
    assert found == pytest.approx(round(found * 1000) / 1000, abs=1e-9)
    assert -0.001 < found - now - 0.001 <= step_ms / 1000


@given(st.integers(0, 10**10), STEPS, st.integers(1, 99))
def test_timers_that_are_set_between_two_instants_end_together(number: int, step_ms: int, after: int) -> None:
    begin = number * step_ms
    assert next_instant((begin + after % step_ms) / 1000, step_ms) == next_instant(begin / 1000, step_ms)
