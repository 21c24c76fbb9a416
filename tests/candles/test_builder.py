"""Candles of trades, one rule a test: when one ends, what makes it incomplete, late or observed."""

from __future__ import annotations

from functools import reduce
from operator import add

import msgspec
import pytest

from candles.folded import DAY, START, begun, message, minutes, missing, run, trade
from tickwire.model.feeds import Gap
from tickwire.streamer.candles.builder import CandleBuilder, Ended, Late
from tickwire.streamer.candles.partial_candles import divides_a_day, grain_of

pytestmark = pytest.mark.pure


def test_a_minute_ends_with_the_first_trade_after_it() -> None:
    """The trade at the boundary itself is the next minute's."""
    said = run(begun("1m"), START, message(trade(0, 5.0), trade(59_999, 4.0, 0.5)), message(trade(60_000, 9.0)))
    assert minutes(said) == [(0, 1, (5.0, 5.0, 4.0, 4.0, 1.5, 2), True)]


def test_a_quiet_minute_ends_when_the_tape_says_that_it_is_complete() -> None:
    """Not a millisecond earlier."""
    buildings = begun("1m")
    assert run(buildings, START, message(trade(1_000)), message(until=59_999)) == []
    assert minutes(run(buildings, message(until=60_000), sequence=4)) == [(0, 1, (1.0, 1.0, 1.0, 1.0, 1.0, 1), True)]


def test_minutes_without_trades_are_observed_and_have_no_candle() -> None:
    """They are told together."""
    said = run(begun("1m"), START, message(trade(0)), message(trade(300_000)))
    assert minutes(said) == [(0, 1, (1.0, 1.0, 1.0, 1.0, 1.0, 1), True), (1, 5, None, True)]


def test_volumes_are_summed_as_the_decimals_they_are_written_as() -> None:
    """Ten times 0.1 is 1, which is not so for floats."""
    said = run(begun("1m"), START, message(*(trade(at, amount=0.1) for at in range(10))), message(until=60_000))
    assert minutes(said)[0][2] == (1.0, 1.0, 1.0, 1.0, 1.0, 10)
    # Since Python 3.12 `sum` makes up for what the additions lose.
    assert reduce(add, [0.1] * 10) != 1.0


def test_the_minute_within_which_it_began_is_incomplete() -> None:
    """Even when the first trade is at the minute's very start: others may have been before it in that millisecond."""
    for first in (0, 30_000):
        building = CandleBuilder.begin("1m", 0, 0)
        said = run({"1m": building}, message(trade(first)), message(trade(60_000)), message(until=120_000))
        assert [complete for _, _, _, complete in minutes(said)] == [False, True]


def test_a_tape_complete_up_to_a_boundary_makes_the_next_minute_complete() -> None:
    """As the trade feed does after each minute of a quiet market."""
    building = CandleBuilder.begin("1m", 0, 0)
    said = run({"1m": building}, message(until=60_000), message(trade(70_000)), message(until=120_000))
    assert minutes(said) == [(1, 2, (1.0, 1.0, 1.0, 1.0, 1.0, 1), True)]


def test_trades_before_the_first_interval_are_not_counted_and_not_late() -> None:
    """They prove that the tape reaches back far enough."""
    said = run(begun("1m"), message(trade(-70_000), trade(-1)), message(trade(0, 7.0)), message(until=60_000))
    assert said[0][1] == Ended(DAY, DAY + 60_000, said[0][1].bar, True)  # type: ignore[union-attr]
    assert minutes(said) == [(0, 1, (7.0, 7.0, 7.0, 7.0, 1.0, 1), True)]


def test_a_message_read_twice_counts_once() -> None:
    """By its sequence."""
    buildings = begun("1m")
    run(buildings, START, message(trade(0)))
    run(buildings, START, message(trade(0)), message(trade(1)))
    assert buildings["1m"].bar is not None
    assert buildings["1m"].bar.trades == 2


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        # Within the minute; to the next one; over whole minutes, of which nothing is known.
        (missing(10_000, 20_000), [(0, 1, False), (1, 3, True)]),
        (missing(10_000, 70_000), [(0, 1, False), (1, 2, False)]),
        (missing(10_000, 200_000), [(0, 1, False), (1, 3, False), (3, 4, False)]),
        # From a boundary on, and up to one: exclusive bounds.
        (missing(59_999, 120_000), [(0, 1, True), (1, 2, False), (2, 3, True)]),
        (missing(59_998, 60_001), [(0, 1, False), (1, 2, False)]),
        # Where trades are named, others of their millisecond may be missing.
        (
            msgspec.structs.replace(missing(59_999, 120_000), after_id="1", before_id="2"),
            [(0, 1, False), (1, 2, False), (2, 3, False)],
        ),
        # Unknown bounds: from the open minute on, and up to the trade that follows (at 3:20).
        (missing(None, 70_000), [(0, 1, False), (1, 2, False), (2, 3, True)]),
        (missing(10_000, None), [(0, 1, False), (1, 3, False), (3, 4, False)]),
        (missing(None, None), [(0, 1, False), (1, 3, False), (3, 4, False)]),
    ],
)
def test_what_a_gap_touches_is_incomplete(gap: Gap, expected: list[tuple[int, int, bool]]) -> None:
    """After a trade at 0:05, before one at 3:20."""
    for together in (True, False):
        messages = [message(trade(200_000), gap=gap)] if together else [message(gap=gap), message(trade(200_000))]
        said = run(begun("1m"), START, message(trade(5_000)), *messages, message(until=240_000))
        told = [(since, until, complete) for since, until, _, complete in minutes(said)]
        assert told[: len(expected)] == expected
        assert all(complete for _, _, complete in told[len(expected) :])


def test_a_gap_without_end_lasts_until_the_next_trade_whatever_gap_comes_before_it() -> None:
    """From 0:10 on nothing is known."""
    gaps = message(gap=missing(10_000, None)), message(gap=missing(70_000, 130_000))
    said = run(begun("1m"), START, message(trade(5_000)), *gaps, message(trade(200_000)))
    assert [(since, until, complete) for since, until, _, complete in minutes(said)] == [
        (0, 1, False),
        (1, 2, False),
        (2, 3, False),
    ]


def test_a_gap_that_reaches_into_an_interval_that_is_over_is_late() -> None:
    """Somebody said that it was complete, and was wrong."""
    said = run(begun("1m"), START, message(trade(5_000)), message(until=180_000), message(gap=missing(70_000, 190_000)))
    assert said[-1] == ("1m", Late(DAY + 60_000, DAY + 180_000, 0))


def test_timeframes_that_divide_a_day_are_built() -> None:
    """Weeks, months and three days begin elsewhere than a day."""
    names = ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M", "7m"]
    assert [name for name in names if not divides_a_day(name)] == ["3d", "1w", "1M", "7m"]
    assert grain_of(["15m", "1h", "4h"]) == 900_000
    assert grain_of(["6h", "8h"]) == 7_200_000
