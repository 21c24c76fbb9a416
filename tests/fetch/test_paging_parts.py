"""The parts of the pager, each by itself: progress, evidence, own pages, larger timeframes, the search of a gap."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch import model_market as markets
from fetch.model_market import MINUTE, Exchange, Market
from tickwire.fetcher.evidence import Evidence
from tickwire.fetcher.gap_search import MAX_FAILURES, GapSearch
from tickwire.fetcher.larger_timeframes import LargerTimeframes
from tickwire.fetcher.own_pages import OwnPages
from tickwire.fetcher.page_rows import PageRows, parse
from tickwire.fetcher.paging_types import (
    PageRequest,
    PagingFacts,
    ProvenPage,
    RefusedRange,
    RefusedRequest,
    Reply,
    Steps,
    merge_refused,
)
from tickwire.fetcher.range_progress import RangeProgress
from tickwire.model import timeframes
from tickwire.model.messages import Row
from tickwire.model.ranges import Range, subtract

pytestmark = pytest.mark.pure

GRID = timeframes.grid("1m")
HOUR = 60 * MINUTE
START = 1_514_800_800_000  # 2018-01-01 10:00 UTC
ALL = frozenset({"1m", "15m", "1h", "1d"})

T = TypeVar("T")


def at(minute: int) -> int:
    return START + minute * MINUTE


def rows(*minutes: int) -> list[Row]:
    return [(at(minute), 1.0, 1.0, 1.0, 1.0, 1.0) for minute in minutes]


def evidence(facts: PagingFacts, minutes: int = 60, closed: int | None = START + 1000 * MINUTE) -> Evidence:
    return Evidence(GRID, Range(START, at(minutes)), closed, facts)


def run(steps: Steps[T], answer: Callable[[PageRequest], Reply]) -> tuple[T, list[PageRequest]]:
    """Run a part to its end; its result, and what it requested."""
    asked: list[PageRequest] = []
    try:
        request = next(steps)
        while True:
            asked.append(request)
            assert len(asked) < 1000, "it loops"
            request = steps.send(answer(request))
    except StopIteration as ended:
        return ended.value, asked


def answering(exchange: Exchange) -> Callable[[PageRequest], Reply]:
    return lambda request: parse(exchange.answer(request), request.timeframe, GRID)


def refusing(request: PageRequest) -> Reply:
    return RefusedRequest("too old")


# -- progress ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 70), st.integers(1, 30)), max_size=12))
def test_progress_ends_when_every_part_is_proven_or_given_up(parts: list[tuple[bool, int, int]]) -> None:
    progress = RangeProgress(Range(START, at(60)))
    proven: list[Range] = []
    given_up: list[Range] = []
    pages: list[ProvenPage] = []
    for is_proof, first, count in parts:
        part = Range(at(first), at(first + count))
        if is_proof:
            progress.prove([part], rows(*range(70)))
            proven.append(part)
        else:
            progress.give_up(*part)
            given_up.append(part)
        pages += progress.take_pages()
    assert progress.missing == subtract(progress.wanted, proven)
    left = subtract(progress.wanted, [*proven, *given_up])
    assert progress.gap == (left[0] if left else None)
    # Each candle once, however often it was proven.
    opens = sorted(row[0] for page in pages for row in page.rows)
    assert opens == [each for each in range(START, at(60), MINUTE) if any(p.since <= each < p.until for p in proven)]


def test_refused_ranges_are_merged_by_reason() -> None:
    refused = [RefusedRange(0, 5, "old"), RefusedRange(5, 9, "old"), RefusedRange(9, 12, "new")]
    assert merge_refused(refused) == [RefusedRange(0, 9, "old"), RefusedRange(9, 12, "new")]


# -- evidence ---------------------------------------------------------------------------------------------------------


def test_a_doubtful_place_is_given_up_and_nothing_beyond_it() -> None:
    found = evidence(PagingFacts(50))
    found.credit(PageRows(rows(0, 1), [Range(at(2), at(4))], ["a row is not a candle"]), START)
    gap = found.progress.gap
    assert gap == Range(at(2), at(60))
    assert [found.is_doubtful(at(minute)) for minute in (1, 2, 3, 4)] == [False, True, True, False]
    assert found.give_up_doubtful(gap)
    moved = found.progress.gap
    assert moved == Range(at(4), at(60))
    assert found.progress.missing == [Range(at(2), at(60))]
    assert not found.give_up_doubtful(moved)


def test_the_newest_candle_is_remembered_and_never_an_older_one() -> None:
    found = evidence(PagingFacts(50))
    assert (found.newest, found.answered) == (None, False)
    found.credit(PageRows(rows(7, 8)), at(7))
    found.credit(PageRows(rows(1, 2)), at(1))
    found.credit(PageRows([]), at(3))
    assert (found.newest, found.answered) == (at(8), True)
    assert found.first_candle_from(at(0)) is None


# -- own pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("honours_since", [False, True])
def test_a_page_begins_with_the_candle_before_a_gap_unless_since_is_honoured(honours_since: bool) -> None:
    found = evidence(PagingFacts(50, honours_since=honours_since))
    own = OwnPages(found)
    refused, asked = run(own.page(Range(START, at(60))), lambda _: PageRows(rows(*range(-1, 49))))
    assert refused is None
    assert asked == [PageRequest("1m", START if honours_since else at(-1), 50)]
    assert found.progress.gap == Range(at(49), at(60))


def test_a_refusal_is_returned_and_proves_nothing() -> None:
    found = evidence(PagingFacts(50))
    refused, _ = run(OwnPages(found).page(Range(START, at(60))), refusing)
    assert refused == RefusedRequest("too old")
    assert (found.answered, found.progress.missing) == (False, [Range(START, at(60))])


@pytest.mark.parametrize("served", [100, 777, 1940])
def test_bisection_finds_from_where_on_an_exchange_serves_candles(served: int) -> None:
    trading = Market(tuple(range(START, at(2100), MINUTE)), at(2100))
    exchange = Exchange(trading, markets.honoured, 100)

    def answer(request: PageRequest) -> Reply:
        assert request.since is not None
        return RefusedRequest("too old") if request.since < at(served) else answering(exchange)(request)

    found = evidence(PagingFacts(100), 2000, at(2100))
    first, asked = run(OwnPages(found).first_served(Range(START, at(2000))), answer)
    assert first == at(served)
    assert len(asked) <= 12
    nowhere, asked = run(OwnPages(found).first_served(Range(START, at(2000))), refusing)
    assert (nowhere, len(asked)) == (None, 1)


@pytest.mark.parametrize(("way", "kept"), [(markets.newest_since, True), (markets.newest, False)])
def test_an_end_is_sent_from_then_on_only_where_it_is_honoured(way: markets.Answers, kept: bool) -> None:
    trading = Market(tuple(range(at(-1), at(500), MINUTE)), at(500))
    own = OwnPages(evidence(PagingFacts(50), 450, at(500)))
    answer, gap = answering(Exchange(trading, way, 50)), Range(START, at(450))
    assert not own.send_until
    run(own.page(gap), answer)
    moved, asked = run(own.again(gap), answer)
    assert [request.until is not None for request in asked] == [False, True]
    assert (moved, own.send_until) == (kept, kept)


# -- larger timeframes ------------------------------------------------------------------------------------------------


def test_larger_candles_narrow_down_where_trading_resumed() -> None:
    resumed = START + 30 * HOUR + 7 * MINUTE
    trading = Market((START - MINUTE, *range(resumed, resumed + 20 * HOUR, MINUTE)), resumed + 20 * HOUR)
    larger = LargerTimeframes(GRID, trading.now, PagingFacts(50, ALL, honours_since=True))
    found, asked = run(larger.find_next(START, send_until=False), answering(Exchange(trading, markets.windowed, 50)))
    assert found is not None
    assert abs(found - resumed) < 15 * MINUTE
    assert {request.timeframe for request in asked} <= {"15m", "1h", "1d"}
    proven = larger.take_proven()
    # Without a candle of the key: up to less than an hour before trading resumed, and never beyond.
    assert resumed - HOUR < max(part.until for part in proven) <= resumed
    assert larger.take_proven() == []


@pytest.mark.parametrize("for_good", [False, True])
def test_refused_larger_timeframes_are_skipped_and_for_good_where_all_are(for_good: bool) -> None:
    larger = LargerTimeframes(GRID, START + 90 * 24 * HOUR, PagingFacts(20, ALL))
    found, asked = run(larger.find_next(START, send_until=False), lambda _: RefusedRequest("no", for_good))
    assert (found, larger.answered) == (None, False)
    assert len(asked) == (1 if for_good else 4)
    _, asked = run(larger.find_next(START, send_until=False), lambda _: RefusedRequest("no", for_good))
    assert asked == []
    assert larger.interval_around(START) is None


# -- the search of a gap ----------------------------------------------------------------------------------------------


def test_a_search_gives_up_to_the_next_candle_and_no_further() -> None:
    resumed = at(300)
    trading = Market(tuple(range(resumed, at(400), MINUTE)), at(400))
    found = evidence(PagingFacts(20, frozenset({"1m"})), 390, at(400))
    proven, _ = run(
        GapSearch(found, OwnPages(found)).search(Range(START, at(390))),
        answering(Exchange(trading, markets.windowed, 20)),
    )
    assert not proven
    gap = found.progress.gap
    assert gap is not None
    assert gap.since > resumed
    assert found.progress.missing[0] == Range(START, resumed)


def test_after_many_failures_in_a_row_the_rest_is_given_up_without_a_request() -> None:
    found = evidence(PagingFacts(20, frozenset({"1m"})), 10_000, at(10_000))
    search = GapSearch(found, OwnPages(found))
    for number in range(MAX_FAILURES):
        run(search.search(Range(at(number), at(number + 1))), lambda _: PageRows([]))
    _, asked = run(search.search(Range(at(MAX_FAILURES), at(10_000))), lambda _: PageRows([]))
    assert asked == []
    assert found.progress.gap is None
