"""What waits for a follower, held or left to be read: a model of one subject whose messages are stored one by one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickwire.tape import followers
from tickwire.tape.followers import Followers, HeldMessages
from tickwire.tape.pipeline import Entry

pytestmark = pytest.mark.pure


def entry(sequence: int, subject: str = "a", size: int = 1) -> Entry:
    return Entry(sequence, subject, sequence - 1, bytes(size))


@settings(max_examples=300)
@given(
    steps=st.lists(st.one_of(st.integers(1, 5), st.just("take")), max_size=80),
    stored=st.integers(0, 20),
    room=st.integers(0, 8),
)
def test_what_is_held_and_what_is_read_are_all_messages_in_order_once(
    steps: list[int | str], stored: int, room: int
) -> None:
    """Numbers are sizes of messages that become stored; so many are stored before. A reading takes all there are."""

    async def follow() -> None:
        held, last, newest = HeldMessages(lacks=0), 0, stored

        async def take() -> None:
            nonlocal last
            found = await held.next()
            if found is None:
                assert held.lacks is not None
                assert held.lacks <= newest
                held.lacks, last = None, newest
            elif found.sequence > last:
                assert found.sequence == last + 1, "what is held follows what was delivered"
                last = found.sequence

        for step in steps:
            if isinstance(step, int):
                newest += 1
                held.put(entry(newest, size=step))
            elif held.lacks is not None or last < newest:
                await take()
        while held.lacks is not None or last < newest:
            await take()
        assert last == newest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(followers, "HELD_BYTES", room)
        asyncio.run(follow())


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=50), room=st.integers(0, 200))
def test_no_more_is_held_than_there_is_room_for_and_one_message(sizes: list[int], room: int) -> None:
    async def fill() -> list[int]:
        held = HeldMessages()
        for number, size in enumerate(sizes, 1):
            held.put(entry(number, size=size))
        found: list[int] = []
        while len(found) < len(sizes) and (each := await held.next()) is not None:
            found.append(len(each.data))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(followers, "HELD_BYTES", room)
        found = asyncio.run(fill())
    assert found == sizes[: len(found)]
    assert sum(found[:-1]) <= room
    assert found == sizes or sum(found) >= room


@given(subjects=st.lists(st.sampled_from("abc"), max_size=30))
def test_each_follower_is_told_of_its_own_subject_and_whoever_appended_of_all(subjects: list[str]) -> None:
    done: list[int] = []

    async def tell() -> None:
        all_of = Followers()
        one, two, other = HeldMessages(), HeldMessages(), HeldMessages()
        with all_of.following("a", one), all_of.following("a", two), all_of.following("b", other):
            assert all_of
            all_of.stored([Entry(n, subject, 0, b"", done.append) for n, subject in enumerate(subjects, 1)])
        assert not all_of
        all_of.stored([entry(1)])
        for held, subject in ((one, "a"), (two, "a"), (other, "b")):
            for number in (n for n, each in enumerate(subjects, 1) if each == subject):
                found = await held.next()
                assert found is not None
                assert found.sequence == number

    asyncio.run(tell())
    assert done == list(range(1, len(subjects) + 1))
