"""Paging through the history of trades: whatever pages a venue cuts it into, what is proven is the truth."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.archive_files.layout import DAY_MS, date_of
from tickwire.archive_files.proven_pages import PageBuffer, Proven, parts_of
from tickwire.exchange.trade_history import paging_of, why_refused
from tickwire.fetcher.trade_paging import SETTLED_MS, Ended, back, by_id, by_time
from tickwire.model.feeds import Trade
from tickwire.model.ranges import Range, merge, subtract
from tickwire.venues.profile import TradeFacts
from tickwire.venues.registry import profile_of

pytestmark = pytest.mark.pure

NOW = 10_000_000


@dataclass
class Market:
    """A market whose trades are all in memory, with pages of `size`."""

    trades: list[Trade]
    size: int
    reach_ms: int | None = None

    async def now(self) -> int:
        return NOW

    async def newest(self) -> list[Trade]:
        return self.trades[-self.size :]

    async def from_id(self, first: int, limit: int | None = None) -> list[Trade]:
        return [each for each in self.trades if int(each.id or 0) >= first][: limit or self.size]

    async def from_time(self, since: int) -> list[Trade]:
        return [each for each in self.trades if each.timestamp >= since][: self.size]

    async def before_time(self, until: int) -> list[Trade]:
        return [each for each in self.trades if each.timestamp < until][-self.size :]

    async def before_id(self, id_: str) -> list[Trade]:
        return [each for each in self.trades if int(each.id or 0) < int(id_)][-self.size :]


Pager = Callable[[Market, Range], AsyncGenerator[Proven | Ended, None]]


def paged(pager: Pager, market: Market, wanted: Range) -> tuple[list[Proven], list[Ended]]:
    async def run() -> list[Proven | Ended]:
        return [each async for each in pager(market, wanted)]

    found = asyncio.run(run())
    return [each for each in found if isinstance(each, Proven)], [each for each in found if isinstance(each, Ended)]


@pytest.mark.parametrize("pager", [by_id, back, by_time])
@given(seed=st.integers(0, 2**32))
def test_what_pages_prove_is_all_that_the_venue_has(pager: Pager, seed: int) -> None:
    draw = random.Random(seed)
    times = sorted(draw.randrange(draw.choice([20, 5000])) for _ in range(draw.randrange(1, 60)))
    first = draw.choice([0, 1])
    every = [
        Trade(id=str(number), timestamp=time, side="buy", price=1.0, amount=1.0)
        for number, time in enumerate(times, first)
    ]
    # Some venues have forgotten some; that the newest is lost nothing shows, nor that trade 0 is: others count from 1.
    may_be_lost = range(1 - first, len(every) - 1)
    lost = set(draw.sample(may_be_lost, draw.choice([0, 0, min(3, len(may_be_lost))])))
    market = Market([each for number, each in enumerate(every) if number not in lost], draw.randrange(1, 12))
    since, until = sorted(draw.sample(range(5200), 2))
    proven, ended = paged(pager, market, Range(since, until))
    sent = {each.id: each for part in proven for each in part.trades}
    ranges = merge(Range(each.since, each.until) for each in proven)
    assert all(since <= each.since <= each.until <= until for each in proven)
    # All trades of what is proven were sent, and where ids count up none of them is lost at the venue.
    for each in every if pager is by_id else market.trades:
        if any(part.since <= each.timestamp < part.until for part in ranges):
            assert each.id in sent, (each, ranges)
    # What is not proven is named.
    named = [Range(each.since, each.until) for each in ended]
    assert [part for whole in subtract(Range(since, until), ranges) for part in subtract(whole, named)] == []


def test_a_market_without_a_later_trade_is_proven_up_to_what_has_settled() -> None:
    trades = [Trade(id=str(number), timestamp=number, side=None, price=1.0, amount=1.0) for number in range(9)]
    proven, ended = paged(by_id, Market(trades, 4), Range(5, NOW))
    assert merge(Range(each.since, each.until) for each in proven) == [Range(5, NOW - SETTLED_MS)]
    assert [each.until for each in ended] == [NOW]


def test_a_venue_that_repeats_a_page_whatever_id_is_asked_for_ends_the_range() -> None:
    class Repeating(Market):
        async def from_id(self, first: int, limit: int | None = None) -> list[Trade]:
            return await super().from_id(min(first, 4), limit)

    trades = [Trade(id=str(number), timestamp=number, side=None, price=1.0, amount=1.0) for number in range(20)]
    proven, ended = paged(by_id, Repeating(trades, 6), Range(5, 19))
    assert [each for each in proven if each.since < each.until or each.trades] == []
    assert [Range(each.since, each.until) for each in ended] == [Range(5, 19)]


def test_pages_back_from_a_time_prove_nothing_that_has_not_settled() -> None:
    trades = [Trade(id=str(number), timestamp=number, side=None, price=1.0, amount=1.0) for number in range(9)]
    proven, ended = paged(back, Market(trades, 4), Range(5, NOW))
    assert merge(Range(each.since, each.until) for each in proven) == [Range(5, NOW - SETTLED_MS)]
    assert [Range(each.since, each.until) for each in ended] == [Range(NOW - SETTLED_MS, NOW)]
    assert paged(back, Market(trades, 4), Range(NOW - 9, NOW))[0] == []


def test_history_is_taken_where_the_profile_says_how_and_ids_are_shared() -> None:
    ways = {each: paging_of(profile_of(each).trades) for each in ("binance", "okx", "bitfinex", "hyperliquid")}
    assert ways == {"binance": "by id", "okx": "back", "bitfinex": "by time", "hyperliquid": None}
    refused = {each: why_refused(each, profile_of(each).trades) for each in ("binance", "okx", "kraken", "bitstamp")}
    assert [refused["binance"], refused["okx"]] == [None, None]
    assert "no ids that are known" in str(refused["kraken"])
    assert "1000 ms" in str(refused["bitstamp"])
    assert why_refused("other", TradeFacts()) is not None


@given(seed=st.integers(0, 2**32))
def test_pages_are_of_one_day_and_bounded_and_have_all_that_was_proven(seed: int) -> None:
    draw = random.Random(seed)
    at, found, buffer = draw.randrange(3 * DAY_MS), list[Proven](), PageBuffer(most=7)
    all_rows, begin = list[Trade](), at
    for _ in range(draw.randrange(1, 8)):
        length = draw.choice([0, 5, DAY_MS // 3, 2 * DAY_MS])
        times = sorted(draw.randrange(at, at + length) for _ in range(draw.randrange(20) if length else 0))
        trades = [Trade(id=str(draw.random()), timestamp=each, side=None, price=1.0, amount=1.0) for each in times]
        all_rows += trades
        found += buffer.add(Proven(at, at + length, trades))
        at += length
    found += buffer.rest()
    assert sorted(each.id or "" for part in found for each in part.trades) == sorted(each.id or "" for each in all_rows)
    assert merge(Range(each.since, each.until) for each in found) == merge([Range(begin, at)])
    for each in found:
        assert len(each.trades) <= 7
        day = date_of(each.since)
        assert all(date_of(trade.timestamp) == day for trade in each.trades)
        assert each.trades == sorted(each.trades, key=lambda trade: trade.timestamp)
        assert each.until <= (each.since // DAY_MS + 1) * DAY_MS


def test_rows_of_a_day_that_is_not_proven_are_sent_without_a_proof() -> None:
    late = Trade(id="1", timestamp=DAY_MS - 1, side=None, price=1.0, amount=1.0)
    assert list(parts_of(Proven(DAY_MS, DAY_MS + 5, [late]), 9)) == [
        Proven(0, 0, [late]),
        Proven(DAY_MS, DAY_MS + 5, []),
    ]


def test_a_trade_between_two_that_the_venue_has_lost_is_in_order_in_its_page() -> None:
    """It proves nothing, and the page before begins with the day."""
    trades = [
        Trade(id=str(id_), timestamp=DAY_MS + id_, side=None, price=1.0, amount=1.0) for id_ in (1, 2, 3, 5, 7, 8, 9)
    ]
    market, buffer = Market(trades, 10), PageBuffer()
    proven, _ = paged(by_id, market, Range(DAY_MS, DAY_MS + 9))
    sent = [part for each in proven for part in buffer.add(each)] + list(buffer.rest())
    assert sorted(each.id or "" for part in sent for each in part.trades) == ["1", "2", "3", "5", "7", "8"]
    for part in sent:
        assert part.trades == sorted(part.trades, key=lambda each: each.timestamp)
