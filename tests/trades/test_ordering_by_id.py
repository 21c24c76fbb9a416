"""Trades ordered by sequential ids: each once, in order; after a hole they wait for a page or a gap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.trading import START, trade, trades
from tickwire.model.feeds import Gap, Trade
from tickwire.streamer.trades.by_content import OrderingByContent
from tickwire.streamer.trades.by_id import OrderingById
from tickwire.streamer.trades.ordering import PageResult, TradeRun
from trades.trade_runs import numbers

pytestmark = pytest.mark.pure


def test_the_first_trade_of_a_new_tape_is_where_it_begins() -> None:
    order = OrderingById()
    assert numbers(order.offer(trades(7, 10), 1)) == [7, 8, 9]
    assert not order.missing


def test_trades_that_were_there_are_counted_and_dropped() -> None:
    order = OrderingById(trades(1, 6))
    assert numbers(order.offer([*trades(3, 8), trade(7)], 1)) == [6, 7]
    assert order.duplicates == 4


def test_trades_after_a_hole_wait_for_it_to_be_filled() -> None:
    order = OrderingById(trades(1, 3))
    assert order.offer(trades(5, 7), 10) == []
    assert (order.missing, order.waiting, order.next_id) == (True, 2, 3)
    runs, answer = order.take_page(trades(3, 6), 20, "")
    assert [(run.source, run.received) for run in runs] == [("rest", 20), ("live", 10)]
    assert numbers(runs) == [3, 4, 5, 6]
    assert answer is PageResult.COMPLETE


def test_a_batch_with_the_right_ends_and_a_wrong_middle_is_no_batch_in_order() -> None:
    order = OrderingById(trades(1, 3))
    assert numbers(order.offer([trade(3), trade(4), trade(4), trade(6)], 1)) == [3, 4]
    assert order.missing


def test_a_gap_is_named_by_its_neighbours() -> None:
    order = OrderingById([trade(5)])
    order.offer([trade(9)], 1)
    (run,) = order.give_up("gone")
    assert run.gap == Gap(since=START + 500, until=START + 900, after_id="5", before_id="9", reason="gone")
    assert numbers([run]) == [9]


def test_an_id_that_is_no_number_is_rejected_and_the_rest_goes_on() -> None:
    order = OrderingById(trades(1, 3))
    odd = Trade(id="abc", timestamp=START, side=None, price=1.0, amount=1.0)
    assert numbers(order.offer([trade(3), odd, Trade(id=None, timestamp=0, side=None, price=1.0, amount=1.0)], 1)) == [
        3
    ]
    assert len(order.refused) == 2


def test_an_exchange_that_numbers_anew_is_followed_after_a_gap() -> None:
    order = OrderingById(trades(1000, 1003))
    runs = order.offer([trade(1, timestamp=START + 86_400_000), trade(2, timestamp=START + 86_400_001)], 1)
    assert numbers(runs) == [1, 2]
    assert runs[0].gap is not None
    assert (runs[0].gap.after_id, runs[0].gap.before_id) == ("1002", "1")


def test_a_page_from_another_numbering_is_not_taken() -> None:
    order = OrderingById([trade(10_000)])
    order.offer([trade(10_005)], 1)
    runs, answer = order.take_page([trade(10_001, timestamp=START)], 1, "")
    assert (runs, answer) == ([], PageResult.ABSENT)


def test_a_tape_whose_ids_do_not_count_is_followed_by_a_gap() -> None:
    order = OrderingById([Trade(id="x-1", timestamp=START, side=None, price=1.0, amount=1.0)])
    (run,) = order.offer([trade(5)], 1)
    assert run.gap is not None
    assert (run.gap.after_id, run.gap.before_id) == ("x-1", "5")


def test_pages_say_what_they_prove() -> None:
    order = OrderingById([trade(1)])
    assert order.take_page([], 1, "")[1] is PageResult.COMPLETE
    order.offer([trade(2000)], 1)
    assert order.take_page([], 1, "")[1] is PageResult.LAGS
    assert order.take_page(trades(2, 1002), 1, "")[1] is PageResult.MORE
    assert order.take_page(trades(1500, 1510), 1, "")[1] is PageResult.ABSENT
    assert order.take_page(trades(1002, 2002), 1, "")[1] is PageResult.COMPLETE
    assert order.take_page(trades(2002, 3002), 1, "")[1] is PageResult.MORE, "nothing live yet"


def test_before_any_trade_the_first_after_an_interruption_waits_for_earlier_ones() -> None:
    order = OrderingById()
    order.declare_complete(START)
    order.interrupted()
    assert order.offer([trade(4)], 1) == []
    assert (order.missing, order.waiting, order.next_id) == (True, 1, None)
    runs, answer = order.take_page([trade(-1), *trades(1, 4)], 2, "", START)
    assert [(run.source, numbers([run])) for run in runs] == [("rest", [1, 2, 3]), ("live", [4])]
    assert (answer, order.missing, order.next_id) == (PageResult.COMPLETE, False, 5)


def test_before_any_trade_a_page_that_brings_none_is_believed_only_while_none_waits() -> None:
    order = OrderingById(until=START)
    assert order.take_page([], 1, "", START) == ([], PageResult.COMPLETE)
    assert order.missing
    order.offer([trade(7)], 1)
    assert order.take_page([], 1, "", START) == ([], PageResult.LAGS)
    (run,) = order.give_up("gone")
    assert run.gap == Gap(since=START - 1, until=START + 700, after_id=None, before_id="7", reason="gone")
    assert numbers([run]) == [7]


def test_when_nothing_happened_meanwhile_the_first_trade_is_where_the_tape_begins() -> None:
    order = OrderingById(until=START)
    assert order.resume() == []
    assert not order.missing
    assert numbers(order.offer([trade(7)], 1)) == [7]


@pytest.mark.parametrize("form", [OrderingById, OrderingByContent])
def test_what_is_not_asked_for_before_any_trade_is_a_gap_without_trades(
    form: type[OrderingById] | type[OrderingByContent],
) -> None:
    order = form(until=START)
    assert order.skip_to(START, "too far") == []
    (run,) = order.skip_to(START + 900, "too far")
    assert run.trades == []
    assert run.gap == Gap(since=START - 1, until=START + 900, after_id=None, before_id=None, reason="too far")
    assert order.until == START + 900
    order.offer([trade(20)], 1)
    assert order.skip_to(START + 90_000, "too far")[0].gap == Gap(
        since=START + 899, until=trade(20).timestamp, after_id=None, before_id=None, reason="too far"
    ), "a trade that waits is not given up"


def test_where_ids_count_what_is_not_asked_for_shows_by_the_next_trade() -> None:
    order = OrderingById([trade(1)], START + 100)
    order.interrupted()
    assert order.skip_to(START + 90_000, "too far") == []


slices = st.tuples(st.integers(0, 59), st.integers(1, 20)).map(lambda s: range(s[0], min(60, s[0] + s[1])))
steps = st.lists(
    st.tuples(st.sampled_from(["live", "rest", "shuffled", "give up", "forget"]), slices, st.randoms()), max_size=40
)


@given(st.integers(0, 10), steps)
def test_in_any_order_of_arrival_each_id_is_published_once_in_order_or_in_a_gap(
    first: int, arrivals: list[tuple[str, range, object]]
) -> None:
    order = OrderingById([trade(first)])
    runs: list[TradeRun] = []
    for how, part, random in arrivals:
        some = [trade(number) for number in part]
        if how == "live":
            runs += order.offer(some, 1)
        elif how == "shuffled":
            random.shuffle(some)  # type: ignore[attr-defined]
            runs += order.offer(some, 1)
        elif how == "rest":
            runs += order.take_page(some, 1, "")[0]
        elif how == "forget":
            order.drop_waiting()
        elif order.waiting:
            runs += order.give_up("test")
    runs += order.take_page(trades(0, 60), 1, "")[0]
    accounted: list[int] = []
    for run in runs:
        if run.gap is not None:
            accounted += range(int(run.gap.after_id or 0) + 1, int(run.gap.before_id or 0))
        accounted += numbers([run])
    assert accounted == list(range(first + 1, 60))
    assert order.waiting == 0
