"""Pages that are requested side by side: whatever order they arrive in, the result is that of one after another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch import model_market as markets
from fetch.model_market import MINUTE, Exchange
from fetch.paged import ALL, HONEST, START, WAYS, every_minute, market
from tickwire.errors import ExchangeFailed
from tickwire.fetcher.calls import OnRetry, ignore_retry
from tickwire.fetcher.page_rows import parse
from tickwire.fetcher.pager import Pager
from tickwire.fetcher.paging_types import PageRequest, PagingFacts, ProvenPage, Reply
from tickwire.fetcher.range_pagers import RangePagers
from tickwire.fetcher.requests_ahead import sending_ahead
from tickwire.model import timeframes
from tickwire.model.ranges import Range

pytestmark = pytest.mark.pure

GRID = timeframes.grid("1m")
NOW = START + 401 * MINUTE


@dataclass
class Venue:
    """Answers each request when `choose` picks it, by a rule that knows nothing of earlier requests."""

    answers: Callable[[PageRequest], Reply]
    order: Iterator[int]
    """Which of the waiting requests is answered next; modulo their number."""
    waiting: list[tuple[PageRequest, asyncio.Future[Reply]]] = field(default_factory=list)
    asked: list[PageRequest] = field(default_factory=list)
    most_at_once: int = 0

    async def fetch(self, request: PageRequest, _: OnRetry) -> Reply:
        self.asked.append(request)
        each: tuple[PageRequest, asyncio.Future[Reply]] = (request, asyncio.get_running_loop().create_future())
        self.waiting.append(each)
        self.most_at_once = max(self.most_at_once, len(self.waiting))
        try:
            return await each[1]
        finally:
            if each in self.waiting:
                self.waiting.remove(each)

    async def answer(self) -> None:
        while True:
            # All that is sent in this turn waits before one is chosen.
            for _ in range(3):
                await asyncio.sleep(0)
            if self.waiting:
                request, future = self.waiting.pop(next(self.order) % len(self.waiting))
                if future.done():
                    # It was dropped in this turn.
                    continue
                try:
                    future.set_result(self.answers(request))
                except ExchangeFailed as error:
                    future.set_exception(error)


@dataclass
class Result:
    """What a job publishes and knows at its end."""

    pages: list[ProvenPage] = field(default_factory=list)
    missing: list[list[Range]] = field(default_factory=list)
    refused: list[object] = field(default_factory=list)
    used: list[PageRequest] = field(default_factory=list)


def paging(wanted: list[Range], facts: PagingFacts) -> RangePagers:
    return RangePagers(wanted, lambda part: Pager(GRID, part, GRID.open_of(NOW), facts))


def one_after_another(venue: Venue, wanted: list[Range], facts: PagingFacts) -> Result:
    """The job with one request at a time."""
    found = Result()
    for pager in paging(wanted, facts):
        while pager.ask is not None:
            found.used.append(pager.ask)
            try:
                found.pages += pager.take(venue.answers(pager.ask))
            except ExchangeFailed:
                break
        found.missing.append(pager.missing)
        found.refused.append(pager.refused)
    return found


async def side_by_side(venue: Venue, wanted: list[Range], facts: PagingFacts, most: int) -> Result:
    """The job as the fetcher does it."""
    found = Result()
    answering = asyncio.ensure_future(venue.answer())
    async with asyncio.timeout(100), sending_ahead(venue.fetch, ignore_retry, lambda: most) as ahead:
        pagers = paging(wanted, facts)
        for pager in pagers:
            while pager.ask is not None:
                found.used.append(pager.ask)
                try:
                    found.pages += pager.take(await ahead.reply(pager.ask, pagers.expected()))
                except ExchangeFailed:
                    break
            found.missing.append(pager.missing)
            found.refused.append(pager.refused)
    assert not answering.done()
    answering.cancel()
    assert venue.waiting == [], "a request outlives the job"
    return found


def answering(exchange: Exchange, empty: set[int], failing: set[int]) -> Callable[[PageRequest], Reply]:
    """The exchange's answers; empty, or a failure, for requests from some minutes on."""

    def answer(request: PageRequest) -> Reply:
        minute = -1 if request.since is None else (request.since - START) // MINUTE
        if minute in failing:
            raise ExchangeFailed(f"no answer from minute {minute} on", "")
        rows = [] if minute in empty else exchange.answer(request)
        return parse(rows, request.timeframe, GRID)

    return answer


