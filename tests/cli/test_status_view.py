"""What `tickwire status` makes of what it found: paces, and what fits on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.feed_messages import NOON
from tickwire.cli.feeds.rates import RateMeter
from tickwire.cli.status.view import shares
from tickwire.model.feeds import Feed, FeedReport

pytestmark = pytest.mark.pure

BTC = Feed("trade", "binance", "BTC/USDT")


def counted(messages: int) -> list[FeedReport]:
    return [FeedReport(kind="trade", exchange="binance", symbol="BTC/USDT", messages=messages)]


def test_a_pace_is_messages_over_the_time_between_two_looks() -> None:
    meter = RateMeter()
    assert meter.update(counted(100), NOON) == {}
    assert meter.update(counted(130), NOON + 1_500) == {BTC: 20}
    assert meter.update(counted(130), NOON + 2_500) == {BTC: 0}


def test_a_feed_that_counts_anew_has_no_pace_until_the_next_look() -> None:
    meter = RateMeter()
    meter.update(counted(100), NOON)
    assert meter.update(counted(5), NOON + 1_000) == {}
    assert meter.update(counted(15), NOON + 2_000) == {BTC: 10}


def test_a_clock_that_was_set_back_gives_no_pace() -> None:
    meter = RateMeter()
    meter.update(counted(100), NOON)
    assert meter.update(counted(110), NOON - 1) == {}
    assert meter.update(counted(120), NOON + 999) == {BTC: 10}


def test_small_tables_are_shown_whole_and_large_ones_share_the_rest() -> None:
    assert shares([4, 3, 80], 20) == [4, 3, 13]
    assert shares([4, 20, 80], 20) == [4, 8, 8]
    assert shares([4, 3, 5], 20) == [4, 3, 5]
    assert shares([], 20) == []


@given(st.lists(st.integers(1, 100), max_size=6), st.integers(-5, 100))
def test_no_table_gets_more_than_it_has_and_none_is_left_out(rows: list[int], lines: int) -> None:
    given_ = shares(rows, lines)
    assert all(1 <= got <= wanted for got, wanted in zip(given_, rows, strict=True))
    assert sum(given_) <= max(lines, len(rows))
    if sum(rows) <= lines:
        assert given_ == rows
