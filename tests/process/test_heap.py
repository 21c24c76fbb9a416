"""Full garbage collections pass over what survived an earlier one, and garbage among that is freed all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.process.heap import ENDED, FROZEN, OWNED, Remains

pytestmark = pytest.mark.pure

PREPARED = """
import asyncio, gc, weakref
from tickwire.process import heap

class Node:
    pass

def cycles(count):
    made = [Node() for _ in range(count)]
    for each in made:
        each.own = each
    return made

def full_collection():
    # As CPython begins one by itself.
    before = gc.get_stats()[2]["collections"]
    while gc.get_stats()[2]["collections"] == before:
        kept = [[] for _ in range(1_000)]
        held.append(kept)
    held.clear()

held = []
"""


def printed(code: str) -> str:
    """What a fresh interpreter prints: what is frozen in this one would stay so."""
    done = subprocess.run([sys.executable, "-c", PREPARED + code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_what_survives_a_full_collection_is_not_visited_again() -> None:
    code = """
async def main():
    with heap.ageing():
        kept = cycles(50_000)
        full_collection()
        visited = {id(each) for each in gc.get_objects()}
        print(sum(id(each) in visited for each in kept))
asyncio.run(main())
"""
    assert printed(code) == "0"


def test_cycles_that_owners_leave_when_they_end_do_not_accumulate() -> None:
    code = """
async def main():
    living = weakref.WeakSet()
    most = 0
    with heap.ageing() as ageing:
        for _ in range(40):
            made = cycles(100)
            living.update(made)
            full_collection()
            del made
            for _ in range(100):
                ageing.ended(80)
            # Two turns of the loop.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            most = max(most, len(living))
    print(most)
asyncio.run(main())
"""
    # 4,000 came and went. Until the full collection after the 250th end, three rounds and the newest one are left.
    assert int(printed(code)) <= ENDED + 200


def test_frozen_cycles_without_a_known_owner_do_not_accumulate() -> None:
    code = """
async def main():
    living = weakref.WeakSet()
    most = 0
    with heap.ageing():
        for _ in range(20):
            made = cycles(100_000)
            living.update(made)
            full_collection()
            del made
            await asyncio.sleep(0)
            most = max(most, len(living))
    print(most)
asyncio.run(main())
"""
    assert int(printed(code)) <= FROZEN + 100_000


def test_objects_that_take_the_place_of_others_do_not_gather() -> None:
    code = """
async def main():
    levels = {price: (float(price), 1.0) for price in range(5_000)}
    def young():
        return gc.get_stats()[0]["collections"]
    with heap.ageing():
        before = young()
        async with asyncio.timeout(60):
            # CPython sees no more objects than before: as many are freed as are made.
            while young() < before + 3:
                for price in range(500):
                    levels[price] = (float(price), 2.0)
                await asyncio.sleep(0.01)
    print("collected")
asyncio.run(main())
"""
    assert printed(code) == "collected"


def test_collection_is_left_as_it_was() -> None:
    code = """
async def main():
    before = gc.get_threshold(), len(gc.callbacks)
    with heap.ageing() as ageing:
        for _ in range(1_000):
            ageing.ended(0)
        full_collection()
    print((gc.get_threshold(), len(gc.callbacks)) == before)
    frozen = gc.get_freeze_count()
    await asyncio.sleep(0)
    print(gc.get_freeze_count() > frozen - 1_000)
asyncio.run(main())
"""
    assert printed(code).split() == ["True", "True"]


def test_owners_that_begin_are_no_garbage_and_all_that_ended_are_collected() -> None:
    code = """
async def main():
    living = weakref.WeakSet()
    everything = 0
    collect = heap.Heap._collect_everything
    def counted(self):
        nonlocal everything
        everything += 1
        collect(self)
    heap.Heap._collect_everything = counted
    with heap.ageing() as ageing:
        owners = []
        for _ in range(1_200):
            ageing.began()
            owners.append(cycles(500))
            if len(owners) % 100 == 0:
                full_collection()
                await asyncio.sleep(0)
        print(everything)
        for each in owners:
            living.update(each)
        del each
        while owners:
            # Some in each turn, with full collections among them.
            for _ in range(50):
                owners.pop()
                ageing.ended(len(owners))
            full_collection()
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        print(everything, len(living))
asyncio.run(main())
"""
    assert printed(code).split() == ["0", "1", "0"]


@given(
    frozen=st.integers(0, 2 * FROZEN),
    begun=st.integers(0, 1_000),
    ended=st.integers(0, 10_000),
    living=st.integers(0, 10_000),
)
def test_everything_is_collected_for_much_garbage_only(frozen: int, begun: int, ended: int, living: int) -> None:
    collectable = Remains(frozen, begun, ended, living).collectable
    is_unexplained = frozen >= FROZEN + OWNED * begun
    assert not (collectable and not is_unexplained and ended < ENDED)
    assert not (collectable and not is_unexplained and ended < 2 * living)
    # What is left uncollected is bounded: by objects, and by a share of what lives.
    assert collectable or (not is_unexplained and (ended < ENDED or ended < 2 * living))
