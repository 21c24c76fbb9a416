"""What of a range is missing, by certificates."""

from __future__ import annotations

import pytest

from tickwire.client.missing import Missing, missing, with_removed
from tickwire.model.messages.archive import ArchivedGap, Certificate
from tickwire.model.ranges import Range

pytestmark = pytest.mark.pure

DAY = 86_400_000
BEGIN = 20_000 * DAY


def day(watched: list[Range], gaps: list[tuple[int, int, str]]) -> Certificate:
    return Certificate(
        kind="candle",
        exchange="binance",
        symbol="BTC/USDT",
        date="2024-10-04",
        condition="partial",
        watched=watched,
        gaps=[ArchivedGap(since=since - 1, until=until, reason=reason) for since, until, reason in gaps],
    )


def test_each_time_that_is_missing_is_listed_once_with_all_reasons() -> None:
    """A gap in a time that was not watched, the same gap of two timeframes, and gaps of one reason that touch."""
    gaps = [(0, 10, "1m"), (0, 10, "1h"), (20, 30, "1m"), (25, 40, "1h"), (50, 55, "1m"), (55, 60, "1m")]
    found = missing(
        [
            day(
                [Range(BEGIN + 15, BEGIN + 90)],
                [(BEGIN + since, BEGIN + until, reason) for since, until, reason in gaps],
            )
        ],
        Range(BEGIN, BEGIN + 100),
    )
    assert [(each.since - BEGIN, each.until - BEGIN, each.reason) for each in found] == [
        (0, 10, "1m; 1h"),
        (10, 15, "not archived"),
        (20, 25, "1m"),
        (25, 30, "1m; 1h"),
        (30, 40, "1h"),
        (50, 60, "1m"),
        (90, 100, "not archived"),
    ]


def test_a_day_that_was_removed_meanwhile_is_listed_once() -> None:
    removed = "removed from the archive"
    found = with_removed([Missing(0, 10, removed), Missing(15, 25, "lost")], [Range(5, 20)])
    assert found == [Missing(0, 15, removed), Missing(15, 20, f"lost; {removed}"), Missing(20, 25, "lost")]
