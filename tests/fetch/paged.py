"""A model exchange that is paged to the end of a range, where each proven page is compared with its trades."""

from __future__ import annotations

from fetch import model_market as markets
from fetch.model_market import MINUTE, Exchange, Market
from tickwire.fetcher.page_rows import parse
from tickwire.fetcher.pager import Pager
from tickwire.fetcher.paging_types import PagingFacts, ProvenPage
from tickwire.model import timeframes
from tickwire.model.messages import Row
from tickwire.model.ranges import Range, covers, merge

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
