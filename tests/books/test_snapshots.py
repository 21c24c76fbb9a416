"""How deep a snapshot of a book is asked for."""

from __future__ import annotations

import pytest

from tickwire.streamer.books.snapshots import levels_for

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(("depth", "levels"), [(1, 500), (20, 500), (250, 500), (251, 1000), (1000, 1000)])
def test_a_snapshot_has_at_least_twice_the_wanted_depth_if_the_exchange_gives_it(depth: int, levels: int) -> None:
    assert levels_for(depth, whole=False) == levels


def test_whoever_wants_the_changes_wants_the_whole_book() -> None:
    assert levels_for(1, whole=True) == 1000
