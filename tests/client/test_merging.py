"""Merging and pacing of replayed feeds, without a broker."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Sequence
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.client.merging import AT_ONCE, TOGETHER, Block, Clock, merged, paced
from tickwire.client.replay import Timer
from tickwire.errors import BadRequest
from tickwire.model.feeds import Gap, Trade

pytestmark = pytest.mark.pure

Item = tuple[int, int]
"""A time, and the item's number."""
Found = tuple[int, int, int]
"""A time, the index of its feed, and the item's number."""
HOLE = Gap(since=None, until=None, reason="a test")
feeds_of_pages = st.lists(st.lists(st.lists(st.integers(0, 50), max_size=6), max_size=5), max_size=5)
"""For each feed its pages, for each page the times of trades."""


def trade(timestamp: int, number: int = 0) -> Trade:
    return Trade(id=str(number), timestamp=timestamp, side="buy", price=1.0, amount=1.0)


async def pages(of: Sequence[Sequence[Item]], taken: list[int] | None = None) -> AsyncGenerator[Block[int]]:
    """The pages of a feed; `taken` counts those that were requested."""
    for page in of:
        if taken is not None:
            taken[0] += 1
        await asyncio.sleep(0)
        yield Block([time for time, _ in page], [number for _, number in page])


def ascending(times: Sequence[Sequence[int]]) -> list[list[Item]]:
    """The items of a feed: numbered, their times never less than those before."""
    highest, number = 0, 0
    found: list[list[Item]] = []
    for page in times:
        found.append([])
        for time in page:
            highest, number = max(highest, time), number + 1
            found[-1].append((highest, number))
    return found


async def all_of(feeds: Sequence[Sequence[Sequence[Item]]]) -> list[Found]:
    """What they are merged into."""
    return [each async for batch in merged([pages(each) for each in feeds]) for each in zip(*batch, strict=True)]


@given(feeds_of_pages)
def test_feeds_are_merged_by_time_then_by_feed_then_in_their_own_order(times: list[list[list[int]]]) -> None:
    feeds = [ascending(each) for each in times]
    expected = sorted(
        ((time, index, number) for index, each in enumerate(feeds) for time, number in chain(*each)),
        key=lambda item: item[:2],
    )
    assert asyncio.run(all_of(feeds)) == expected


@given(feeds_of_pages, st.randoms())
def test_the_order_does_not_depend_on_where_pages_end(times: list[list[list[int]]], chance: random.Random) -> None:
    feeds = [ascending(each) for each in times]
    cut = []
    for each in feeds:
        items = list(chain(*each))
        at = sorted(chance.randint(0, len(items)) for _ in range(3))
        cut.append([items[start:end] for start, end in zip([0, *at], [*at, len(items)], strict=True)])
    assert asyncio.run(all_of(cut)) == asyncio.run(all_of(feeds))


async def test_no_more_than_a_page_of_each_feed_is_taken_ahead() -> None:
    taken = [[0], [0]]
    feeds = [ascending([[1000 * page + each for each in range(10)] for page in range(50)]) for _ in taken]
    seen = 0
    async for batch in merged([pages(each, count) for each, count in zip(feeds, taken, strict=True)]):
        seen += len(batch.items)
        assert len(batch.items) <= TOGETHER
        assert sum(count[0] for count in taken) * 10 <= seen + 2 * 10
    assert seen == 1000


async def test_leaving_a_merge_closes_its_feeds() -> None:
    closed: list[str] = []

    async def feed(name: str) -> AsyncGenerator[Block[int]]:
        try:
            while True:
                yield Block([1], [1])
        finally:
            closed.append(name)

    batches = paced(merged([feed("a"), feed("b")]), math.inf)
    await anext(batches)
    await batches.aclose()
    assert sorted(closed) == ["a", "b"]


@given(st.lists(st.integers(0, 10_000), min_size=1), st.floats(0.1, 100))
def test_a_replay_never_goes_back_and_its_length_is_that_of_the_trades_by_the_speed(
    moments: list[int], speed: float
) -> None:
    clock = Clock(speed)
    due = [clock.due(time) for time in Timer().timed([trade(moment) for moment in moments]).times]
    assert due == sorted(due)
    assert due[-1] == pytest.approx(max(0, max(moments) - moments[0]) / 1000 / speed)


def test_a_replay_as_fast_as_possible_is_always_due() -> None:
    clock = Clock(math.inf)
    assert [clock.due(number * 1_000_000) for number in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("speed", [0, -1, math.nan])
def test_a_speed_that_is_not_above_0_is_refused(speed: float) -> None:
    with pytest.raises(BadRequest, match="is not above 0"):
        Clock(speed)


@given(st.lists(st.integers(-1, 3_000)).map(sorted), st.floats(0.1, 100), st.floats(0, 5))
def test_what_is_due_is_what_each_item_says(times: list[int], speed: float, seconds: float) -> None:
    """Also with items before the first that has a time, which wait for nothing."""
    clock, alone = Clock(speed), Clock(speed)
    over = clock.due_until(times, 0, seconds)
    due = [alone.due(time) <= seconds for time in times]
    assert due == [True] * over + [False] * (len(times) - over)
    # The clock goes on from the first item that it was asked for.
    later = times[over:]
    assert clock.due_until(later, 0, seconds) == 0 if over else True
    assert clock.due_until(later, 0, 1e9) == len(later)


def test_a_gap_has_the_time_of_the_trade_before_it_or_of_the_first_one() -> None:
    """A replay that begins before the tape does not wait for the years in between."""
    timer, nothing = Timer(), Block[Trade | Gap]([], [])
    assert timer.timed([HOLE]) == nothing
    first, second = trade(70), trade(60)
    assert timer.timed([HOLE, first, second]) == ([70, 70, 70, 70], [HOLE, HOLE, first, second])
    assert timer.timed([HOLE]) == ([70], [HOLE])
    assert timer.rest() == nothing


def test_gaps_of_a_feed_without_trades_are_due_at_once() -> None:
    timer = Timer()
    assert timer.timed([HOLE]).items == []
    assert timer.rest() == ([AT_ONCE], [HOLE])
    assert Clock(1).due(AT_ONCE) == 0
