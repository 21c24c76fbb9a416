"""Distinguishes a wrong id from a new numbering."""

from __future__ import annotations

import pytest

from support.trading import START, trade
from tickwire.streamer.trades.renumbering import FAR, FOLLOWERS, RENUMBERED_MS, SLACK_MS, Arrived, BackwardIds, FarAhead

pytestmark = pytest.mark.pure


def arrived(number: int, timestamp: int, source: str = "live") -> Arrived:
    return Arrived(trade(number, timestamp=timestamp), 1, "rest" if source == "rest" else "live")


def test_several_lower_ids_in_a_row_that_are_later_prove_a_new_numbering() -> None:
    last, backward = trade(900, timestamp=START), BackwardIds()
    later = START + SLACK_MS + 1
    proven = [backward.add(number, arrived(number, later), last) for number in range(1, FOLLOWERS + 1)]
    assert proven == [False] * (FOLLOWERS - 1) + [True]
    assert backward.first == 1


def test_one_much_later_lower_id_suffices() -> None:
    assert BackwardIds().add(1, arrived(1, START + RENUMBERED_MS + 1), trade(900, timestamp=START))


def test_lower_ids_that_are_not_later_or_not_in_a_row_prove_nothing() -> None:
    last, backward = trade(900, timestamp=START), BackwardIds()
    assert not any(backward.add(number, arrived(number, START + SLACK_MS), last) for number in range(1, 20))
    assert not any(backward.add(number, arrived(number, START + SLACK_MS + 1), last) for number in range(1, 40, 2))
    assert len(backward.trades) == 1


@pytest.mark.parametrize(
    ("number", "source", "confirms"),
    [
        (1, "live", True),
        (FAR, "live", True),
        (FAR + 1, "live", False),
        (0, "live", False),
        (0, "rest", True),
        (-1, "rest", False),
    ],
)
def test_an_id_far_ahead_is_confirmed_by_a_close_successor_or_by_rest(number: int, source: str, confirms: bool) -> None:
    far = FarAhead()
    assert not far.is_confirmed_by(number, "rest")
    assert far.replace(1_000_000, arrived(1_000_000, START)) is None
    assert far.is_confirmed_by(1_000_000 + number, "rest" if source == "rest" else "live") is confirms


def test_an_earlier_id_far_ahead_gives_way_to_a_later_one_or_to_a_later_trade() -> None:
    far = FarAhead()
    first, second = arrived(1_000_000, START), arrived(2_000_000, START + 5)
    far.replace(1_000_000, first)
    assert far.replace(2_000_000, second) == (1_000_000, first)
    assert not far.is_contradicted_by(trade(5, timestamp=START + 5))
    assert far.is_contradicted_by(trade(5, timestamp=START + 6))
    assert far.take() == (2_000_000, second)
    assert not far
