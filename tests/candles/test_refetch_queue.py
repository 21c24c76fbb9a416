"""Ranges that are to be fetched: they settle, merge, and are taken one at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.ranges import Range, merge
from tickwire.streamer.candles.refetch_queue import BACKOFF_S, MAX_BACKOFF_S, RANGES, RefetchQueue

pytestmark = pytest.mark.pure


def test_a_range_is_requested_once_it_has_settled() -> None:
    queue = RefetchQueue()
    queue.add_settling(10.0, Range(0, 5), refresh=False)
    queue.settle(9.9)
    assert not queue
    assert queue.next_due == 10.0
    queue.settle(10.0)
    assert queue.take() == (Range(0, 5), False)


def test_the_oldest_pending_range_counts_from_missing_to_acceptance() -> None:
    queue = RefetchQueue()
    queue.add_settling(10.0, Range(3, 5), refresh=False)
    queue.add_settling(10.0, Range(1, 2), refresh=True)
    assert (queue.oldest(refresh=False), queue.oldest(refresh=True)) == (3, 1)
    queue.settle(10.0)
    assert (queue.oldest(refresh=False), queue.oldest(refresh=True)) == (3, 1)
    queue.take()
    assert queue.oldest(refresh=False) == 3
    queue.requested = None
    assert (queue.oldest(refresh=False), queue.oldest(refresh=True)) == (None, 1)


def test_what_is_missing_is_requested_before_what_is_refreshed() -> None:
    queue = RefetchQueue()
    queue.add([Range(0, 1)], refresh=True)
    queue.add([Range(5, 6)], refresh=False)
    assert [queue.take(), queue.take()] == [(Range(5, 6), False), (Range(0, 1), True)]


def test_failures_back_off_to_a_bound_and_a_success_resets_them() -> None:
    queue = RefetchQueue()
    delays = []
    for _ in range(20):
        queue.retry([Range(0, 1)], 100.0, refresh=False)
        delays.append(queue.due - 100.0)
    assert BACKOFF_S / 2 <= delays[0] <= BACKOFF_S
    assert all(MAX_BACKOFF_S / 2 <= delay <= MAX_BACKOFF_S for delay in delays[10:])
    queue.succeeded(200.0)
    queue.retry([Range(0, 1)], 200.0, refresh=False)
    assert queue.due - 200.0 <= BACKOFF_S


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 9)), max_size=80), st.booleans())
def test_whatever_was_missed_is_requested(spans: list[tuple[int, int]], refresh: bool) -> None:
    """Nothing is forgotten; ranges that touch are requested as one."""
    queue = RefetchQueue()
    missed = [Range(since, since + length) for since, length in spans]
    for number, each in enumerate(missed):
        queue.add_settling(float(number), each, refresh=refresh)
    queue.settle(float("inf"))
    taken = []
    while queue:
        taken.append(queue.take()[0])
    assert taken == merge(missed)


def test_very_many_ranges_become_one_that_spans_them() -> None:
    queue = RefetchQueue()
    queue.add([Range(number * 2, number * 2 + 1) for number in range(RANGES + 1)], refresh=False)
    assert queue.take() == (Range(0, RANGES * 2 + 1), False)
    assert not queue
