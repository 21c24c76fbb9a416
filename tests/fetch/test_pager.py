"""Paging through a range: which requests are made, which rows are taken, and what an answer does not prove."""

from __future__ import annotations

import pytest

from fetch import model_market as markets
from fetch.model_market import MINUTE, Exchange
from fetch.paged import ALL, DAY, HOUR, START, every_minute, fetch, market, rows_of
from tickwire.fetcher.page_rows import BadRows, parse
from tickwire.fetcher.pager import Pager
from tickwire.fetcher.paging_types import PagingFacts
from tickwire.model import timeframes
from tickwire.model.ranges import Range, covers

pytestmark = pytest.mark.pure


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


def test_a_refused_answer_leaves_the_request_as_it_was() -> None:
    grid = timeframes.grid("1m")
    pager = Pager(grid, Range(START, START + HOUR), START + DAY, PagingFacts(100, ALL))
    ask = pager.ask
    assert ask is not None
    with pytest.raises(BadRows):
        pager.take(parse("[[15147", ask.timeframe, grid))
    assert pager.ask == ask
