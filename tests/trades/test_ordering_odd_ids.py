"""Ids that jump ahead, repeat and go back, in whatever batches: the exchange's trades go on, each once, in order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.trading import START, by_id, trade, trades
from tickwire.model.feeds import Gap, Trade
from tickwire.streamer.trades.by_id import OrderingById
from tickwire.streamer.trades.ordering import TradeRun
from tickwire.streamer.trades.renumbering import FAR
from trades.trade_runs import numbers

pytestmark = pytest.mark.pure

MINUTE = 60_000
JUMP = 10**9


def at(number: int, timestamp: int) -> Trade:
    """A trade of an id at a time (ms)."""
    return Trade(id=str(number), timestamp=timestamp, side="buy", price=1.0, amount=1.0)


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


def test_a_lower_id_much_later_than_the_last_trade_is_followed_after_a_gap() -> None:
    """Comparing it with the last trade before the batch ended the feed in an IndexError."""
    order = OrderingById([trade(100)])
    now = trade(100).timestamp
    runs = order.offer([at(101, now + 1), at(7, now + 2 * MINUTE)], 1)
    assert numbers(runs) == [101, 7]
    assert [run.gap and (run.gap.after_id, run.gap.before_id) for run in runs] == [None, ("101", "7")]


def test_a_lower_id_is_compared_with_the_trades_before_it_in_the_same_batch() -> None:
    order = OrderingById([trade(100)])
    now = trade(100).timestamp
    assert numbers(order.offer([at(101, now + 2 * MINUTE), at(7, now + 2 * MINUTE), at(102, now + 2 * MINUTE)], 1)) == [
        101,
        102,
    ]
    assert (order.missing, order.duplicates) == (False, 1)


def test_one_far_ahead_that_a_batch_contradicts_before_confirming_it_is_refused() -> None:
    """What was refused meanwhile was gone on with: a TypeError ended the feed."""
    order = OrderingById([trade(100)])
    now, far = trade(100).timestamp, 100 + 2 * FAR
    assert order.offer([at(far, now + 1)], 1) == []
    assert order.give_up("nobody has it") == []
    runs = order.offer([at(101, now + 5_000), at(far + 1, now + 5_001)], 1)
    assert numbers(runs) == [101]
    assert [str(far) in reason for reason in order.refused] == [True]


@pytest.mark.parametrize("seed", range(300))
def test_odd_ids_among_the_exchanges_trades_cost_none_of_them(seed: int) -> None:
    draw = random.Random(seed)
    order, clock, number = OrderingById([trade(100)]), trade(100).timestamp, 100
    told: list[tuple[bool, Trade]] = []
    for _ in range(60):
        number += 1
        clock += draw.choice([0, 1, 10, 500, 5_000])
        told.append((True, at(number, clock)))
        match draw.choice(["jump", "back", "again", "first"] + 12 * ["none"]):
            case "jump":
                told.append((False, at(number + draw.randrange(2 * FAR, 10**15), clock)))
            case "back":
                told.append((False, at(draw.randrange(101, number + 1), clock)))
            case "first":
                told.append((False, at(draw.randrange(1, 50), clock + draw.choice([0, 5, 2_000]))))
            case "again":
                told.append((False, told[-1][1]))
    found: list[TradeRun] = []
    place = 0
    while place < len(told):
        size = draw.randrange(1, 6)
        found += order.offer([each for _, each in told[place : place + size]], 1)
        place += size
        if order.missing:
            # REST has the exchange's own trades; what nothing confirms is given up.
            rest = [each for real, each in told[:place] if real and int(each.id or 0) >= (order.next_id or 0)]
            found += order.take_page(rest, 1, "too far back")[0]
            found += order.give_up("not there") if order.waiting else []
    real = [int(each.id or -1) for own, each in told if own]
    went = [each for each in numbers(found) if each in set(real)]
    assert went == sorted(set(went))
    gaps = [(int(gap.after_id or 0), int(gap.before_id or 0)) for run in found if (gap := run.gap) is not None]
    assert all(any(after < each < before for after, before in gaps) for each in real if each not in went)


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
