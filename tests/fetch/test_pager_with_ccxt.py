"""Pages of real classes of ccxt, from venues that answer each in its own way."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from fetch import candle_venues
from fetch.candle_venues import Answer, opened, paged
from fetch.model_market import MINUTE, Market
from tickwire.fetcher.page_rows import parse_page
from tickwire.model.ranges import Range
from tickwire.model.timeframes import grid

pytestmark = pytest.mark.actors

HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOW = 1_717_243_200_000  # 2024-06-01 12:00 UTC


def trading(*runs: tuple[int, int]) -> Market:
    """Trades in every minute of these times, given in ms before NOW."""
    return Market(tuple(at for since, until in runs for at in range(NOW - since, NOW - until, MINUTE)), NOW)


@pytest.mark.parametrize(
    ("exchange", "answer"),
    [("gemini", candle_venues.gemini), ("bithumb", candle_venues.bithumb)],
    ids=["gemini", "bithumb"],
)
async def test_a_venue_that_answers_with_its_newest_candles_proves_nothing_of_older_ones(
    exchange: str, answer: Answer
) -> None:
    """Eleven hours nine days old came back as verified, without a trade, from one call."""
    model = trading((20 * DAY, 0))
    async with opened(exchange, partial(answer, model)) as (venue, served):
        rows, pager = await paged(venue, wanted := Range(NOW - 9 * DAY, NOW - 9 * DAY + 11 * HOUR), NOW)
        assert rows == []
        assert pager.missing == [wanted]
        assert len(served.asked) < 15
        rows, pager = await paged(venue, wanted := Range(NOW - 90 * MINUTE, NOW), NOW)
        assert rows == model.truth(*wanted)
        assert pager.missing == []


@pytest.mark.parametrize(
    ("exchange", "answer"),
    [("bitstamp", candle_venues.bitstamp), ("mexc", candle_venues.mexc)],
    ids=["bitstamp", "mexc"],
)
async def test_a_hole_longer_than_a_page_does_not_end_the_fetch_where_answers_are_windows(
    exchange: str, answer: Answer
) -> None:
    """Of 6,589 rows around a hole of 30 hours, 5,182 came, and everything after it was missing."""
    model = trading((6 * DAY, 57 * HOUR - 7 * MINUTE), (27 * HOUR, 0))
    async with opened(exchange, partial(answer, model)) as (venue, served):
        rows, pager = await paged(venue, wanted := Range(NOW - 6 * DAY + MINUTE, NOW), NOW)
        assert rows == model.truth(*wanted)
        assert pager.missing == []
        assert len(served.asked) < 40


async def test_what_a_venue_refuses_is_named_and_the_rest_is_had() -> None:
    """A venue of unknown depth refuses what is older than its newest 10,000 candles; that failed the whole job."""
    model = trading((8 * DAY, 0))
    async with opened("gateeu", partial(candle_venues.gate, model)) as (venue, served):
        rows, pager = await paged(venue, Range(NOW - 8 * DAY + MINUTE, NOW), NOW)
        assert rows == model.truth(NOW - 10_000 * MINUTE, NOW)
        assert pager.missing == [Range(NOW - 8 * DAY + MINUTE, NOW - 10_000 * MINUTE)]
        assert [each.until for each in pager.refused] == [NOW - 10_000 * MINUTE]
        assert "Candlestick too long ago" in pager.refused[0].reason
        assert len(served.asked) < 40


async def test_a_larger_timeframe_that_is_refused_is_passed_over() -> None:
    """It failed the whole job, too."""
    model = trading((6 * DAY, 57 * HOUR), (27 * HOUR, 0))

    def answer(path: str, query: dict[str, str]) -> Any:
        if query["step"] != "60":
            return {"status": "error", "reason": "Invalid step"}
        return candle_venues.bitstamp(model, path, query)

    async with opened("bitstamp", answer) as (venue, _):
        rows, pager = await paged(venue, wanted := Range(NOW - 6 * DAY + MINUTE, NOW), NOW)
        assert rows == model.truth(*wanted)
        assert all(Range(NOW - 57 * HOUR, NOW - 27 * HOUR).since <= gap.since for gap in pager.missing)
        assert pager.missing[-1].until == NOW - 27 * HOUR


BAD: list[tuple[str, Any]] = [
    ("nulls", lambda row: [row[0], None, None, None, None, None, row[6], row[7]]),
    ("all nulls", lambda row: [None] * 8),
    ("a null", lambda row: None),
    ("nan", lambda row: [row[0], "NaN", *row[2:]]),
    ("off the grid", lambda row: [row[0] + 7_001, *row[1:]]),
    ("from the future", lambda row: [row[0] + 10**12, *row[1:]]),
    ("upside down", lambda row: [row[0], row[1], row[3], row[2], *row[4:]]),
]


@pytest.mark.parametrize(("name", "spoil"), BAD, ids=[name for name, _ in BAD])
async def test_one_bad_row_costs_one_row(name: str, spoil: Any) -> None:
    model = trading((6 * HOUR, 0))
    at = NOW - 3 * HOUR

    def answer(path: str, query: dict[str, str]) -> Any:
        return [spoil(row) if row[0] == at else row for row in candle_venues.mexc(model, path, query)]

    async with opened("mexc", answer) as (venue, served):
        rows, pager = await paged(venue, wanted := Range(NOW - 6 * HOUR + MINUTE, NOW), NOW)
        assert rows == [row for row in model.truth(*wanted) if row[0] != at]
        assert pager.missing == [Range(at, at + MINUTE)]
        assert len(served.asked) < 6
        counted = venue._metrics.rejected.labels("mexc")._value.get()
        assert counted >= 2, "it is asked for once more, alone"


async def test_a_bad_row_that_is_sound_when_asked_for_alone_is_had() -> None:
    model = trading((6 * HOUR, 0))
    at, spoilt = NOW - 3 * HOUR, [True]

    def answer(path: str, query: dict[str, str]) -> Any:
        page = candle_venues.mexc(model, path, query)
        if spoilt:
            spoilt.clear()
            return [None if row[0] == at else row for row in page]
        return page

    async with opened("mexc", answer) as (venue, _):
        rows, pager = await paged(venue, wanted := Range(NOW - 6 * HOUR + MINUTE, NOW), NOW)
        assert rows == model.truth(*wanted)
        assert pager.missing == []


@pytest.mark.parametrize("rows", [9, 10, 400])
@pytest.mark.parametrize(
    ("exchange", "answer"), [("kucoin", candle_venues.kucoin), ("gate", candle_venues.gate)], ids=["kucoin", "gate"]
)
async def test_pages_of_any_length_are_read_as_the_venue_means_them(exchange: str, answer: Answer, rows: int) -> None:
    """Kucoin's times are seconds, and its columns others, when they have ten digits: pages of ten rows were misread."""
    model = trading((DAY, 0))
    async with opened(exchange, partial(answer, model)) as (venue, _):
        found, pager = await paged(venue, wanted := Range(NOW - rows * MINUTE, NOW), NOW)
        assert found == model.truth(*wanted)
        assert pager.missing == []


def test_a_row_that_is_in_doubt_leaves_the_others_around_it() -> None:
    good = [[NOW + n * MINUTE, 1, 2, 0.5, 1, 1] for n in range(5)]
    found = parse_page([good[0], good[1], None, good[4]], grid("1m"))
    assert [row[0] for row in found.rows] == [NOW, NOW + MINUTE, NOW + 4 * MINUTE]
    assert found.doubts == [Range(NOW + 2 * MINUTE, NOW + 4 * MINUTE)]