traded = st.lists(st.tuples(st.integers(0, 380), st.integers(1, 200)), max_size=5).map(
    lambda runs: [minute for first, count in runs for minute in range(first, min(400, first + count))]
)
some_ranges = st.lists(st.integers(-50, 400), min_size=2, max_size=8, unique=True).map(
    lambda bounds: [
        Range(START + since * MINUTE, START + until * MINUTE)
        for since, until in zip(sorted(bounds)[::2], sorted(bounds)[1::2], strict=False)
    ]
)
minutes = st.sets(st.integers(-50, 400), max_size=3)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@given(
    trades=traded,
    wanted=some_ranges,
    page=st.integers(2, 60),
    honoured=st.booleans(),
    quiet=st.booleans(),
    empty=minutes,
    failing=minutes,
    most=st.integers(1, 7),
    order=st.lists(st.integers(0, 6), min_size=1, max_size=20),
)
def test_in_whatever_order_answers_arrive_the_same_is_published_and_proven(
    way: markets.Answers,
    trades: list[int],
    wanted: list[Range],
    page: int,
    honoured: bool,
    quiet: bool,
    empty: set[int],
    failing: set[int],
    most: int,
    order: list[int],
) -> None:
    model = market([START + minute * MINUTE for minute in trades], now=NOW)
    facts = PagingFacts(page, ALL, honours_since=honoured, quiet_rows=quiet)
    venue = Venue(answering(Exchange(model, way, page), empty, failing), cycle(order))
    expected = one_after_another(venue, wanted, facts)
    found = asyncio.run(side_by_side(venue, wanted, facts, most))
    assert found == expected
    assert venue.most_at_once <= most
    # None is left out, and at most as many are made in vain as were of use.
    assert Counter(expected.used) <= Counter(venue.asked)
    assert len(venue.asked) <= 2 * len(expected.used)


@pytest.mark.parametrize("honoured", [False, True])
@pytest.mark.parametrize("way", HONEST, ids=lambda way: way.__name__)
def test_full_pages_travel_side_by_side_and_none_in_vain(way: markets.Answers, honoured: bool) -> None:
    model = market(every_minute(START - MINUTE, NOW + MINUTE), now=NOW)
    facts = PagingFacts(20, ALL, honours_since=honoured)
    venue = Venue(answering(Exchange(model, way, 20), set(), set()), repeat(-1))
    wanted = [Range(START, START + 390 * MINUTE)]
    expected = one_after_another(venue, wanted, facts)
    found = asyncio.run(side_by_side(venue, wanted, facts, 5))
    assert found == expected
    assert found.missing == [[]]
    assert sorted(map(str, venue.asked)) == sorted(map(str, expected.used))
    assert venue.most_at_once == 5


def test_the_first_pages_of_several_ranges_travel_side_by_side() -> None:
    model = market(every_minute(START, NOW + MINUTE), now=NOW)
    wanted = [Range(START + minute * MINUTE, START + (minute + 2) * MINUTE) for minute in range(0, 200, 10)]
    venue = Venue(answering(Exchange(model, markets.honoured, 50), set(), set()), repeat(-1))
    facts = PagingFacts(50, ALL, honours_since=True)
    found = asyncio.run(side_by_side(venue, wanted, facts, 4))
    assert found == one_after_another(venue, wanted, facts)
    assert (len(found.pages), len(venue.asked), venue.most_at_once) == (20, 20, 4)


def test_an_exchange_that_answers_unexpectedly_gets_one_request_at_a_time() -> None:
    model = market(every_minute(START, NOW + MINUTE)[::7], now=NOW)
    venue = Venue(answering(Exchange(model, markets.honoured, 20), set(), set()), repeat(-1))
    facts = PagingFacts(20, ALL, honours_since=True)
    wanted = [Range(START, START + 390 * MINUTE)]
    found = asyncio.run(side_by_side(venue, wanted, facts, 5))
    assert venue.asked == found.used
    assert venue.most_at_once == 1


def test_where_the_clock_is_unknown_each_page_waits_for_the_one_before() -> None:
    """A candle that was read too early is not final, whatever an earlier page shows that arrives later."""
    pager = Pager(GRID, Range(START, NOW), None, PagingFacts(20, ALL, honours_since=True), START + 100 * MINUTE)
    assert pager.ask is not None
    assert list(pager.expected()) == []
