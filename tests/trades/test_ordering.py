"""Trades in order, each once: by ids that count, and by what tells trades apart where they do not."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.trading import START, by_id, trade, trades
from tickwire.model.feeds import Gap, Trade
from tickwire.streamer.trades import by_content
from tickwire.streamer.trades.by_content import OrderingByContent
from tickwire.streamer.trades.by_id import OrderingById
from tickwire.streamer.trades.memory import REMEMBERED
from tickwire.streamer.trades.ordering import PageResult, TradeRun
from tickwire.venues import okx

pytestmark = pytest.mark.pure


def numbers(runs: Iterable[TradeRun]) -> list[int]:
    """The ids of the trades of some runs."""
    return [int(each.id or -1) for run in runs for each in run.trades]


# ---- ids that count


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


# ---- an id that jumps ahead


JUMP = 10**9


def odd(number: int, after: int, jump: int = JUMP) -> Trade:
    """A trade right after another, whose id is far ahead."""
    return trade(number * jump, timestamp=START + after * 100 + 1)


class Odd:
    """Ids that count, some far ahead, and REST, which knows nothing of those."""

    def __init__(self, first: int) -> None:
        self.order = OrderingById(trades(first, first + 1))
        self.real = trades(first, first + 1)
        self.tape: list[int] = []
        self.gaps: list[Gap] = []

    def live(self, some: list[Trade]) -> None:
        """Trades arrive."""
        self._take(self.order.offer(some, 1))

    def repair(self, *, until_given_up: bool) -> None:
        """REST is asked until it brings nothing, and perhaps given up then."""
        while self.order.missing:
            assert self.order.next_id is not None
            runs, _ = self.order.take_page(by_id(self.real, self.order.next_id, 5), 2, "")
            self._take(runs)
            if not runs:
                if until_given_up and self.order.waiting:
                    self._take(self.order.give_up("in time"))
                return

    def _take(self, runs: list[TradeRun]) -> None:
        self.tape += numbers(runs)
        self.gaps += [run.gap for run in runs if run.gap is not None]


@given(
    st.lists(st.tuples(st.sampled_from(["live", "lost", "odd", "repair", "give up"]), st.integers(1, 12)), max_size=40)
)
def test_ids_far_ahead_that_nothing_confirms_cost_no_real_trade(steps: list[tuple[str, int]]) -> None:
    life = Odd(0)
    last, jumps = 0, 0
    for what, count in steps:
        if what in ("live", "lost"):
            some = trades(last + 1, last + 1 + count)
            life.real += some
            last += count
            if what == "live":
                life.live(some)
        elif what == "odd":
            jumps += 1
            life.live([odd(jumps, last)])
        else:
            life.repair(until_given_up=what == "give up")
    # Life goes on for some seconds.
    some = trades(last + 1, last + 41)
    life.real += some
    life.live(some[:-1])
    life.repair(until_given_up=True)
    life.live(some[-1:])
    assert life.tape == list(range(1, last + 41))
    assert life.gaps == []
    assert len(life.order.refused) == jumps


@given(st.integers(1, 60), st.integers(2, 20), st.booleans(), st.sampled_from([JUMP, -50]))
def test_an_exchange_that_numbers_its_trades_anew_is_followed_after_one_gap(
    before: int, frame: int, by_rest: bool, jump: int
) -> None:
    order = OrderingById(trades(100, 101))
    old = trades(101, 101 + before)
    new = [trade(number + jump, timestamp=START + number * 100) for number in range(121 + before, 181 + before)]
    tape: list[Trade] = []
    gaps: list[Gap] = []

    def take(runs: list[TradeRun]) -> None:
        tape.extend(each for run in runs for each in run.trades)
        gaps.extend(run.gap for run in runs if run.gap is not None)

    take(order.offer(old, 1))
    for start in range(0, len(new), frame):
        take(order.offer(new[start : start + frame], 1))
        if order.missing:
            assert order.next_id is not None
            take(order.take_page(by_id(new[:start] if by_rest else [], order.next_id, 1000), 1, "")[0])
        if order.waiting:
            take(order.give_up("in time"))
    assert tape == [*old, *new]
    assert len(gaps) == 1
    assert (gaps[0].after_id, gaps[0].before_id) == (old[-1].id, new[0].id)
    assert order.refused == []


def test_a_trade_far_ahead_that_is_alone_waits_for_one_that_follows_it() -> None:
    order = OrderingById(trades(0, 1))
    assert order.offer([trade(JUMP, timestamp=START + 101)], 1) == []
    assert order.give_up("in time") == []
    assert (order.missing, order.waiting, order.next_id) == (False, 0, 1)
    runs = order.offer([trade(JUMP + 1, timestamp=START + 202)], 2)
    assert numbers(runs) == [JUMP, JUMP + 1]
    assert runs[0].gap is not None
    assert (runs[0].gap.after_id, runs[0].gap.before_id) == ("0", str(JUMP))


def test_a_hole_that_is_not_far_is_given_up_at_once() -> None:
    order = OrderingById(trades(0, 1))
    order.offer([trade(5_000)], 1)
    assert numbers(order.give_up("in time")) == [5_000]


def test_a_tape_that_begins_with_an_odd_id_goes_on_within_seconds() -> None:
    order = OrderingById()
    assert numbers(order.offer([trade(JUMP, timestamp=START)], 1)) == [JUMP]
    runs = [run for number in range(1, 40) for run in order.offer([trade(number)], 1)]
    assert numbers(runs) == list(range(11, 40))
    (gap,) = [run.gap for run in runs if run.gap is not None]
    assert (gap.since, gap.until, gap.before_id) == (START, START + 1_100, "11")


# ---- ids that only tell apart


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


# ---- a feed that tells as one what REST tells one by one


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
