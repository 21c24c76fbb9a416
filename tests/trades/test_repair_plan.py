"""Which pages are asked for, how long, and that they bring the tape back to what the exchange traded."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.trading import START, by_id, by_time, trade, trades
from tickwire.exchange.past_trades import PageRequest
from tickwire.model.feeds import Gap, Trade
from tickwire.streamer.trades import by_content
from tickwire.streamer.trades.by_content import OrderingByContent
from tickwire.streamer.trades.by_id import OrderingById
from tickwire.streamer.trades.content_identity import Identity
from tickwire.streamer.trades.ordering import Ordering, PageResult, TradeRun
from tickwire.streamer.trades.repair_plan import RetryPolicy, next_request

pytestmark = pytest.mark.pure


def test_where_ids_count_the_next_id_is_asked_for() -> None:
    assert next_request(OrderingById([trade(41)]), 0) == PageRequest(None, 1000, 42)


def test_elsewhere_a_page_is_asked_that_overlaps_the_last_trade() -> None:
    assert next_request(OrderingByContent([trade(41)]), 0) == PageRequest(START + 4099, None)


@pytest.mark.parametrize("form", [OrderingById, OrderingByContent])
def test_nothing_older_than_the_span_is_asked_for(form: type[OrderingById] | type[OrderingByContent]) -> None:
    ask = next_request(form([trade(41)]), START + 10_000)
    assert (ask.since, ask.first_id, ask.cut) == (START + 10_000, None, True)


@pytest.mark.parametrize("form", [OrderingById, OrderingByContent])
def test_before_any_trade_what_happened_since_the_tape_is_complete_is_asked_for(
    form: type[OrderingById] | type[OrderingByContent],
) -> None:
    assert next_request(form(until=START + 5000), START) == PageRequest(START + 4999, None, floor=START + 5000)


def test_a_last_trade_beyond_the_span_does_not_matter_on_a_tape_complete_within_it() -> None:
    assert next_request(OrderingById([trade(41)], START + 60_000), START + 10_000) == PageRequest(None, 1000, 42)
    ask = next_request(OrderingByContent([trade(41)], START + 60_000), START + 10_000)
    assert ask == PageRequest(START + 59_999, None, floor=START + 60_000)


def test_patience_ends_after_so_long_without_progress_while_trades_wait() -> None:
    patience = RetryPolicy(60.0)
    patience.set_waiting(100.0, 0)
    assert patience.left_s(10_000.0) == math.inf
    patience.set_waiting(200.0, 5)
    patience.set_waiting(230.0, 7)
    assert patience.left_s(230.0) == 30.0
    patience.progressed(250.0)
    assert patience.left_s(260.0) == 50.0


def test_delays_grow_to_a_bound_and_begin_anew_with_progress() -> None:
    patience = RetryPolicy(60.0)
    delays = [patience.delay_s() for _ in range(2000)]
    assert 0.05 <= delays[0] <= 0.1
    assert all(2.5 <= delay <= 5.0 for delay in delays[7:])
    patience.progressed(0.0)
    assert patience.delay_s() <= 0.1


def test_rests_word_that_it_lacks_a_trade_is_taken_within_two_seconds() -> None:
    patience = RetryPolicy(60.0)
    spent = 0.0
    while not patience.confirm_absent():
        spent += patience.delay_s()
    assert 0 < spent < 2


# ---- a feed's life, played


class Life:
    """A feed and its exchange: what arrives live, what is lost, what REST gives back, in pages and late."""

    def __init__(self, form: str, times: list[int], page: int) -> None:
        self.market = [
            trade(number, timestamp=time, named=form != "anonymous", amount=float(number % 3))
            for number, time in enumerate(times)
        ]
        shared = {"foreign": False, "two": None}.get(form)
        self.order: Ordering = OrderingById() if form == "counted" else OrderingByContent(identity=Identity(shared))
        self.tape: list[Trade] = []
        # A page by time must hold more than one millisecond's trades, or nobody could get past it.
        self.page = page if form == "counted" else max(page, 2 + 2 * max(times.count(time) for time in times))
        self.anonymous = form in ("anonymous", "foreign", "two")
        self.renamed = form in ("foreign", "two")
        """Whether REST has other ids than the feed."""
        self.order.declare_complete(times[0])

    def border(self, place: int) -> int:
        """The place itself; without ids the next between two milliseconds, as equal trades cut apart look repeated."""
        place = min(place, len(self.market))
        while self.anonymous and 0 < place < len(self.market) and self._together(place):
            place += 1
        return place

    def _together(self, place: int) -> bool:
        return self.market[place].timestamp == self.market[place - 1].timestamp

    def arrives(self, first: int, end: int, frame: int) -> None:
        """These trades, so many a frame."""
        for start in range(first, end, frame):
            self._append(self.order.offer(self.market[start : min(start + frame, end)], 1))

    def repair(self, until: int, lag: int) -> None:
        """REST has what happened before place `until`, at first without the last few."""
        for _ in range(1000):
            ask = next_request(self.order, 0)
            there = self.market[: max(0, until - lag)]
            if ask.first_id is not None:
                rows = by_id(there, ask.first_id, self.page)
            else:
                rows = by_time(there, ask.since or 0, self.page)
            if self.renamed:
                rows = [msgspec.structs.replace(each, id=f"rest-{each.id}") for each in rows]
            known = self.order.last
            runs, answer = self.order.take_page(rows, 2, "", ask.floor)
            if known is None and len(rows) >= by_content.SHORT and self.page >= by_content.SHORT:
                # So long a page without anything known may begin too late: that is said.
                runs = self._without_doubt(runs)
            self._append(runs)
            if answer is PageResult.COMPLETE and (lag == 0 or not self.order.missing):
                self._append(self.order.resume())
                return
            if answer is not PageResult.MORE:
                lag = 0
        raise AssertionError("the repair does not end")

    def _without_doubt(self, runs: list[TradeRun]) -> list[TradeRun]:
        if isinstance(self.order, OrderingByContent):
            first = runs[0].trades[0]
            assert content(first) == content(self.market[0])
            assert runs[0].gap == Gap(since=first.timestamp - 1, until=first.timestamp, before_id=first.id)
            runs[0] = msgspec.structs.replace(runs[0], gap=None)
        return runs

    def _append(self, runs: list[TradeRun]) -> None:
        for run in runs:
            assert run.gap is None
            self.tape += run.trades


times = st.lists(st.integers(0, 3), min_size=2, max_size=80).map(
    lambda steps: [START + sum(steps[: place + 1]) for place in range(len(steps))]
)
outages = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 10), st.integers(0, 8), st.integers(0, 5)), max_size=6)


def content(trade: Trade) -> Trade:
    """A trade but for its id."""
    return msgspec.structs.replace(trade, id=None)


@given(
    st.sampled_from(["counted", "named", "anonymous", "foreign", "two"]),
    times,
    outages,
    st.integers(5, 30),
    st.integers(0, 3),
)
# What REST brought in one interruption is repeated live, under other ids, after the next.
@example("two", [START] * 2, [(0, 1, 0, 0), (0, 0, 2, 1)], 5, 0)
def test_after_any_outages_each_trade_is_on_the_tape_once_in_order(
    form: str, happened: list[int], interruptions: list[tuple[int, int, int, int]], page: int, lag: int
) -> None:
    """Each outage: trades that arrive before it, that it loses, that are repeated after it, that come before REST."""
    life = Life(form, happened, page)
    at = 0
    for before, lost, repeated, early in interruptions:
        end = life.border(at + before)
        life.arrives(at, end, 3)
        back = life.border(end + lost)
        at = life.border(back + early)
        life.order.interrupted()
        life.arrives(life.border(max(0, back - repeated)) if early else back, at, 4)
        life.repair(at, lag)
    life.arrives(at, len(life.market), 3)
    # What REST did not have in time shows at the next opportunity.
    life.order.interrupted()
    life.repair(len(life.market), 0)
    if life.renamed:
        assert list(map(content, life.tape)) == list(map(content, life.market))
    else:
        assert life.tape == life.market


def test_a_page_by_id_reaches_what_is_held() -> None:
    order = OrderingById([trade(0)])
    order.offer(trades(2500, 2510), 1)
    asked = []
    while order.missing:
        ask = next_request(order, 0)
        asked.append(ask.first_id)
        order.take_page(by_id(trades(0, 2600), ask.first_id or 0, ask.limit or 0), 1, "")
    assert asked == [1, 1001, 2001]
