"""Venues that honour `since`, with answers cut at their beginning: what was cut off is not taken for untraded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch.model_market import MINUTE, Market
from fetch.paged import DAY, START, every_minute
from tickwire.fetcher.page_rows import parse
from tickwire.fetcher.pager import Pager
from tickwire.fetcher.paging_types import PageRequest, PagingFacts, ProvenPage
from tickwire.model import timeframes
from tickwire.model.messages import Row
from tickwire.model.ranges import Range

pytestmark = pytest.mark.pure

GRID = timeframes.grid("1m")
KEPT = 50


def paged(market: Market, wanted: Range, planned: int, facts: PagingFacts, *, kept: int | None) -> list[ProvenPage]:
    """The proven pages of a range that was planned at the time `planned` (ms) and is requested at the market's.

    The venue answers with the newest rows of a window that contains its end, or with the first ones from `since` on
    among the newest `kept`, as kraken, gate and hyperliquid do.
    """

    def answer(ask: PageRequest) -> list[Row]:
        rows = market.candles(ask.timeframe)
        rows = rows if kept is None else rows[-kept:]
        if ask.since is None:
            return rows[-ask.limit :]
        until = timeframes.advance(ask.timeframe, ask.since, ask.limit)
        if kept is not None:
            return [each for each in rows if ask.since <= each[0]][: ask.limit]
        return [each for each in rows if ask.since <= each[0] <= until][-ask.limit :]

    pager = Pager(GRID, wanted, GRID.open_of(planned), facts)
    pages: list[ProvenPage] = []
    requests = 0
    while (ask := pager.ask) is not None:
        requests += 1
        assert requests < 500, "it loops"
        pages += pager.take(parse(answer(ask), ask.timeframe, GRID))
    for page in pages:
        assert page.rows == market.truth(page.since, page.until), f"[{page.since}, {page.until}) is said to be complete"
    return pages


def test_a_window_that_contains_its_end_does_not_hide_its_first_candle() -> None:
    market = Market(tuple(every_minute(START, START + 300 * MINUTE)), START + DAY)
    wanted = Range(START, START + 200 * MINUTE)
    facts = PagingFacts(KEPT, frozenset({"1m"}), honours_since=True, windowed=True)
    pages = paged(market, wanted, market.now, facts, kept=None)
    assert sorted(row[0] for page in pages for row in page.rows) == every_minute(START, wanted.until)


@pytest.mark.parametrize("later", [0, 1, 7])
def test_a_candle_that_the_venue_has_forgotten_meanwhile_is_missing_not_untraded(later: int) -> None:
    planned = START + DAY
    market = Market(tuple(every_minute(START, planned + DAY)), planned + later * MINUTE)
    wanted = Range(START + DAY - 200 * MINUTE, planned)
    facts = PagingFacts(KEPT, frozenset({"1m"}), honours_since=True, newest_rows=KEPT)
    pages = paged(market, wanted, planned, facts, kept=KEPT)
    oldest = market.now - (KEPT - 1) * MINUTE
    assert sorted(row[0] for page in pages for row in page.rows) == every_minute(oldest, planned)


@given(
    st.sets(st.integers(0, 299)).map(sorted),
    st.integers(0, 290),
    st.integers(1, 200),
    st.integers(0, 5),
    st.booleans(),
)
def test_whatever_was_traded_no_page_says_more_than_there_is(
    minutes: list[int], first: int, length: int, later: int, keeps: bool
) -> None:
    planned = START + 300 * MINUTE
    trades = tuple(START + each * MINUTE for each in minutes) + tuple(every_minute(planned, planned + 9 * MINUTE))
    market = Market(trades, planned + later * MINUTE)
    wanted = Range(START + first * MINUTE, min(planned, START + (first + length) * MINUTE))
    facts = PagingFacts(
        KEPT, frozenset({"1m"}), honours_since=True, windowed=not keeps, newest_rows=KEPT if keeps else None
    )
    paged(market, wanted, planned, facts, kept=KEPT if keeps else None)
