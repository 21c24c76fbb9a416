"""The order of turns for a lease, and which change wakes which contender: pure state, without a broker."""

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


STEPS = st.sampled_from(["open", "end", *"xyz"])
EVENTS = st.lists(st.tuples(st.sampled_from("ab"), STEPS, st.booleans()), max_size=30)


@given(events=EVENTS)
def test_a_lease_is_held_while_the_session_that_it_names_is_open(events: list[tuple[str, str, bool]]) -> None:
    """A claim names the instance's session, or the one before it: then it was long on its way."""
    view = LeaseView("one")
    sessions: dict[str, list[int]] = {"a": [0], "b": [0]}
    claims: dict[str, tuple[str, int]] = {}
    for number, (instance, event, late) in enumerate(events, start=1):
        known = sessions[instance]
        if event in ("open", "end"):
            known.append(number if event == "open" else 0)
            view.see_session(instance, known[-1])
        elif session := known[-2:][0] if late else known[-1]:
            claims[event] = (instance, session)
            view.see_holder(event, *claims[event])
        for key, (holder, session) in claims.items():
            assert view.holder(key) == (holder if sessions[holder][-1] == session else None)


async def test_the_end_of_a_session_wakes_those_who_wait_for_what_it_held() -> None:
    view, never = LeaseView("one"), asyncio.Event()
    view.see_session("two", 5)
    view.see_holder("its", "two", 5)
    view.see_holder("older", "two")
    its = asyncio.create_task(view.wait("its", 60, never))
    older = asyncio.create_task(view.wait("older", 60, never))
    await asyncio.sleep(0)
    view.see_session("two", 0)
    await its
    # An entry without a session does not end with one.
    assert not older.done()
    assert (view.holder("its"), view.holder("older")) == (None, "two")
    older.cancel()


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


async def test_a_change_before_the_task_of_a_waiter_begins_is_not_missed() -> None:
    view = LeaseView("one")
    waiting = asyncio.ensure_future(view.changed())
    view.see_member("two", live=True)
    async with asyncio.timeout(100):
        await waiting
