"""The fields of a ticker, as updates change them."""

from __future__ import annotations

from typing import Any

import pytest

from tickwire.streamer.tickers import TickerState

pytestmark = pytest.mark.pure


def test_updates_of_single_fields_are_merged_and_the_newest_time_stays() -> None:
    state = TickerState("BTC/USDT")
    assert state.update({"bid": 10.0, "bid_amount": 0.0, "timestamp": 7, "unknown": 1}) == []
    assert state.update({"ask": 11.0, "bid": None, "timestamp": None}) == []
    assert state.update({"last": 10.5, "timestamp": 5}) == []
    assert state.fields == {"bid": 10.0, "bid_amount": 0.0, "ask": 11.0, "last": 10.5}
    assert state.timestamp == 7


def test_an_impossible_value_makes_its_field_unknown_and_no_other() -> None:
    state = TickerState("BTC/USDT")
    state.update({"bid": 10.0, "ask": 11.0})
    (reason,) = state.update({"bid": "ten", "ask": 12.0})
    assert reason.startswith("bid cannot be read")
    assert state.fields == {"ask": 12.0}


def test_the_price_0_means_that_there_is_none() -> None:
    state = TickerState("BTC/USDT")
    state.update({"bid": 10.0})
    assert state.update({"bid": 0}) == []
    assert state.fields == {}


@pytest.mark.parametrize("item", [None, [], {"timestamp": "soon"}, {"timestamp": float("inf")}])
def test_what_is_no_update_is_refused_and_changes_nothing(item: Any) -> None:
    state = TickerState("BTC/USDT")
    with pytest.raises((TypeError, ValueError, AttributeError, OverflowError)):
        state.update(item)
    assert (state.fields, state.timestamp) == ({}, None)
