"""Whatever way an exchange answers in, what paging proves is true, what is available is fetched, and it ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch import model_market as markets
from fetch.model_market import MINUTE, Exchange, Market
from fetch.paged import ALL, HONEST, START, WAYS, every_minute, fetch, market, rows_of
from tickwire.model.ranges import Range

pytestmark = pytest.mark.pure

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
