"""Ids that jump ahead, repeat and go back, in whatever batches: the exchange's trades go on, each once, in order."""

from __future__ import annotations

import random

import pytest

from support.trading import trade
from tickwire.model.feeds import Trade
from tickwire.streamer.trades.by_id import OrderingById
from tickwire.streamer.trades.ordering import TradeRun
from tickwire.streamer.trades.renumbering import FAR

pytestmark = pytest.mark.pure

MINUTE = 60_000


def at(number: int, timestamp: int) -> Trade:
    """A trade of an id at a time (ms)."""
    return Trade(id=str(number), timestamp=timestamp, side="buy", price=1.0, amount=1.0)


def ids(runs: list[TradeRun]) -> list[int]:
    return [int(each.id or -1) for run in runs for each in run.trades]


def test_a_lower_id_much_later_than_the_last_trade_is_followed_after_a_gap() -> None:
    """Comparing it with the last trade before the batch ended the feed in an IndexError."""
    order = OrderingById([trade(100)])
    now = trade(100).timestamp
    runs = order.offer([at(101, now + 1), at(7, now + 2 * MINUTE)], 1)
    assert ids(runs) == [101, 7]
    assert [run.gap and (run.gap.after_id, run.gap.before_id) for run in runs] == [None, ("101", "7")]


def test_a_lower_id_is_compared_with_the_trades_before_it_in_the_same_batch() -> None:
    order = OrderingById([trade(100)])
    now = trade(100).timestamp
    assert ids(order.offer([at(101, now + 2 * MINUTE), at(7, now + 2 * MINUTE), at(102, now + 2 * MINUTE)], 1)) == [
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
    assert ids(runs) == [101]
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
    went = [each for each in ids(found) if each in set(real)]
    assert went == sorted(set(went))
    gaps = [(int(gap.after_id or 0), int(gap.before_id or 0)) for run in found if (gap := run.gap) is not None]
    assert all(any(after < each < before for after, before in gaps) for each in real if each not in went)
