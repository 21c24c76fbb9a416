"""A book kept from changes against a naive one, and the rules of both of binance's markets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.feeds import Level
from tickwire.streamer.books.deltas import PART, snapshot
from tickwire.streamer.books.orderbook import OrderBook
from tickwire.streamer.books.out_of_step import OutOfStep
from tickwire.streamer.books.sequencing import REPEATS
from tickwire.venues.dialect import Diff
from tickwire.venues.profile import BookFacts

pytestmark = pytest.mark.pure

# Bids below 100, asks above: never crossed.
_amounts = st.sampled_from([0.0, 0.0, 1e-8, 0.5, 1.0, 123456.789])
_bids = st.lists(st.tuples(st.integers(1, 60).map(lambda n: n / 100), _amounts), max_size=12)
_asks = st.lists(st.tuples(st.integers(100, 160).map(lambda n: n / 100), _amounts), max_size=12)
_first_bids = st.dictionaries(st.integers(1, 60).map(lambda n: n / 100), st.just(2.0)).map(lambda d: list(d.items()))
_first_asks = st.dictionaries(st.integers(100, 160).map(lambda n: n / 100), st.just(2.0)).map(lambda d: list(d.items()))
_changes = st.lists(st.tuples(_bids, _asks), max_size=20)


def diff(
    first: int,
    last: int,
    bids: list[Level] | None = None,
    asks: list[Level] | None = None,
    previous: int | None = None,
) -> Diff:
    return Diff(first=first, last=last, timestamp=last, bids=bids or [], asks=asks or [], previous=previous)


def naive(levels: list[Level], changes: list[list[Level]]) -> dict[float, float]:
    """The last amount said of each price, without those that are gone."""
    amounts = dict(levels)
    for change in changes:
        amounts.update(change)
    return {price: amount for price, amount in amounts.items() if amount}


@given(bids=_first_bids, asks=_first_asks, changes=_changes, depth=st.integers(0, 70))
def test_a_book_is_what_the_last_word_on_each_price_says(
    bids: list[Level], asks: list[Level], changes: list[tuple[list[Level], list[Level]]], depth: int
) -> None:
    book = OrderBook(10, bids, asks)
    for number, (bid_change, ask_change) in enumerate(changes, start=11):
        assert book.apply(diff(number, number, bid_change, ask_change))
    kept_bids = sorted(naive(bids, [change[0] for change in changes]).items(), reverse=True)
    kept_asks = sorted(naive(asks, [change[1] for change in changes]).items())
    assert book.top(depth) == (kept_bids[:depth], kept_asks[:depth])
    assert book.whole() == (kept_bids, kept_asks)
    assert book.sequence == 10 + len(changes)


@given(
    bids=st.sets(st.integers(1, 60), min_size=1),
    asks=st.sets(st.integers(100, 160), min_size=1),
    limit=st.integers(1, 20),
    changes=_changes,
    depth=st.integers(1, 70),
)
def test_a_cut_off_snapshot_gives_no_level_that_the_exchange_has_not(
    bids: set[int],
    asks: set[int],
    limit: int,
    changes: list[tuple[list[Level], list[Level]]],
    depth: int,
) -> None:
    """What `top` gives is always a beginning of the true book, and all of it where `covers` says so."""
    all_bids: list[Level] = [(n / 100, 1.0) for n in sorted(bids, reverse=True)]
    all_asks: list[Level] = [(n / 100, 1.0) for n in sorted(asks)]
    book = OrderBook(0, all_bids[:limit], all_asks[:limit], limit=limit)
    for number, (bid_change, ask_change) in enumerate(changes, start=1):
        book.apply(diff(number, number, bid_change, ask_change))
    true_bids = sorted(naive(all_bids, [change[0] for change in changes]).items(), reverse=True)[:depth]
    true_asks = sorted(naive(all_asks, [change[1] for change in changes]).items())[:depth]
    top_bids, top_asks = book.top(depth)
    assert top_bids == true_bids[: len(top_bids)]
    assert top_asks == true_asks[: len(top_asks)]
    if book.covers(depth):
        assert (top_bids, top_asks) == (true_bids, true_asks)


@given(levels=st.integers(0, 3 * PART), others=st.integers(0, 3 * PART))
def test_a_snapshot_in_parts_continues_without_a_hole_and_has_every_level(levels: int, others: int) -> None:
    bids = [(float(n), 1.0) for n in range(1, levels + 1)]
    asks = [(float(n), 1.0) for n in range(100_000, 100_000 + others)]
    parts = snapshot(OrderBook(7, bids, asks))
    assert [part.snapshot for part in parts] == [True] + [False] * (len(parts) - 1)
    assert all(before.last + 1 == after.first for before, after in pairwise(parts))
    assert {part.last for part in parts} == {7}
    assert sorted(level for part in parts for level in part.bids) == bids
    assert [level for part in parts for level in part.asks] == asks
    assert all(len(part.bids) + len(part.asks) <= PART for part in parts)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 12), st.integers(0, 3)), max_size=60),
    st.integers(1, 4),
)
def test_deltas_remove_the_levels_that_a_venue_of_limited_depth_forgets(
    changes: list[tuple[bool, int, int]], depth: int
) -> None:
    """Whoever applies them alone has the book, also where such a level would come back as one of the best."""
    facts = BookFacts(deltas=True, sequence=None, depth=depth)
    book = OrderBook(0, [(99.0, 1.0)], [(101.0, 1.0)], facts=facts)
    follower: tuple[dict[float, float], dict[float, float]] = ({99.0: 1.0}, {101.0: 1.0})
    for is_bid, away, amount in changes:
        level = [(99.0 - away if is_bid else 101.0 + away, float(amount))]
        change = Diff(timestamp=None, bids=level if is_bid else [], asks=[] if is_bid else level)
        assert book.apply(change)
        whole = book.with_dropped(change)
        for side, levels in zip(follower, (whole.bids, whole.asks), strict=True):
            side.update(levels)
    bids, asks = ([each for each in side.items() if each[1]] for side in follower)
    assert (sorted(bids, reverse=True), sorted(asks)) == book.whole()


def test_spot_changes_that_the_snapshot_has_are_dropped() -> None:
    book = OrderBook(100, [(1.0, 1.0)], [(2.0, 1.0)])
    assert not book.apply(diff(90, 99, [(1.0, 9.0)]))
    assert not book.apply(diff(95, 100, [(1.0, 9.0)]))
    assert book.top(5) == ([(1.0, 1.0)], [(2.0, 1.0)])
    assert book.sequence == 100


@pytest.mark.parametrize(("first", "last"), [(101, 101), (101, 105), (95, 101), (95, 105)])
def test_the_first_spot_change_spans_the_update_after_the_snapshot(first: int, last: int) -> None:
    book = OrderBook(100, [(1.0, 1.0)], [(2.0, 1.0)])
    assert book.apply(diff(first, last, [(1.0, 3.0)]))
    assert (book.sequence, book.timestamp) == (last, last)
    assert book.top(5) == ([(1.0, 3.0)], [(2.0, 1.0)])


def test_a_spot_change_beyond_the_update_after_the_snapshot_is_out_of_step() -> None:
    with pytest.raises(OutOfStep, match="update 102 follows 101, not 100"):
        OrderBook(100, [], []).apply(diff(102, 103))


@pytest.mark.parametrize("first", [104, 106, 107])
def test_spot_changes_after_the_first_follow_each_other_exactly(first: int) -> None:
    book = OrderBook(100, [], [])
    book.apply(diff(98, 104))
    with pytest.raises(OutOfStep):
        book.apply(diff(first, 110))
    book = OrderBook(100, [], [])
    book.apply(diff(98, 104))
    assert book.apply(diff(105, 110))


def test_usd_m_changes_before_the_snapshot_are_dropped_and_the_first_spans_it() -> None:
    book = OrderBook(100, [(1.0, 1.0)], [(2.0, 1.0)])
    assert not book.apply(diff(80, 90, [(1.0, 9.0)], previous=70))
    assert book.apply(diff(95, 110, [(1.0, 3.0)], previous=90))
    assert book.top(5) == ([(1.0, 3.0)], [(2.0, 1.0)])


def test_usd_m_changes_follow_by_their_previous_number_whatever_their_first() -> None:
    book = OrderBook(100, [(1.0, 1.0)], [(2.0, 1.0)])
    assert book.apply(diff(95, 110, previous=90))
    assert book.apply(diff(120, 130, [(1.0, 3.0)], previous=110))
    with pytest.raises(OutOfStep, match="follows 131, not 130"):
        book.apply(diff(131, 140, previous=131))


def test_a_usd_m_snapshot_that_ends_where_a_change_ends_is_continued_by_the_next() -> None:
    book = OrderBook(100, [(1.0, 1.0)], [(2.0, 1.0)])
    assert not book.apply(diff(95, 100, previous=90))
    assert book.apply(diff(107, 110, [(1.0, 3.0)], previous=100))


def test_a_usd_m_change_upon_a_later_state_than_the_snapshot_is_out_of_step() -> None:
    with pytest.raises(OutOfStep):
        OrderBook(100, [], []).apply(diff(102, 110, previous=101))


def test_a_crossed_book_is_out_of_step() -> None:
    with pytest.raises(OutOfStep, match=r"best bid 2\.0 is not below the best ask 2\.0"):
        OrderBook(1, [(1.0, 1.0)], [(2.0, 1.0)]).apply(diff(2, 2, [(2.0, 1.0)]))
    with pytest.raises(OutOfStep):
        OrderBook(1, [(3.0, 1.0)], [(2.0, 1.0)])


def test_a_level_that_was_never_there_can_go() -> None:
    book = OrderBook(1, [(1.0, 1.0)], [(2.0, 1.0)])
    assert book.apply(diff(2, 2, [(0.5, 0.0)], [(2.0, 0.0), (9.0, 0.0)]))
    assert book.top(5) == ([(1.0, 1.0)], [])


def test_numbers_that_went_back_are_detected_and_not_confused_with_repetitions() -> None:
    book = OrderBook(100, [], [])
    book.apply(diff(101, 101))
    for _ in range(REPEATS):
        assert not book.apply(diff(101, 101))
    assert book.apply(diff(102, 102))
    with pytest.raises(OutOfStep, match="went back from 102"):
        for number in range(1, REPEATS + 2):
            book.apply(diff(number, number))
