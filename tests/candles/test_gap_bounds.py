"""The bounds within which trades may be missing, derived from a gap and its message."""

from __future__ import annotations

import pytest

from tickwire.model.feeds import Gap
from tickwire.streamer.candles.builder import GapBounds

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("gap", "first", "until", "bounds"),
    [
        # Between named trades, others of their milliseconds may be missing.
        (Gap(since=100, until=200, after_id="1", before_id="2"), None, None, (100, 200)),
        (Gap(since=100, until=200), None, None, (101, 199)),
        (Gap(since=100, until=200, after_id="1"), None, None, (100, 199)),
        # Without bounds of its own: from what was observed, to the message's first trade or its end.
        (Gap(since=None, until=None), 300, None, (50, 300)),
        (Gap(since=None, until=None), None, 300, (50, 299)),
        (Gap(since=100, until=101), None, None, None),
    ],
)
def test_the_times_that_a_gap_covers(
    gap: Gap, first: int | None, until: int | None, bounds: tuple[int, int] | None
) -> None:
    found = GapBounds()
    assert found.resolve(gap, 50, first, until) == bounds
    assert found.open_since is None


def test_a_gap_without_an_end_lasts_until_a_message_shows_it() -> None:
    found = GapBounds()
    assert found.resolve(Gap(since=100, until=None, after_id="1"), 50, None, None) is None
    assert found.open_since == 100
    assert found.resolve(None, 150, None, None) is None
    assert found.open_since == 100
    assert found.resolve(None, 150, 400, None) == (100, 400)
    assert found.open_since is None
