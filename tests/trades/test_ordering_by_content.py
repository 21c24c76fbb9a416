"""Trades ordered by content, where ids only tell trades apart: pages overlap the tape, or a gap precedes them."""

from __future__ import annotations

import pytest

from support.trading import START, trade
from tickwire.model.feeds import Gap, Trade
from tickwire.streamer.trades import by_content
from tickwire.streamer.trades.by_content import OrderingByContent
from tickwire.streamer.trades.memory import REMEMBERED
from tickwire.streamer.trades.ordering import PageResult
from tickwire.venues import okx

pytestmark = pytest.mark.pure


def named(*ids: str, at: int = 0) -> list[Trade]:
    """Trades a millisecond apart."""
    return [
        Trade(id=each, timestamp=START + at + place, side="buy", price=1.0, amount=1.0)
        for place, each in enumerate(ids)
    ]


def anonymous(*amounts: float, at: int = 0) -> list[Trade]:
    """Trades without ids in one millisecond."""
    return [Trade(id=None, timestamp=START + at, side="buy", price=1.0, amount=amount) for amount in amounts]


def test_repeated_ids_are_dropped_within_a_frame_and_between_frames() -> None:
    order = OrderingByContent()
    assert order.offer(named("a", "b"), 1)[0].trades == named("a", "b")
    (run,) = order.offer([*named("b", at=1), *named("c", "c", "d", at=2)], 1)
    assert [each.id for each in run.trades] == ["c", "d"]
    assert order.duplicates == 2


def test_equal_trades_without_ids_are_each_one_of_their_own() -> None:
    order = OrderingByContent()
    assert len(order.offer(anonymous(1, 2, 1, 1), 1)[0].trades) == 4
    assert len(order.offer(anonymous(1), 1)[0].trades) == 1


def test_a_snapshot_after_a_reconnect_brings_only_what_is_new() -> None:
    order = OrderingByContent()
    order.offer(anonymous(1, 1), 1)
    order.interrupted()
    assert order.offer(anonymous(1, 1, 1), 2) == []
    assert order.waiting == 1
    runs, answer = order.take_page(anonymous(1, 1, 1), 3, "")
    assert answer is PageResult.COMPLETE
    assert [(run.source, len(run.trades)) for run in runs] == [("live", 1)]


def test_ids_that_only_rest_has_are_not_relied_on() -> None:
    order = OrderingByContent()
    order.offer(anonymous(1, 2), 1)
    order.interrupted()
    order.offer(anonymous(4, at=5), 1)
    page = [
        Trade(id=str(place), timestamp=each.timestamp, side="buy", price=1.0, amount=each.amount)
        for place, each in enumerate([*anonymous(1, 2), *anonymous(3, at=2), *anonymous(4, at=5)])
    ]
    runs, answer = order.take_page(page, 1, "")
    assert answer is PageResult.COMPLETE
    assert [each.amount for run in runs for each in run.trades] == [3, 4]


def test_a_page_that_does_not_overlap_the_tape_comes_after_a_gap() -> None:
    order = OrderingByContent(named("a", "b"))
    order.interrupted()
    order.offer(named("g", at=6), 1)
    runs, answer = order.take_page(named("e", "f", "g", at=4), 2, "too old")
    assert answer is PageResult.COMPLETE
    assert [(run.source, [each.id for each in run.trades]) for run in runs] == [("rest", ["e", "f"]), ("live", ["g"])]
    assert runs[0].gap == Gap(since=START + 1, until=START + 4, after_id="b", before_id="e", reason="too old")
    assert runs[1].gap is None


def test_live_trades_wait_until_a_page_reaches_them() -> None:
    order = OrderingByContent(named("a"))
    order.interrupted()
    assert order.offer(named("d", at=3), 1) == []
    runs, answer = order.take_page(named("a", "b"), 1, "")
    assert (answer, [each.id for run in runs for each in run.trades]) == (PageResult.MORE, ["b"])
    assert order.take_page(named("b", at=1), 1, "") == ([], PageResult.LAGS)
    assert order.take_page([*named("b", at=1), *named("x", at=9)], 1, "") == ([], PageResult.ABSENT)
    (run,) = order.give_up("gone")
    assert run.gap == Gap(since=START + 1, until=START + 3, after_id="b", before_id="d", reason="gone")


