"""Which times of an exchange can be right, and what is said of the others."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.plausibility import AHEAD_MS, UNKNOWN_AHEAD_MS, implausible, latest

pytestmark = pytest.mark.pure

NOW = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp() * 1000)
YEAR = 365 * 86_400_000
GENESIS = int(datetime(2009, 1, 3, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("timestamp", "kind"),
    [
        (NOW + YEAR, "ahead"),
        (NOW + AHEAD_MS + 1, "ahead"),
        (NOW // 1000, "scale"),
        (NOW * 1000, "scale"),
        (NOW * 1_000_000, "scale"),
        (10**18, "ahead"),
        (10**30, "ahead"),
        (10**4000, "ahead"),
        (2**63, "ahead"),
        (0, "early"),
        (1, "early"),
        (GENESIS - 1, "early"),
        (-1, "negative"),
        (-NOW, "negative"),
        (-(10**4000), "negative"),
        (None, "absent"),
        (float("nan"), "absent"),
        (True, "absent"),
        ("soon", "absent"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_time_that_cannot_be_is_named(timestamp: object, kind: str) -> None:
    found = implausible(timestamp, latest(NOW, NOW))
    assert found is not None
    assert found.kind == kind
    assert 0 < len(found.reason) < 200


@given(st.integers(GENESIS, NOW + AHEAD_MS), st.integers(-(10**15), 10**15))
def test_whatever_our_own_clock_says_a_time_up_to_the_exchange_s_clock_is_taken(timestamp: int, wall: int) -> None:
    assert implausible(timestamp, latest(NOW, wall)) is None


@given(st.integers())
def test_whatever_the_time_nothing_beyond_the_clock_is_taken(timestamp: int) -> None:
    found = implausible(timestamp, latest(NOW, NOW))
    assert (found is None) == (GENESIS <= timestamp <= NOW + AHEAD_MS)


def test_where_the_exchange_s_time_is_unknown_ours_is_a_generous_bound() -> None:
    assert implausible(NOW + UNKNOWN_AHEAD_MS, latest(None, NOW)) is None
    found = implausible(NOW + YEAR, latest(None, NOW))
    assert found is not None
    assert found.kind == "ahead"
