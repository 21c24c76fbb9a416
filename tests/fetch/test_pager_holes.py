"""Paging over holes in trading and before a listing: crossed in few requests, and proven where that is possible."""

from __future__ import annotations

import pytest

from fetch import model_market as markets
from fetch.model_market import MINUTE, Exchange
from fetch.paged import ALL, DAY, HOUR, START, every_minute, fetch, market, rows_of

pytestmark = pytest.mark.pure


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
