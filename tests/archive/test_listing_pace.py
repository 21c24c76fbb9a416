"""How often the files of an archive are listed for retention: hourly, when a day was closed, never all the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.archive.removing import EVERY_S, SHARE, ListingPace

pytestmark = pytest.mark.pure


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.01, 3.0, 60.0, 600.0]), st.booleans()), min_size=1, max_size=60))
def test_listing_takes_a_bounded_share_of_the_time_however_often_days_are_closed(
    passes: list[tuple[float, bool]],
) -> None:
    """`passes`: how long a listing takes then, and whether a day is closed at once after it."""
    pace, now, listing, last = ListingPace(), 0.0, 0.0, 0.0
    for took, closed in passes:
        while not pace.is_due(now):
            now += 1.0
        listing, last = listing + took, took
        pace.listed(now, now + took, EVERY_S)
        now += took
        if closed:
            pace.hurry()
    assert listing - last <= SHARE * now


def test_a_closed_day_has_files_listed_at_once_where_that_takes_no_time() -> None:
    pace = ListingPace()
    assert pace.is_due(5.0)
    pace.listed(5.0, 5.0, EVERY_S)
    assert not pace.is_due(6.0)
    assert pace.is_due(5.0 + EVERY_S)
    pace.hurry()
    assert pace.is_due(6.0)
    pace.listed(6.0, 8.0, EVERY_S)
    pace.hurry()
    assert not pace.is_due(7.9 + 2.0 / SHARE)
    assert pace.is_due(8.0 + 2.0 / SHARE)
