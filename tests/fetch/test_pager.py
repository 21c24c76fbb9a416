"""Paging: whatever way an exchange answers in, what is proven is true; what can be had is had; it comes to an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch import model_market as markets
from fetch.model_market import MINUTE, Exchange, Market
from tickwire.fetcher.page_rows import BadRows, parse
from tickwire.fetcher.pager import Pager
from tickwire.fetcher.paging_types import PagingFacts, ProvenPage
from tickwire.model import timeframes
from tickwire.model.messages import Row
from tickwire.model.ranges import Range, covers, merge

pytestmark = pytest.mark.pure

HOUR = 60 * MINUTE
DAY = 24 * HOUR
START = 1_514_764_800_000 + 10 * HOUR  # 2018-01-01 10:00 UTC, a Monday
ALL = frozenset({"1m", "5m", "15m", "1h", "4h", "1d", "1w", "1M"})

HONEST: list[markets.Answers] = [markets.honoured, markets.windowed]
WAYS: list[markets.Answers] = [
    *HONEST,
    markets.newest,
    markets.newest_cut,
    markets.newest_since,
    markets.before_an_end,
    markets.repeats,
    markets.capped,
    markets.capped_by_age,
    markets.empty_before_the_listing,
    markets.adds_the_open_candle,
    markets.exclusive,
    markets.silent,
]


def fetch(
    exchange: Exchange,
    since: int,
    until: int,
    *,
    timeframe: str = "1m",
    offered: frozenset[str] = ALL,
    honoured: bool = False,
    newest: int | None = None,
    clock: bool = True,
) -> tuple[list[ProvenPage], Pager]:
    """Page through a range to its end; it must come to one, and be right."""
    grid = timeframes.grid(timeframe)
    closed = grid.open_of(exchange.market.now) if clock else None
    facts = PagingFacts(exchange.page, offered, honours_since=honoured, newest_rows=newest)
    pager = Pager(grid, Range(since, until), closed, facts)
    pages: list[ProvenPage] = []
    while (ask := pager.ask) is not None:
        assert len(exchange.asked) < 5_000, "it loops"
        pages += pager.take(parse(exchange.answer(ask), ask.timeframe, grid))
    for page in pages:
        truth = [each for each in exchange.market.candles(timeframe) if page.since <= each[0] < page.until]
        assert page.rows == truth, f"[{page.since}, {page.until}) is said to be complete"
    proven = merge(Range(page.since, page.until) for page in pages)
    assert sum(page.until - page.since for page in pages) == sum(each.until - each.since for each in proven), "twice"
    assert merge([*proven, *pager.missing]) == merge([Range(since, until)])
    assert not any(covers(proven, gap) for gap in pager.missing)
    return pages, pager


def rows_of(pages: list[ProvenPage]) -> list[Row]:
    return sorted(each for page in pages for each in page.rows)


def every_minute(since: int, until: int) -> list[int]:
    return list(range(since, until, MINUTE))


def market(*runs: list[int], now: int) -> Market:
    return Market(tuple(sorted({at for run in runs for at in run})), now)


minutes = st.lists(st.integers(0, 400), max_size=120, unique=True).map(
    lambda offsets: tuple(START + offset * MINUTE for offset in sorted(offsets))
)
"""Sparse markets: holes of minutes and hours."""
runs = st.lists(st.tuples(st.integers(0, 380), st.integers(1, 90)), max_size=6).map(
    lambda parts: tuple(
        sorted({START + minute * MINUTE for first, count in parts for minute in range(first, min(400, first + count))})
    )
)
"""Dense ones with holes."""
asked = st.tuples(st.integers(-100, 400), st.integers(1, 500)).map(
    lambda each: (START + each[0] * MINUTE, min(START + (each[0] + each[1]) * MINUTE, START + 401 * MINUTE))
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@given(
    trades=minutes | runs,
    wanted=asked,
    page=st.integers(2, 60),
    offered=st.sampled_from([ALL, frozenset({"1m"})]),
    clock=st.booleans(),
    faults=st.lists(st.sampled_from(["", "", "", "empty", "short"]), max_size=60),
)
def test_whatever_way_an_undeclared_exchange_answers_in_what_is_proven_is_true(
    way: markets.Answers,
    trades: tuple[int, ...],
    wanted: tuple[int, int],
    page: int,
    offered: frozenset[str],
    clock: bool,
    faults: list[str],
) -> None:
    exchange = Exchange(Market(trades, START + 401 * MINUTE), way, page, faults)
    fetch(exchange, *wanted, offered=offered, clock=clock)


@pytest.mark.parametrize("way", [*HONEST, markets.repeats, markets.silent], ids=lambda way: way.__name__)
@given(
    trades=minutes | runs,
    wanted=asked,
    page=st.integers(2, 60),
    faults=st.lists(st.sampled_from(["", "", "", "empty", "short"]), max_size=60),
)
def test_what_an_exchange_that_is_declared_to_honour_since_proves_is_true(
    way: markets.Answers, trades: tuple[int, ...], wanted: tuple[int, int], page: int, faults: list[str]
) -> None:
    exchange = Exchange(Market(trades, START + 401 * MINUTE), way, page, faults)
    fetch(exchange, *wanted, honoured=True)


@given(trades=minutes | runs, page=st.integers(3, 40))
def test_up_to_the_last_trade_an_exchange_that_honours_since_gives_everything(
    trades: tuple[int, ...], page: int
) -> None:
    exchange = Exchange(Market(tuple(sorted({START, *trades})), START + 500 * MINUTE), markets.honoured, page)
    until = START + 401 * MINUTE
    _, pager = fetch(exchange, START, until, honoured=True)
    last = exchange.market.trades[-1] + MINUTE
    assert all(gap.since >= last for gap in pager.missing)


@pytest.mark.parametrize(
    "way",
    [markets.honoured, markets.before_an_end, markets.newest_since, markets.exclusive],
    ids=lambda way: way.__name__,
)
@given(trades=runs, page=st.integers(24, 60))
def test_all_candles_of_an_undeclared_exchange_come_where_answers_show_both_sides(
    way: markets.Answers, trades: tuple[int, ...], page: int
) -> None:
    exchange = Exchange(Market(tuple(sorted({START, *trades})), START + 500 * MINUTE), way, page)
    pages, _ = fetch(exchange, START, START + 401 * MINUTE)
    assert rows_of(pages) == exchange.market.truth(START, START + 401 * MINUTE)


@pytest.mark.parametrize("honoured", [False, True])
@pytest.mark.parametrize("way", HONEST, ids=lambda way: way.__name__)
@given(page=st.integers(6, 40), faults=st.lists(st.sampled_from(["", "", "short"]), max_size=60))
def test_pages_that_stop_short_cost_requests_and_no_candles(
    way: markets.Answers, honoured: bool, page: int, faults: list[str]
) -> None:
    trading = every_minute(START - MINUTE, START + 200 * MINUTE)
    exchange = Exchange(market(trading, now=START + 199 * MINUTE), way, page, faults)
    pages, pager = fetch(exchange, START, START + 199 * MINUTE, honoured=honoured)
    assert pager.missing == []
    assert len(rows_of(pages)) == 199


# -- pages ------------------------------------------------------------------------------------------------------------


def test_full_pages_follow_one_another_without_a_superfluous_request() -> None:
    exchange = Exchange(
        market(every_minute(START, START + 101 * MINUTE), now=START + 100 * MINUTE), markets.honoured, 25
    )
    _, pager = fetch(exchange, START, START + 100 * MINUTE, honoured=True)
    assert pager.missing == []
    assert [ask.since for ask in exchange.asked] == [START + n * 25 * MINUTE for n in range(4)]


def test_an_undeclared_exchange_costs_one_candle_more_a_page() -> None:
    trading = every_minute(START - MINUTE, START + 101 * MINUTE)
    exchange = Exchange(market(trading, now=START + 100 * MINUTE), markets.honoured, 26)
    _, pager = fetch(exchange, START, START + 100 * MINUTE)
    assert pager.missing == []
    assert [ask.since for ask in exchange.asked] == [START + (n * 25 - 1) * MINUTE for n in range(4)]


def test_a_row_beyond_the_end_proves_the_hole_before_it() -> None:
    trading = [*every_minute(START, START + 5 * MINUTE), START + 20 * MINUTE, START + 21 * MINUTE]
    exchange = Exchange(market(trading, now=START + 22 * MINUTE), markets.honoured)
    pages, pager = fetch(exchange, START, START + 10 * MINUTE)
    assert pager.missing == []
    assert [each[0] for each in rows_of(pages)] == every_minute(START, START + 5 * MINUTE)


def test_the_open_candle_is_proof_and_never_data() -> None:
    exchange = Exchange(market([START, START + 9 * MINUTE], now=START + 9 * MINUTE + 30_000), markets.honoured)
    pages, pager = fetch(exchange, START, START + 9 * MINUTE, honoured=True)
    assert pager.missing == []
    assert [each[0] for each in rows_of(pages)] == [START]


def test_the_newest_row_counts_as_open_where_the_exchange_tells_no_time() -> None:
    exchange = Exchange(market(every_minute(START, START + 31 * MINUTE), now=START + 30 * MINUTE), markets.honoured)
    pages, pager = fetch(exchange, START, START + 40 * MINUTE, clock=False, honoured=True)
    assert [each[0] for each in rows_of(pages)] == every_minute(START, START + 30 * MINUTE)
    assert pager.missing == [Range(START + 30 * MINUTE, START + 40 * MINUTE)]
    assert len(exchange.asked) < 10


@given(
    trades=minutes | runs, wanted=asked, page=st.integers(2, 60), honoured=st.booleans(), way=st.sampled_from(HONEST)
)
def test_where_the_time_is_unknown_no_candle_is_closed_that_none_follows(
    trades: tuple[int, ...], wanted: tuple[int, int], page: int, honoured: bool, way: markets.Answers
) -> None:
    exchange = Exchange(Market(trades, START + 401 * MINUTE), way, page)
    pages, _ = fetch(exchange, *wanted, clock=False, honoured=honoured)
    assert all(page.until <= trades[-1] for page in pages)


@given(trades=minutes, page=st.integers(3, 40))
def test_where_the_time_is_unknown_an_honest_exchange_gives_all_but_its_newest(
    trades: tuple[int, ...], page: int
) -> None:
    exchange = Exchange(Market(tuple(sorted({START, *trades})), START + 500 * MINUTE), markets.honoured, page)
    until = START + 600 * MINUTE
    _, pager = fetch(exchange, START, until, clock=False, honoured=True)
    assert pager.missing == [Range(exchange.market.trades[-1], until)]
    assert pager.newest == exchange.market.trades[-1]


@pytest.mark.parametrize("honoured", [False, True])
def test_one_empty_answer_in_the_middle_is_asked_again(honoured: bool) -> None:
    trading = every_minute(START - MINUTE, START + 31 * MINUTE)
    exchange = Exchange(market(trading, now=START + 30 * MINUTE), markets.honoured, 10, ["", "empty"])
    pages, pager = fetch(exchange, START, START + 30 * MINUTE, honoured=honoured)
    assert pager.missing == []
    assert len(rows_of(pages)) == 30


@pytest.mark.parametrize("honoured", [False, True])
def test_an_exchange_that_brings_nothing_new_for_ever_ends_the_range_as_missing(honoured: bool) -> None:
    trading = every_minute(START, START + 31 * MINUTE)
    exchange = Exchange(market(trading, now=START + 30 * MINUTE), markets.honoured, 10, ["", *["empty"] * 1000])
    pages, pager = fetch(exchange, START, START + 30 * MINUTE, honoured=honoured)
    assert len(rows_of(pages)) in (9, 10)
    assert covers(pager.missing, Range(START + 10 * MINUTE, START + 30 * MINUTE))
    assert len(exchange.asked) < 15


@pytest.mark.parametrize("honoured", [False, True])
def test_one_candle_repeated_whatever_is_asked_proves_no_gap_before_it(honoured: bool) -> None:
    exchange = Exchange(market(every_minute(START, START + 31 * MINUTE), now=START + 30 * MINUTE), markets.repeats)
    pages, pager = fetch(exchange, START, START + 30 * MINUTE, honoured=honoured)
    assert rows_of(pages) == []
    assert pager.missing == [Range(START, START + 30 * MINUTE)]
    assert len(exchange.asked) < 15


def test_what_no_later_trade_proves_is_missing() -> None:
    exchange = Exchange(market(every_minute(START, START + 5 * MINUTE), now=START + DAY), markets.honoured)
    _, pager = fetch(exchange, START, START + 20 * MINUTE, honoured=True, offered=frozenset({"1m"}))
    assert pager.missing == [Range(START + 5 * MINUTE, START + 20 * MINUTE)]


@pytest.mark.parametrize("honoured", [False, True])
def test_a_larger_candle_whose_volume_is_accounted_for_proves_the_rest_of_it(honoured: bool) -> None:
    trading = every_minute(START - HOUR, START + 5 * MINUTE)
    exchange = Exchange(market(trading, now=START + DAY), markets.windowed, 30)
    _, pager = fetch(exchange, START, START + 45 * MINUTE, honoured=honoured)
    assert pager.missing == []


def test_months_are_paged_by_the_calendar() -> None:
    first = 1_514_764_800_000  # 2018-01-01
    opens = [timeframes.advance("1M", first, n) for n in range(30)]
    exchange = Exchange(market(opens, now=opens[-1]), markets.honoured, 7)
    pages, pager = fetch(exchange, first, opens[-1], timeframe="1M", honoured=True)
    assert pager.missing == []
    assert [each[0] for each in rows_of(pages)] == opens[:-1]


# -- what an answer does not prove ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [markets.newest, markets.newest_cut, markets.capped], ids=lambda way: way.__name__)
@pytest.mark.parametrize("offered", [ALL, frozenset({"1m"})], ids=["ladder", "no ladder"])
def test_an_exchange_that_has_only_its_newest_candles_is_found_out(
    way: markets.Answers, offered: frozenset[str]
) -> None:
    """Eleven hours nine days ago were once called verified and empty from one answer."""
    now = START + 9 * DAY
    exchange = Exchange(market(every_minute(START, now + MINUTE), now=now), way, 720)
    pages, pager = fetch(exchange, START, START + 11 * HOUR, offered=offered)
    assert rows_of(pages) == []
    assert pager.missing == [Range(START, START + 11 * HOUR)]
    assert len(exchange.asked) < 20
    exchange = Exchange(exchange.market, way, 720)
    pages, pager = fetch(exchange, now - 3 * HOUR, now, offered=offered)
    assert len(rows_of(pages)) == 180
    assert pager.missing == []


def test_no_request_is_made_for_what_is_declared_not_to_be_had() -> None:
    now = START + 30 * HOUR
    exchange = Exchange(market(every_minute(START, now + MINUTE), now=now), markets.newest, 720)
    pages, pager = fetch(exchange, START, now, newest=720)
    assert len(rows_of(pages)) == 719
    assert pager.missing == [Range(START, now - 719 * MINUTE)]
    assert [refused.reason for refused in pager.refused] == ["the exchange has only its newest 720 candles"]


def test_larger_candles_on_both_sides_prove_a_quiet_market_of_a_newest_only_venue() -> None:
    now = START + 9 * DAY
    trading = [*every_minute(START, START + HOUR), *every_minute(START + 12 * HOUR, now + MINUTE)]
    exchange = Exchange(market(trading, now=now), markets.newest_cut, 1000)
    pages, pager = fetch(exchange, START + 2 * HOUR, START + 10 * HOUR)
    assert rows_of(pages) == []
    assert pager.missing == []


def test_an_exchange_that_wants_an_end_is_given_one() -> None:
    trading = every_minute(START - MINUTE, START + 500 * MINUTE)
    exchange = Exchange(market(trading, now=START + 500 * MINUTE), markets.newest_since, 50)
    pages, pager = fetch(exchange, START, START + 450 * MINUTE)
    assert pager.missing == []
    assert len(rows_of(pages)) == 450
    assert len(exchange.asked) < 16


# -- holes and listings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("honoured", [False, True])
@pytest.mark.parametrize("hole", [50 * MINUTE, 5 * HOUR, 3 * DAY])
@pytest.mark.parametrize("minute", [0, 5, 7])
def test_a_hole_longer_than_a_window_is_crossed_and_proven(hole: int, honoured: bool, minute: int) -> None:
    resumed = START + minute * MINUTE + hole
    trading = [*every_minute(START - HOUR, START + minute * MINUTE), *every_minute(resumed, resumed + 3 * HOUR)]
    exchange = Exchange(market(trading, now=resumed + 3 * HOUR), markets.windowed, 100)
    _, pager = fetch(exchange, START - HOUR + 2 * MINUTE, resumed + 2 * HOUR, honoured=honoured)
    assert pager.missing == []
    assert len(exchange.asked) < 20


@pytest.mark.parametrize("way", [markets.windowed, markets.adds_the_open_candle], ids=lambda way: way.__name__)
@pytest.mark.parametrize("offered", [ALL, frozenset({"1m"})], ids=["ladder", "no ladder"])
def test_after_a_hole_that_cannot_be_proven_fetching_goes_on(way: markets.Answers, offered: frozenset[str]) -> None:
    """Thirty hours without a trade once ended the fetch: everything after them was missing."""
    resumed = START + 35 * HOUR
    trading = [*every_minute(START, START + 5 * HOUR), *every_minute(resumed, resumed + 20 * HOUR)]
    exchange = Exchange(market(trading, now=resumed + 30 * HOUR), way, 300)
    pages, pager = fetch(exchange, START, resumed + 18 * HOUR, offered=offered)
    assert rows_of(pages) == exchange.market.truth(START, resumed + 18 * HOUR)
    assert all(gap.since >= START + 5 * HOUR and gap.until <= resumed for gap in pager.missing if gap.since > START)


@pytest.mark.parametrize("before", [3 * HOUR, 40 * DAY, 500 * DAY])
def test_an_empty_first_page_finds_the_listing_in_few_requests(before: int) -> None:
    listed = START + 123 * MINUTE
    later = range(listed + 30 * MINUTE, listed + 70 * DAY, 10 * MINUTE)
    exchange = Exchange(
        market(every_minute(listed, listed + 30 * MINUTE), list(later), now=listed + 70 * DAY), markets.windowed, 100
    )
    pages, pager = fetch(exchange, listed - before, listed + 29 * MINUTE, honoured=True)
    assert pager.missing == []
    assert len(rows_of(pages)) == 29
    assert len(exchange.asked) < 15


def test_a_jump_to_the_first_candle_proves_none_before_it_if_since_is_honoured() -> None:
    listed = START + 123 * MINUTE
    trading = every_minute(listed, listed + 30 * MINUTE)
    exchange = Exchange(market(trading, now=listed + 29 * MINUTE), markets.honoured, 20)
    _, pager = fetch(exchange, START - 900 * DAY, listed + 29 * MINUTE, honoured=True)
    assert pager.missing == []
    assert len(exchange.asked) == 2


@pytest.mark.parametrize(
    "way", [markets.honoured, markets.windowed, markets.empty_before_the_listing], ids=lambda way: way.__name__
)
def test_of_an_undeclared_exchange_all_after_the_listing_comes_and_nothing_before(
    way: markets.Answers,
) -> None:
    listed = START + 123 * MINUTE
    trading = every_minute(listed, listed + 9 * HOUR)
    exchange = Exchange(market(trading, now=listed + 9 * HOUR), way, 200)
    pages, pager = fetch(exchange, START - 900 * DAY, listed + 8 * HOUR)
    assert len(rows_of(pages)) == 480
    # Of the candle of 15 minutes that the listing falls into, the volume is accounted for.
    assert [gap.since for gap in pager.missing] == [START - 900 * DAY]
    assert listed - 15 * MINUTE < pager.missing[0].until <= listed
    assert len(exchange.asked) < 40


@pytest.mark.parametrize("ago", [40 * MINUTE, 5 * HOUR, 3 * DAY])
def test_a_recent_listing_is_found_though_large_timeframes_have_one_candle(ago: int) -> None:
    now = START + 40 * DAY
    exchange = Exchange(market(every_minute(now - ago, now + MINUTE), now=now), markets.windowed, 100)
    pages, pager = fetch(exchange, START - 300 * DAY, now, honoured=True)
    assert pager.missing == []
    assert len(rows_of(pages)) == ago // MINUTE


# -- refusals and bad rows --------------------------------------------------------------------------------------------


def test_a_refused_answer_leaves_the_request_as_it_was() -> None:
    grid = timeframes.grid("1m")
    pager = Pager(grid, Range(START, START + HOUR), START + DAY, PagingFacts(100, ALL))
    ask = pager.ask
    assert ask is not None
    with pytest.raises(BadRows):
        pager.take(parse("[[15147", ask.timeframe, grid))
    assert pager.ask == ask
