"""Venues that have a row for each quiet interval: an absent one is not quiet, so that no single answer proves it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.fetcher.page_rows import parse
from tickwire.fetcher.pager import Pager
from tickwire.fetcher.paging_types import PageRequest, PagingFacts
from tickwire.model import timeframes
from tickwire.model.messages import Row
from tickwire.model.ranges import Range

pytestmark = pytest.mark.pure

MINUTE = 60_000
START = 1_514_800_800_000
GRID = timeframes.grid("1m")


def rows(minutes: Iterable[int]) -> list[Row]:
    return [(START + minute * MINUTE, 1.0, 1.0, 1.0, 1.0, 2.0) for minute in minutes]


def inside(minutes: Iterable[int], ask: PageRequest) -> list[Row]:
    """What a venue that honours `since` answers."""
    return [row for row in rows(sorted(minutes)) if ask.since is None or row[0] >= ask.since][: ask.limit]


def lasting_of(answers: tuple[set[int], ...]) -> set[int]:
    """What not even the last answer has."""
    return set(range(100)) - answers[-1]


def paged(facts: PagingFacts, count: int, *answers: set[int]) -> tuple[set[int], Pager, list[PageRequest]]:
    """The minutes proven by answers that have these minutes: the last ones whenever there are no others."""
    pager = Pager(GRID, Range(START, START + count * MINUTE), START + (count + 2) * MINUTE, facts)
    known: set[int] = set()
    asked: list[PageRequest] = []
    while (ask := pager.ask) is not None:
        assert len(asked) < 500, "it loops"
        has = answers[min(len(asked), len(answers) - 1)]
        asked.append(ask)
        for page in pager.take(parse(inside(has, ask) if ask.timeframe == "1m" else [], ask.timeframe, GRID)):
            known |= {(at - START) // MINUTE for at in range(page.since, page.until, MINUTE)}
            had = {(row[0] - START) // MINUTE for row in page.rows}
            # What is said not to be there, no later answer has.
            assert set(range((page.since - START) // MINUTE, (page.until - START) // MINUTE)) - had <= lasting_of(
                answers
            )
    return known, pager, asked


FLAT = PagingFacts(50, frozenset({"1m"}), honours_since=True, quiet_rows=True)


def test_a_row_that_one_answer_left_out_is_asked_for_and_had() -> None:
    """Without the profile's word it would have passed for a minute without a trade."""
    whole = set(range(22))
    known, pager, asked = paged(FLAT, 20, whole - {7, 8}, whole)
    assert known == set(range(20))
    assert pager.missing == []
    assert [ask.since for ask in asked] == [START, START + 7 * MINUTE]


def test_what_the_venue_itself_leaves_out_again_it_does_not_have() -> None:
    known, pager, asked = paged(FLAT, 20, set(range(22)) - {7, 8})
    assert known == set(range(20))
    assert pager.missing == []
    assert len(asked) == 2


def test_where_since_is_not_known_to_be_honoured_it_stays_missing() -> None:
    known, pager, _ = paged(PagingFacts(50, frozenset({"1m"}), quiet_rows=True), 20, set(range(22)) - {7, 8})
    assert known == set(range(20)) - {7, 8}
    assert pager.missing == [Range(START + 7 * MINUTE, START + 9 * MINUTE)]


@given(st.sets(st.integers(0, 59), max_size=30), st.sets(st.integers(0, 59), max_size=30))
def test_nothing_that_one_answer_left_out_and_the_next_one_has_is_lost(first: set[int], lasting: set[int]) -> None:
    """At its beginning or within it; what is left out for good is proven to be none, or missing."""
    whole = set(range(64))
    known, pager, _ = paged(FLAT, 60, whole - first - lasting, whole - lasting)
    gone = {(at - START) // MINUTE for gap in pager.missing for at in range(*gap, MINUTE)}
    assert known | gone == set(range(60))
    assert gone <= lasting
