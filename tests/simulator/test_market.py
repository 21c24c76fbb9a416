"""The generated market: one seed is one market, however it is looked at."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickwire.model import timeframes
from tickwire.simulator.config import SymbolConfig
from tickwire.simulator.market.aggregates import aggregates
from tickwire.simulator.market.candles import INTERVALS, DerivedCandles
from tickwire.simulator.market.generated import GeneratedTrades, Trades

pytestmark = pytest.mark.pure

LISTED = 1_700_000_040_000
SPEC = SymbolConfig("BTC/USDT", 60_000, "0.05", "0.0002", 0.01)
DAY = 86_400_000


def market(seed: int = 1, history_rate: int = 5) -> GeneratedTrades:
    return GeneratedTrades(seed, SPEC, LISTED, history_rate)


def rows(trades: Trades) -> list[tuple[Any, ...]]:
    columns = (trades.id, trades.agg, trades.timestamp, trades.price, trades.amount, trades.sell)
    return list(zip(*(each.tolist() for each in columns), strict=True))


def expected(trades: Trades, interval: str, since: int, until: int, before: Decimal | None) -> list[list[Any]]:
    """Candles by the definition: one loop over trades, decimals, no columns."""
    candles: list[list[Any]] = []
    entries = [
        (time, Decimal(price) / 100, Decimal(amount) / 10_000, sell) for _, _, time, price, amount, sell in rows(trades)
    ]
    opened = since
    while opened < until:
        following = timeframes.next_open(interval, opened)
        inside = [entry for entry in entries if opened <= entry[0] < following]
        prices = [price for _, price, _, _ in inside]
        if prices:
            before = prices[-1]
            candles.append(
                [opened, prices[0], max(prices), min(prices), prices[-1], sum(amount for _, _, amount, _ in inside),
                 sum(price * amount for _, price, amount, _ in inside), len(inside),
                 sum((amount for _, _, amount, sell in inside if not sell), Decimal(0))]
            )  # fmt: skip
        elif before is not None:
            candles.append([opened, *[before] * 4, 0, 0, 0, 0])
        opened = following
    return candles


def read(row: list[Any]) -> list[Any]:
    return [row[0], *map(Decimal, row[1:6]), Decimal(row[7]), row[8], Decimal(row[9])]


def test_the_same_seed_makes_the_same_market_and_another_seed_another() -> None:
    one, same, other = (market(seed).between(LISTED, LISTED + DAY) for seed in (1, 1, 2))
    assert rows(one) == rows(same)
    assert rows(one) != rows(other)


@given(st.integers(0, 40 * DAY), st.integers(0, DAY // 4), st.integers(1, 40))
def test_a_window_does_not_depend_on_what_was_looked_at_before(start: int, length: int, rate: int) -> None:
    since, until = LISTED + start, LISTED + start + length
    fresh = rows(market(history_rate=rate).between(since, until))
    looked = market(history_rate=rate)
    wide = looked.between(max(LISTED, since - DAY), until + DAY)
    assert fresh == [row for row in rows(wide) if since <= row[2] < until]
    assert rows(looked.by_id(fresh[0][0], fresh[-1][0] + 1) if fresh else looked.by_id(5, 5)) == fresh


def test_ids_count_from_one_and_times_never_go_back_across_changes_of_rate() -> None:
    made = market()
    made.set_rate(2.5, LISTED + DAY + 17)
    changed = made.set_rate(0.3, LISTED + DAY + 100_000)
    made.set_rate(20, changed + 50_000)
    trades = made.between(0, LISTED + DAY + 200_000)
    assert trades.id.tolist() == list(range(1, len(trades) + 1))
    assert (np.diff(trades.timestamp) >= 0).all()
    assert set(np.diff(trades.agg).tolist()) == {0, 1}


def test_a_change_of_rate_leaves_the_past_as_it_was_and_trades_at_the_new_rate() -> None:
    made, changed = market(), market()
    since = changed.set_rate(7, LISTED + DAY)
    assert rows(changed.between(0, since)) == rows(made.between(0, since))
    assert len(changed.between(since, since + 60_000)) == 420


def test_prices_are_on_the_tick_and_amounts_on_the_lot_and_neither_is_nothing() -> None:
    trades = market().between(LISTED, LISTED + 3 * DAY)
    assert not (trades.price % 5).any()
    assert not (trades.amount % 2).any()
    assert trades.price.min() > 0
    assert trades.amount.min() > 0


def test_the_price_moves_a_few_per_cent_in_a_day() -> None:
    made = market(history_rate=12)
    for day in range(0, 60, 7):
        prices = made.between(LISTED + day * DAY, LISTED + (day + 1) * DAY).price
        assert 1.005 < prices.max() / prices.min() < 1.25


def test_trades_of_an_aggregate_trade_share_time_price_and_side() -> None:
    made = market(history_rate=11)
    trades = made.by_id(1, 10_000)
    found = aggregates(trades)
    together = [rows(trades[first - 1 : last]) for first, last in zip(found.first_id, found.last_id, strict=True)]
    assert [row for each in together for row in each] == rows(trades)
    assert {len(each) for each in together} == {1, 2}
    for place, each in enumerate(together):
        assert {row[1:4] + row[5:] for row in each} == {
            (found.id[place], found.timestamp[place], found.price[place], found.sell[place])
        }
        assert sum(row[4] for row in each) == found.amount[place]
        assert made.id_of_aggregate(int(found.id[place])) == each[0][0]
    assert found.id.tolist() == list(range(1, len(found) + 1))


@settings(max_examples=30)
@given(st.integers(0, DAY), st.integers(1, 3_000), st.integers(1, 3_000), st.integers(0, 120_000))
def test_a_burst_is_its_number_of_trades_in_its_time_and_changes_nothing_else(
    start: int, count: int, ms: int, ahead: int
) -> None:
    calm, made = market(), market()
    for each in (calm, made):
        each.set_rate(3, LISTED + DAY // 2)
    since = LISTED + 1 + start
    changed = made.set_rate(11, since + ahead)
    burst = made.burst(count, ms, since)
    assert len(burst) == count
    assert since <= burst.timestamp[0] <= burst.timestamp[-1] < since + ms
    assert burst.agg.tolist() == list(range(burst.agg[0], burst.agg[0] + count))
    assert (np.diff(burst.sell) == 1).all()
    assert rows(made.between(0, since)) == rows(calm.between(0, since))
    after = max(changed, since + ms)
    everything = made.between(0, after + 10_000)
    assert everything.id.tolist() == list(range(1, len(everything) + 1))
    assert (np.diff(everything.timestamp) >= 0).all()
    assert set(np.diff(everything.agg).tolist()) == {0, 1}
    assert len(made.between(after, after + 10_000)) == 110
    found = aggregates(everything)
    for place in range(0, len(found), 97):
        assert made.id_of_aggregate(int(found.id[place])) == found.first_id[place]
    second = made.burst(count, ms, since)
    assert second.id[0] == burst.id[-1] + 1
    assert len(second) == count


@pytest.mark.parametrize("interval", INTERVALS)
def test_every_candle_is_what_its_trades_say(interval: str) -> None:
    made = market()
    made.set_rate(0.4, LISTED + 2 * DAY + 30_000)
    length = min(timeframes.duration_ms(interval) * 30, 4 * DAY)
    since = timeframes.ceil_open(interval, LISTED + 2 * DAY - length // 2)
    until = timeframes.ceil_open(interval, since + length)
    earlier = made.by_id(made.id_at(since) - 1, made.id_at(since))
    found = DerivedCandles(made).rows(interval, since, until, until)
    assert [read(row) for row in found] == expected(
        made.between(since, until), interval, since, until, Decimal(int(earlier.price[0])) / 100
    )
    assert [row[6] for row in found] == [timeframes.next_open(interval, int(row[0])) - 1 for row in found]


@settings(max_examples=60)
@given(
    st.sampled_from(["1s", "1m", "5m", "1h"]),
    st.integers(0, 2 * DAY),
    st.integers(1, 40),
    st.floats(0.02, 30),
    st.integers(0, 10**7),
)
def test_any_page_at_any_moment_is_what_the_trades_so_far_say(
    interval: str, start: int, limit: int, rate: float, ago: int
) -> None:
    made = market(history_rate=2)
    made.set_rate(rate, LISTED + DAY)
    now = LISTED + start + 1
    candles = DerivedCandles(made)
    # What was computed for a later moment must not show now.
    candles.page(interval, None, None, limit, now + 3_600_000)
    since = timeframes.ceil_open(interval, max(now - ago, timeframes.open_of(interval, LISTED)))
    page = candles.page(interval, since, None, limit, now)
    until = since
    while until <= now and timeframes.count(interval, since, until) < limit:
        until = timeframes.next_open(interval, until)
    earlier = made.by_id(made.id_at(since) - 1, made.id_at(since))
    before = Decimal(int(earlier.price[0])) / 100 if len(earlier) else None
    trades = made.between(since, min(until, now + 1))
    assert [read(row) for row in page] == (expected(trades, interval, since, until, before) if since <= now else [])


@given(st.integers(0, 2 * DAY), st.integers(1, DAY))
def test_a_window_of_any_length_is_one_candle_of_its_trades(start: int, length: int) -> None:
    made = market()
    since, until = LISTED + start, LISTED + start + length
    window = DerivedCandles(made).window(since, until, until)
    trades = made.between(since, until)
    if window is None:
        assert not len(trades)
        return
    assert (window.count, window.first_id, window.last_id) == (len(trades), trades.id[0], trades.id[-1])
    assert Decimal(window.volume) == Decimal(int(trades.amount.sum())) / 10_000
    assert Decimal(window.high) == Decimal(int(trades.price.max())) / 100


def test_a_page_from_before_the_listing_begins_at_the_first_candle() -> None:
    page = DerivedCandles(market()).page("1m", 0, None, 3, LISTED + DAY)
    assert [row[0] for row in page] == [LISTED // 60_000 * 60_000 + offset for offset in (0, 60_000, 120_000)]


def test_a_page_without_start_is_the_last_one_and_ends_with_the_open_candle() -> None:
    now = LISTED + DAY + 12_345
    page = DerivedCandles(market()).page("1m", None, None, 5, now)
    assert [row[0] for row in page] == [now // 60_000 * 60_000 - 60_000 * back for back in (4, 3, 2, 1, 0)]
