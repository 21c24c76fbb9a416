"""The cells of the heat map, compared with a count of every minute."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.messages import Certificate, Coverage
from tickwire.model.messages.archive import Condition
from tickwire.model.ranges import Range, merge
from tickwire.web.coverage import DAY_MS, first_day, row_of_feed, row_of_key

pytestmark = pytest.mark.pure

HOUR = 3_600_000
SINCE = 19_700 * DAY_MS
DAYS = 3
HOURS = DAYS * 24

verified = st.lists(
    st.tuples(st.integers(0, HOURS - 1), st.integers(1, HOURS)).map(
        lambda each: Range(SINCE + each[0] * HOUR, SINCE + min(HOURS, each[0] + each[1]) * HOUR)
    ),
    max_size=4,
).map(merge)


def coverage(ranges: list[Range], rows: Range | None) -> Coverage:
    return Coverage(
        exchange="okx",
        symbol="BTC/USDT",
        timeframe="1h",
        verified=ranges,
        first=None if rows is None else rows.since,
        last=None if rows is None else rows.until,
    )


@given(verified, st.integers(0, HOURS - 1), st.integers(0, HOURS - 1), st.integers(0, HOURS * 60))
def test_a_cell_says_what_is_known_of_each_hour_of_its_day(
    ranges: list[Range], first: int, last: int, minutes: int
) -> None:
    first, last = sorted((first, last))
    now = SINCE + minutes * 60_000
    found = coverage(ranges, Range(SINCE + first * HOUR, SINCE + last * HOUR))
    row = row_of_key(found, SINCE, DAYS, now)
    assert len(row.cells) == DAYS
    for day, cell in enumerate(row.cells):
        closed = [hour for hour in range(day * 24, day * 24 + 24) if SINCE + (hour + 1) * HOUR <= now]
        known = [any(each.since <= SINCE + hour * HOUR < each.until for each in ranges) for hour in closed]
        traded = day * 24 <= last and day * 24 + 24 > first
        if not closed:
            expected = "open" if SINCE + day * DAY_MS <= now else "unknown"
        elif not any(known):
            expected = "unknown"
        elif all(known):
            expected = (
                "quiet"
                if not traded
                else "complete"
                if len(closed) == 24 and now >= SINCE + (day + 1) * DAY_MS
                else "open"
            )
        else:
            # Of a day that has not ended, the newest candles may not be final.
            so_far = known == sorted(known, reverse=True) and now < SINCE + (day + 1) * DAY_MS
            expected = "open" if so_far else "gap"
        assert cell.state == expected
        if closed:
            assert cell.known == pytest.approx(sum(known) / len(closed))


def test_a_week_that_is_open_is_not_missing() -> None:
    found = Coverage(exchange="okx", symbol="BTC/USDT", timeframe="1w", verified=[Range(0, SINCE)], first=0, last=SINCE)
    row = row_of_key(found, SINCE - DAY_MS, 2, SINCE + DAY_MS)
    assert [each.state for each in row.cells] == ["complete", "open"]


def test_the_days_of_the_archive_are_as_their_certificates_say() -> None:
    day = [f"2023-12-{number:02}" for number in range(9, 15)]
    whole = int(datetime(2023, 12, 9, tzinfo=UTC).timestamp() * 1000)

    def certificate(number: int, condition: Condition, rows: int = 5) -> Certificate:
        begin = whole + number * DAY_MS
        return Certificate(
            kind="trade", exchange="okx", symbol="BTC/USDT", date=day[number], condition=condition, rows=rows,
            watched=[Range(begin, begin + DAY_MS // 2)],
        )  # fmt: skip

    found = [
        certificate(0, "complete"),
        certificate(1, "complete", rows=0),
        certificate(2, "gaps"),
        certificate(3, "missing"),
        certificate(5, "open"),
    ]
    row = row_of_feed("okx", "BTC/USDT", found, whole, 6)
    assert [each.state for each in row.cells] == ["complete", "quiet", "gap", "unknown", "unknown", "open"]
    assert (row.cells[2].known, row.cells[4].known) == (0.5, 0.0)


@given(st.dates(date(1971, 1, 1), date(2100, 1, 1)), st.integers(1, 120), st.integers(0, DAY_MS - 1))
def test_the_last_day_is_today_or_the_one_that_was_asked_for(until: date, days: int, past: int) -> None:
    today = int(datetime(2023, 12, 9, tzinfo=UTC).timestamp() * 1000)
    assert first_day(None, days, today + past) == today - (days - 1) * DAY_MS
    found = first_day(until, days, today + past) + (days - 1) * DAY_MS
    asked = int(datetime(until.year, until.month, until.day, tzinfo=UTC).timestamp() * 1000)
    assert found == max((days - 1) * DAY_MS, min(asked, today))
