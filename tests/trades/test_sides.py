"""Sides of past trades, where the venue may give the maker's by REST: those that came live, too, show it."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.feeds import Trade
from tickwire.streamer.trades.by_content import OrderingByContent
from tickwire.streamer.trades.sides import as_known

pytestmark = pytest.mark.pure

Side = Literal["buy", "sell"]
OTHER: dict[Side | None, Side | None] = {"buy": "sell", "sell": "buy", None: None}


def trade(number: int, side: Side | None) -> Trade:
    return Trade(id=str(number), timestamp=1_700_000_000_000 + number, side=side, price=1.0, amount=1.0)


def turned(trades: list[Trade]) -> list[Trade]:
    return [trade(int(each.id or 0), OTHER[each.side]) for each in trades]


BOTH: list[Side] = ["buy", "sell"]
TRUE = st.lists(st.sampled_from(BOTH), min_size=1, max_size=30).map(
    lambda sides: [trade(number, side) for number, side in enumerate(sides)]
)


@given(TRUE, st.integers(1, 30), st.booleans())
def test_trades_that_came_live_too_show_whose_side_a_page_gives(true: list[Trade], live: int, is_maker: bool) -> None:
    assert as_known(turned(true) if is_maker else true, true[:live]) == true


@given(TRUE)
def test_without_a_trade_that_came_live_sides_are_unknown(true: list[Trade]) -> None:
    unknown = [trade(number, None) for number in range(len(true))]
    assert as_known(true, []) == unknown
    assert as_known(true, [trade(100, "buy"), trade(0, None)]) == unknown


def test_trades_that_contradict_each_other_show_nothing() -> None:
    live = [trade(0, "buy"), trade(1, "buy")]
    assert [each.side for each in as_known([trade(0, "buy"), trade(1, "sell"), trade(2, "buy")], live)] == [None] * 3


def test_a_repair_appends_the_sides_that_the_overlap_shows() -> None:
    live = [trade(number, "buy" if number % 3 else "sell") for number in range(40)]
    ordering = OrderingByContent(live[:10], None, sides_known=False)
    ordering.offer(live[30:], 0)
    runs, _ = ordering.take_page(turned(live[5:35]), 0, "")
    runs += ordering.resume()
    appended = [each for run in runs for each in run.trades]
    assert [(each.id, each.side) for each in appended] == [(each.id, each.side) for each in live[10:]]
