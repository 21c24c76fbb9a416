"""Pages of candles with the particulars of venues, and pages of trades with holes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.simulator.config import checked
from tickwire.simulator.market.candle_pages import PageStyle, candle_page
from tickwire.simulator.market.exchange import Exchange, Instrument
from tickwire.simulator.market.generated import Trades, joined
from tickwire.simulator.market.rows import newest, oldest, uuid_of

pytestmark = pytest.mark.pure

NOW = 1_750_000_030_500
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LISTED = NOW // DAY * DAY - 20 * DAY
EXCHANGE = Exchange(checked({"symbols": ["BTC/USDT"], "now": NOW, "listed": LISTED, "live_from": NOW - DAY,
                             "live_rate": 0.01}))  # fmt: skip
BTC: Instrument = EXCHANGE.instruments["BTCUSDT"]
assert BTC.history is not None
BY_ID = BTC.history.by_id


def opens(interval: str, start: int | None, end: int | None, limit: int, style: PageStyle) -> list[int]:
    return [int(row[0]) for row in candle_page(BTC, interval, (start, end), limit, NOW, style)]


def test_days_may_open_at_another_hour_and_are_sums_of_the_hours_within() -> None:
    style = PageStyle(opens_at=16 * HOUR)
    page = candle_page(BTC, "1d", (NOW - 5 * DAY, None), 3, NOW, style)
    assert [int(row[0]) % DAY for row in page] == [16 * HOUR] * 3
    hours = BTC.candles.page("1h", int(page[0][0]), int(page[0][0]) + DAY - 1, 24, NOW)
    assert (page[0][1], page[0][4]) == (hours[0][1], hours[-1][4])
    assert float(page[0][5]) == pytest.approx(sum(float(row[5]) for row in hours))
    assert page[0][6] == int(page[0][0]) + DAY - 1
    newest_ = opens("1d", None, None, 2, style)
    assert newest_[-1] <= NOW < newest_[-1] + DAY
    thursdays = opens("1w", NOW - 15 * DAY, None, 5, PageStyle(opens_at=3 * DAY))
    assert thursdays
    assert {(opened // DAY + 4) % 7 for opened in thursdays} == {4}


def test_quiet_intervals_may_have_no_row_and_the_open_candle_may_be_missing() -> None:
    start = NOW - 100 * MINUTE
    whole = candle_page(BTC, "1m", (start, None), 1_000, NOW, PageStyle())
    busy = candle_page(BTC, "1m", (start, None), 1_000, NOW, PageStyle(quiet=False))
    assert 0 < len(busy) < len(whole)
    assert busy == [row for row in whole if float(row[5]) > 0]
    closed = candle_page(BTC, "1m", (start, None), 1_000, NOW, PageStyle(open_candle=False))
    assert closed == whole[:-1]


def test_a_windowed_page_before_the_listing_is_empty_and_another_one_jumps_to_it() -> None:
    before = LISTED - 10 * DAY
    assert opens("1h", before, None, 5, PageStyle(windowed=True)) == []
    assert opens("1h", before, None, 5, PageStyle()) == [LISTED + hour * HOUR for hour in range(5)]
    across = opens("1h", LISTED - 2 * HOUR, None, 5, PageStyle(windowed=True))
    assert across == [LISTED + hour * HOUR for hour in range(3)]


def test_a_venue_may_give_its_newest_candles_whatever_is_asked_for() -> None:
    page = opens("1m", NOW - 5 * DAY, None, 5_000, PageStyle(newest=720))
    assert (len(page), page[-1]) == (720, NOW // MINUTE * MINUTE)


@given(
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 30)), max_size=5), st.integers(1, 50), st.integers(0, 100)
)
def test_pages_of_trades_leave_out_what_is_in_a_hole_and_are_full_otherwise(
    spans: list[tuple[int, int]], limit: int, first: int
) -> None:
    holes = [range(1 + start, 1 + start + length) for start, length in spans]
    first, end = 1 + first, 120
    kept = [id_ for id_ in range(first, end) if not any(id_ in hole for hole in holes)]

    def ids(trades: Trades) -> list[int]:
        return [int(id_) for id_ in trades.id]

    assert ids(newest(BY_ID, first, end, limit, holes)) == kept[-limit:]
    assert ids(oldest(BY_ID, first, end, limit, holes)) == kept[:limit]
    assert ids(joined([])) == []


def test_opaque_ids_are_the_same_again_and_unlike_each_other() -> None:
    ids = [uuid_of("BTCUSDT", number) for number in range(1_000)]
    assert len({*ids}) == 1_000
    assert ids[7] == uuid_of("BTCUSDT", 7) != uuid_of("ETHUSDT", 7)
    assert ids != sorted(ids)