def test_before_any_trade_a_short_page_since_the_tape_is_complete_is_all_there_was() -> None:
    order = OrderingByContent(until=START)
    assert order.offer(named("d", at=3), 1) == []
    runs, answer = order.take_page(named("old", "a", "b", "c", "d", at=-1), 2, "too late", START)
    assert answer is PageResult.COMPLETE
    assert [(run.source, [each.id for each in run.trades], run.gap) for run in runs] == [
        ("rest", ["a", "b", "c"], None),
        ("live", ["d"], None),
    ]


def test_before_any_trade_a_page_cut_off_follows_a_gap_unless_it_reaches_back() -> None:
    page = named(*[f"n{number}" for number in range(by_content.SHORT)])
    (run,) = OrderingByContent(until=START).take_page(page, 1, "too late", START)[0]
    assert run.gap == Gap(since=START - 1, until=START, after_id=None, before_id="n0", reason="too late")
    (run,) = OrderingByContent(until=START + 1).take_page(page, 1, "too late", START + 1)[0]
    assert (run.gap, run.trades) == (None, page[1:])


def test_what_is_not_asked_for_after_a_trade_is_a_gap_that_begins_with_it() -> None:
    order = OrderingByContent(named("a"))
    (run,) = order.skip_to(START + 900, "too far")
    assert run.gap == Gap(since=START, until=START + 900, after_id="a", before_id=None, reason="too far")
    assert order.skip_to(START + 900, "too far") == []


def test_what_is_remembered_is_bounded() -> None:
    order = OrderingByContent()
    for start in range(0, 20_000, 500):
        order.offer([trade(number) for number in range(start, start + 500)], 1)
    assert len(order.memory.keys) == len(order.memory) == REMEMBERED


def test_what_was_traded_before_the_tape_began_is_not_fetched() -> None:
    order = OrderingByContent()
    order.offer(anonymous(3), 1)
    order.interrupted()
    runs, answer = order.take_page([*anonymous(1, at=-1), *anonymous(2, 3, 4)], 1, "")
    assert (answer, [each.amount for run in runs for each in run.trades]) == (PageResult.MORE, [4])


def test_a_successor_holds_back_what_arrives_before_it_is_connected() -> None:
    order = OrderingByContent(named("a"))
    assert order.offer(named("c", at=2), 1) == []


def alike(number: int, amount: float = 1.0) -> Trade:
    """A trade of one order at one price, in one millisecond."""
    return Trade(id=str(number), timestamp=START + 1_000, side="buy", price=100.0, amount=amount)


def test_parts_of_a_live_trade_are_not_taken_from_rest_beside_it() -> None:
    order = OrderingByContent([trade(1)], drop_aggregated=okx.drop_aggregated)
    order.interrupted()
    # One order met 11, 12 and 13; the one before it was another order of the same kind.
    assert order.offer([alike(13, 3.0), trade(14)], 0) == []
    page = [trade(1), alike(10), alike(11), alike(12), alike(13), trade(14)]
    runs, answer = order.take_page(page, 0, "gap")
    assert [(run.source, run.trades) for run in runs] == [
        ("rest", [alike(10)]),
        ("live", [alike(13, 3.0), trade(14)]),
    ]
    assert [run.gap for run in runs] == [None, None]
    assert answer is PageResult.COMPLETE


def test_parts_of_a_trade_on_the_tape_are_not_taken_from_rest() -> None:
    order = OrderingByContent([trade(1), alike(13, 2.5)], drop_aggregated=okx.drop_aggregated)
    order.interrupted()
    page = [trade(1), alike(11, 0.5), alike(12), alike(13), trade(14), trade(15)]
    runs, answer = order.take_page(page, 0, "gap")
    assert [(run.source, run.trades) for run in runs] == [("rest", [trade(14), trade(15)])]
    assert answer is PageResult.MORE


def test_equal_trades_of_a_millisecond_are_all_taken_from_rest_where_ids_differ() -> None:
    order = OrderingByContent([trade(1)], drop_aggregated=okx.drop_aggregated)
    order.interrupted()
    order.offer([alike(13), trade(14)], 0)
    runs, _ = order.take_page([trade(1), alike(11), alike(12), alike(13), trade(14)], 0, "gap")
    assert [each.id for run in runs for each in run.trades] == ["11", "12", "13", "14"]
