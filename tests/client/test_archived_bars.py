"""Which bars of archived trades are complete."""

from __future__ import annotations

import numpy
import pytest

from tickwire.bars import Fold, rule_of
from tickwire.client.archived_frames import Archived, complete
from tickwire.client.missing import Missing
from tickwire.model.feeds import Feed
from tickwire.model.ranges import Range

pytestmark = pytest.mark.pure

HOUR = 3_600_000
BEGIN = 1_790_000_000_000 // HOUR * HOUR
FEED = Feed("trade", "binance", "BTC/USDT")


def completeness(by: str, times: list[float], since: float, until: float, *missing: tuple[float, float]) -> list[bool]:
    """Of the bars of trades of 1 at these times; all times are hours."""
    rule = rule_of("binance", by)
    fold = Fold(rule)
    columns = numpy.array([BEGIN + round(at * HOUR) for at in times]), numpy.ones(len(times)), numpy.ones(len(times))
    fold.take(*columns)
    ranges = [
        Range(BEGIN + round(one * HOUR), BEGIN + round(other * HOUR)) for one, other in [(since, until), *missing]
    ]
    found = Archived(FEED, ranges[0], [Missing(each.since, each.until, "") for each in ranges[1:]])
    made: list[bool] = complete(fold.result(), rule, found).tolist()
    return made


def test_an_interval_that_the_range_divides_is_not_complete() -> None:
    times = [0.6, 1.2, 2.5]
    assert completeness("1h", times, 0, 3) == [True, True, True]
    assert completeness("1h", times, 0.5, 3) == [False, True, True]
    assert completeness("1h", times, 0, 2.9) == [True, True, False]
    assert completeness("1M", times, 0, 3) == [False]


def test_what_an_interval_without_trades_lacks_is_not_missing_in_the_one_before() -> None:
    assert completeness("1h", [0.5, 3.5], 0, 4, (1, 2)) == [True, True]
    assert completeness("1h", [0.5, 3.5], 0, 4, (0.9, 2)) == [False, True]
    assert completeness("1h", [0.5, 3.5], 0, 4, (2.5, 3.1)) == [True, False]


def test_a_bar_that_trades_fill_lasts_until_the_next_one_begins() -> None:
    times = [0.1, 0.2, 1.1, 1.2, 2.1]
    assert completeness("ticks:2", times, 0, 3) == [True, True, False]
    assert completeness("ticks:2", times, 0, 3, (0.5, 0.6)) == [False, True, False]
    assert completeness("volume:2", times[:4], 0, 3) == [True, True]
    assert completeness("ticks:2", [], 0, 3) == []
