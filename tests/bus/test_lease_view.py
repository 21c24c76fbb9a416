"""Whose turn a lease is, and who is woken by which change: pure state, without a broker."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.bus.lease_view import LeaseView

pytestmark = pytest.mark.pure

NAMES = st.lists(st.text("abcdef0123456789", min_size=1, max_size=6), min_size=1, max_size=6, unique=True)
KEYS = st.lists(st.text("kxyz.-", min_size=1, max_size=8), min_size=1, max_size=20, unique=True)


def views(names: list[str]) -> list[LeaseView]:
    """What each of several instances knows, once all have seen each other."""
    found = []
    for own in names:
        view = LeaseView(own)
        for other in names:
            if other != own:
                view.see_member(other, live=True)
        found.append(view)
    return found


@given(names=NAMES, keys=KEYS)
def test_of_all_instances_exactly_one_is_first_for_each_lease(names: list[str], keys: list[str]) -> None:
    for key in keys:
        assert sorted(view.rank(key) for view in views(names)) == list(range(len(names)))


@given(names=NAMES, keys=KEYS)
def test_a_newcomer_takes_leases_and_the_others_keep_theirs(names: list[str], keys: list[str]) -> None:
    before, after = views(names), views([*names, "newcomer"])
    rivals = frozenset(names)
    for key in keys:
        (first,) = [at for at, view in enumerate(before) if view.rank(key) == 0]
        (now,) = [at for at, view in enumerate(after) if view.rank(key) == 0]
        assert now in (first, len(names))
        # Only the newcomer can outrank the one that was first before.
        assert after[first].is_outranked(key, rivals) == (now == len(names))


async def test_a_change_of_one_lease_wakes_only_those_who_wait_for_it() -> None:
    view, never = LeaseView("one"), asyncio.Event()
    mine = asyncio.create_task(view.wait("mine", 60, never))
    other = asyncio.create_task(view.wait("other", 60, never))
    any_change = asyncio.create_task(view.changed())
    await asyncio.sleep(0)
    view.see_holder("mine", "two")
    await mine
    await any_change
    assert not other.done()
    view.see_member("two", live=True)
    await other


async def test_what_was_known_already_wakes_nobody() -> None:
    view = LeaseView("one")
    view.see_holder("mine", "two")
    view.see_member("two", live=True)
    waiting = asyncio.create_task(view.changed())
    await asyncio.sleep(0)
    view.see_holder("mine", "two")
    view.see_member("two", live=True)
    view.see_member("never", live=False)
    await asyncio.sleep(0)
    assert not waiting.done()
    view.see_holder("mine", None)
    await waiting


async def test_a_stop_ends_waiting() -> None:
    view, stop = LeaseView("one"), asyncio.Event()
    waiting = asyncio.create_task(view.wait("mine", 60, stop))
    await asyncio.sleep(0)
    stop.set()
    await waiting
