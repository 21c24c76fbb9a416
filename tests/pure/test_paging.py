"""Paging against model exchanges that have holes, stop short, jump, repeat and answer empty."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire import timeframes
from tickwire.fetcher.paging import Ask, BadRows, Pager, Proven, Venue, checked
from tickwire.messages import Row
from tickwire.ranges import Range, covers, merge

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY
START = 1_514_764_800_000 + 10 * HOUR  # 2018-01-01 10:00 UTC, a Monday
ALL = frozenset({"1m", "5m", "15m", "1h", "4h", "1d", "1w", "1M"})


def row(at: int) -> Row:
    return (at, 1.0, 2.0, 0.5, 1.5, float(at % 97 + 1))


@dataclass
class Exchange:
    """A model: trades happened in these minutes (ms); answers are made from nothing else."""

    trades: list[int]
    now: int
    limit: int = 10
    windowed: bool = False
    recent_only: bool = False
    drops_first_partial: bool = False
    faults: list[str] = field(default_factory=list)
    asked: list[Ask] = field(default_factory=list)

    def answer(self, ask: Ask) -> list[Row]:
        self.asked.append(ask)
        fault = self.faults[0] if self.faults else ""
        if fault != "same_last":
            # An exchange that repeats its last candle goes on doing so.
            self.faults[:1] = []
        if fault == "empty":
            return []
        opens = sorted({timeframes.open_of(ask.timeframe, at) for at in self.trades if at <= self.now})
        if fault == "same_last":
            return [row(at) for at in opens[-1:]]
        if self.drops_first_partial and opens and opens[0] < self.trades[0]:
            opens = opens[1:]
        limit = min(ask.limit, self.limit)
        if ask.since is None:
            return [row(at) for at in opens[-limit:]]
        if self.recent_only:
            opens = [at for at in opens if at > timeframes.advance(ask.timeframe, self.now, -self.limit)]
        opens = [at for at in opens if at >= ask.since]
        if self.windowed:
            opens = [at for at in opens if at < timeframes.advance(ask.timeframe, ask.since, limit)]
        opens = opens[:limit]
        if fault == "short":
            opens = opens[: max(1, limit // 3)]
        return [row(at) for at in opens]


def fetch(
    exchange: Exchange,
    since: int,
    until: int,
    *,
    timeframe: str = "1m",
    ladder: frozenset[str] = ALL,
    tells_time: bool = True,
) -> tuple[list[Proven], Pager]:
    """Page through a range to its end; it must come to one."""
    closed = timeframes.open_of(timeframe, exchange.now) if tells_time else None
    venue = Venue(exchange.limit, ladder, windowed=exchange.windowed, recent_only=exchange.recent_only)
    pager = Pager(timeframe, Range(since, until), closed, venue)
    pages = []
    while (ask := pager.ask) is not None:
        assert len(exchange.asked) < 5_000, "it loops"
        page = pager.take(exchange.answer(ask))
        if page is not None:
            pages.append(page)
    return pages, pager


def rows_of(pages: list[Proven]) -> list[Row]:
    return [each for page in pages for each in page.rows]


def assert_sound(pages: list[Proven], pager: Pager, exchange: Exchange, since: int, until: int) -> None:
    """Every page holds exactly the candles of its range, and pages and missing ranges make up the whole."""
    for page in pages:
        truth = [row(at) for at in exchange.trades if page.since <= at < page.until]
        assert page.rows == truth, f"[{page.since}, {page.until}) is said to be complete"
    proven = [Range(page.since, page.until) for page in pages]
    assert merge([*proven, *pager.missing]) == merge([Range(since, until)])
    assert not any(covers(merge(proven), gap) for gap in pager.missing)


minutes = st.lists(st.integers(0, 400), max_size=120, unique=True).map(
    lambda offsets: [START + offset * MINUTE for offset in sorted(offsets)]
)
faults = st.lists(st.sampled_from(["", "", "", "empty", "short", "same_last"]), max_size=60)


@given(
    trades=minutes,
    asked=st.tuples(st.integers(0, 400), st.integers(1, 400)),
    limit=st.integers(2, 40),
    windowed=st.booleans(),
    recent_only=st.booleans(),
    troubles=faults,
)
def test_whatever_the_exchange_answers_no_range_is_called_complete_that_is_not(
    trades: list[int],
    asked: tuple[int, int],
    limit: int,
    windowed: bool,
    recent_only: bool,
    troubles: list[str],
) -> None:
    exchange = Exchange(
        trades,
        START + 401 * MINUTE,
        limit,
        windowed=windowed,
        recent_only=recent_only,
        faults=troubles,
    )
    since = START + asked[0] * MINUTE
    until = min(since + asked[1] * MINUTE, START + 401 * MINUTE)
    pages, pager = fetch(exchange, since, until)
    assert_sound(pages, pager, exchange, since, until)


@given(
    trades=minutes,
    asked=st.tuples(st.integers(0, 400), st.integers(1, 600)),
    limit=st.integers(2, 40),
    windowed=st.booleans(),
    recent_only=st.booleans(),
    troubles=faults,
)
def test_where_the_time_is_unknown_no_candle_is_closed_that_none_follows(
    trades: list[int],
    asked: tuple[int, int],
    limit: int,
    windowed: bool,
    recent_only: bool,
    troubles: list[str],
) -> None:
    exchange = Exchange(
        trades, START + 401 * MINUTE, limit, windowed=windowed, recent_only=recent_only, faults=troubles
    )
    since = START + asked[0] * MINUTE
    until = since + asked[1] * MINUTE
    pages, pager = fetch(exchange, since, until, tells_time=False)
    assert_sound(pages, pager, exchange, since, until)
    # Of its own candles or of larger ones, a later one proves what is before it.
    assert all(page.until <= trades[-1] for page in pages)


@given(trades=minutes, limit=st.integers(2, 40))
def test_where_the_time_is_unknown_an_honest_exchange_gives_all_but_its_newest(trades: list[int], limit: int) -> None:
    exchange = Exchange(sorted({START, *trades}), START + 500 * MINUTE, limit)
    until = START + 600 * MINUTE
    pages, pager = fetch(exchange, START, until, tells_time=False)
    assert_sound(pages, pager, exchange, START, until)
    assert pager.missing == [Range(exchange.trades[-1], until)]
    assert pager.newest == exchange.trades[-1]


@given(trades=minutes, limit=st.integers(2, 40))
def test_up_to_the_last_trade_an_honest_exchange_gives_everything(trades: list[int], limit: int) -> None:
    # Some time after the last trade: a full page that ends at the newest candle would look like nothing but the newest.
    exchange = Exchange(sorted({START, *trades}), START + 500 * MINUTE, limit)
    until = START + 401 * MINUTE
    pages, pager = fetch(exchange, START, until)
    assert_sound(pages, pager, exchange, START, until)
    last = exchange.trades[-1] + MINUTE
    assert pager.missing == ([Range(last, until)] if last < until else [])


@given(limit=st.integers(4, 40), troubles=st.lists(st.sampled_from(["", "", "short"]), max_size=60))
def test_pages_that_stop_short_cost_requests_and_no_candles(limit: int, troubles: list[str]) -> None:
    exchange = Exchange(every_minute(START, START + 200 * MINUTE), START + 199 * MINUTE, limit, faults=troubles)
    pages, pager = fetch(exchange, START, START + 199 * MINUTE)
    assert pager.missing == []
    assert len(rows_of(pages)) == 199


def every_minute(since: int, until: int) -> list[int]:
    return list(range(since, until, MINUTE))


def test_full_pages_follow_one_another_without_a_superfluous_request() -> None:
    exchange = Exchange(every_minute(START, START + 101 * MINUTE), START + 100 * MINUTE, limit=25)
    _, pager = fetch(exchange, START, START + 100 * MINUTE)
    assert pager.missing == []
    assert [ask.since for ask in exchange.asked] == [START + n * 25 * MINUTE for n in range(4)]


def test_a_row_beyond_the_end_proves_the_hole_before_it() -> None:
    exchange = Exchange([*every_minute(START, START + 5 * MINUTE), START + 20 * MINUTE], START + 21 * MINUTE)
    pages, pager = fetch(exchange, START, START + 10 * MINUTE)
    assert pager.missing == []
    assert [each[0] for each in rows_of(pages)] == every_minute(START, START + 5 * MINUTE)


def test_the_open_candle_is_proof_and_never_data() -> None:
    exchange = Exchange([START, START + 9 * MINUTE], START + 9 * MINUTE + 30_000)
    pages, pager = fetch(exchange, START, START + 9 * MINUTE)
    assert pager.missing == []
    assert rows_of(pages) == [row(START)]


def test_one_empty_answer_in_the_middle_is_asked_again() -> None:
    exchange = Exchange(every_minute(START, START + 31 * MINUTE), START + 30 * MINUTE, faults=["", "empty"])
    pages, pager = fetch(exchange, START, START + 30 * MINUTE)
    assert pager.missing == []
    assert len(rows_of(pages)) == 30


@pytest.mark.parametrize("fault", ["empty", "same_last"])
def test_an_exchange_that_brings_nothing_new_for_ever_ends_the_range_as_missing(fault: str) -> None:
    exchange = Exchange(every_minute(START, START + 31 * MINUTE), START + 30 * MINUTE, faults=["", *[fault] * 1000])
    pages, pager = fetch(exchange, START, START + 30 * MINUTE)
    assert len(rows_of(pages)) == 10
    assert pager.missing == [Range(START + 10 * MINUTE, START + 30 * MINUTE)]
    assert len(exchange.asked) < 15


def test_what_no_later_trade_proves_is_missing() -> None:
    exchange = Exchange(every_minute(START, START + 5 * MINUTE), START + DAY)
    _, pager = fetch(exchange, START, START + 20 * MINUTE)
    assert pager.missing == [Range(START + 5 * MINUTE, START + 20 * MINUTE)]


@pytest.mark.parametrize("drops_first_partial", [False, True])
@pytest.mark.parametrize("before", [3 * HOUR, 40 * DAY, 500 * DAY])
def test_an_empty_first_page_finds_the_listing_in_few_requests(before: int, drops_first_partial: bool) -> None:
    listed = START + 123 * MINUTE
    exchange = Exchange(
        [*every_minute(listed, listed + 30 * MINUTE), *range(listed + 30 * MINUTE, listed + 70 * DAY, 10 * MINUTE)],
        listed + 70 * DAY,
        limit=100,
        windowed=True,
        drops_first_partial=drops_first_partial,
    )
    since, until = listed - before, listed + 29 * MINUTE
    pages, pager = fetch(exchange, since, until)
    assert_sound(pages, pager, exchange, since, until)
    assert pager.missing == []
    assert len(exchange.asked) < 15


def test_a_jump_to_the_first_candle_proves_that_there_is_none_before() -> None:
    listed = START + 123 * MINUTE
    exchange = Exchange(every_minute(listed, listed + 30 * MINUTE), listed + 29 * MINUTE, limit=20)
    _, pager = fetch(exchange, START - 900 * DAY, listed + 29 * MINUTE)
    assert pager.missing == []
    assert len(exchange.asked) == 2


def test_an_exchange_that_only_has_the_newest_candles_proves_nothing_about_older_ones() -> None:
    now = START + 30 * HOUR
    exchange = Exchange(every_minute(START, now + MINUTE), now, limit=720, recent_only=True)
    pages, pager = fetch(exchange, START, now)
    assert_sound(pages, pager, exchange, START, now)
    assert len(rows_of(pages)) >= 719
    assert covers(pager.missing, Range(START, now - 12 * HOUR))


def test_an_exchange_not_known_to_have_only_the_newest_candles_is_found_out() -> None:
    now = START + 30 * HOUR
    exchange = Exchange(every_minute(START, now + MINUTE), now, limit=720, recent_only=True)
    closed = timeframes.open_of("1m", now)
    pager = Pager("1m", Range(START, now), closed, Venue(720, ALL))
    while (ask := pager.ask) is not None:
        pager.take(exchange.answer(ask))
    assert covers(pager.missing, Range(START, now - 12 * HOUR))


@pytest.mark.parametrize("hole", [50 * MINUTE, 5 * HOUR, 3 * DAY])
def test_where_answers_are_windows_a_later_candle_proves_the_empty_windows(hole: int) -> None:
    resumed = START + 5 * MINUTE + hole
    trades = [*every_minute(START, START + 5 * MINUTE), *every_minute(resumed, resumed + 10 * MINUTE)]
    exchange = Exchange(trades, resumed + 9 * MINUTE, limit=40, windowed=True)
    pages, pager = fetch(exchange, START, resumed + 9 * MINUTE)
    assert_sound(pages, pager, exchange, START, resumed + 9 * MINUTE)
    assert pager.missing == []
    assert len(exchange.asked) < 60


def test_months_are_paged_by_the_calendar() -> None:
    first = 1_514_764_800_000  # 2018-01-01
    opens = [timeframes.advance("1M", first, n) for n in range(30)]
    exchange = Exchange(opens, opens[-1], limit=7)
    pages, pager = fetch(exchange, first, opens[-1], timeframe="1M")
    assert pager.missing == []
    assert [each[0] for each in rows_of(pages)] == opens[:-1]


def test_rows_come_out_sorted_and_once() -> None:
    twice: list[object] = [list(row(START + MINUTE)), list(row(START)), list(row(START + MINUTE))]
    assert checked(twice, "1m") == [row(START), row(START + MINUTE)]


@pytest.mark.parametrize(
    "answer",
    [
        "[[1514764800000",
        None,
        {},
        ["["],
        [[]],
        [[START, 1, 2, 3, 4]],
        [[None, 1, 2, 3, 4, 5]],
        [[float(START), 1, 2, 3, 4, 5]],
        [[START, 1, 2, None, 4, 5]],
        [[START, 1, 2, math.nan, 4, 5]],
        [[START, 1, math.inf, 3, 4, 5]],
        [[START, "1", 2, 3, 4, 5]],
        [[START + 1, 1, 2, 3, 4, 5]],
        [[START, 1, 2, 3, 4, 5], None],
    ],
)
def test_what_is_no_page_of_candles_is_refused(answer: object) -> None:
    with pytest.raises(BadRows):
        checked(answer, "1m")


def test_a_refused_answer_leaves_the_request_as_it_was() -> None:
    pager = Pager("1m", Range(START, START + HOUR), START + DAY, Venue(100, ALL))
    ask = pager.ask
    with pytest.raises(BadRows):
        pager.take("[[15147")
    assert pager.ask == ask


def test_one_candle_repeated_whatever_is_asked_proves_no_gap_before_it() -> None:
    exchange = Exchange(every_minute(START, START + 31 * MINUTE), START + 30 * MINUTE, faults=["same_last"])
    pages, pager = fetch(exchange, START, START + 30 * MINUTE)
    assert rows_of(pages) == []
    assert pager.missing == [Range(START, START + 30 * MINUTE)]


def test_a_lone_new_candle_after_a_quiet_time_proves_it_by_the_candle_before() -> None:
    exchange = Exchange([START, START + 30 * MINUTE], START + 30 * MINUTE)
    _, pager = fetch(exchange, START + MINUTE, START + 30 * MINUTE)
    assert pager.missing == []


@pytest.mark.parametrize("ago", [40 * MINUTE, 5 * HOUR, 3 * DAY])
def test_a_recent_listing_is_found_though_large_timeframes_have_one_candle(ago: int) -> None:
    now = START + 40 * DAY
    listed = now - ago
    exchange = Exchange(every_minute(listed, now + MINUTE), now, limit=100, windowed=True)
    pages, pager = fetch(exchange, START - 300 * DAY, now)
    assert_sound(pages, pager, exchange, START - 300 * DAY, now)
    assert pager.missing == []
