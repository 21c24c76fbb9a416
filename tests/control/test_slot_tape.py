"""The tape of a slot: messages of all its feeds are in flight at once, and the next owner ends them all."""

from __future__ import annotations

import asyncio

import pytest

from tape.places import TRADES_STREAM, owned
from tickwire.bus.connection import Bus
from tickwire.errors import Fenced
from tickwire.model.feeds import Feed
from tickwire.model.subjects import tape_partition_of
from tickwire.streamer.control.slot_tape import open_slot_tape
from tickwire.tape.stored import read_pages
from tickwire.tape.subject_writer import SubjectWriter

pytestmark = pytest.mark.actors

SLOT = int(TRADES_STREAM.rpartition("-")[2])
SYMBOLS = [symbol for n in range(60) if tape_partition_of("binance", symbol := f"S{n}/USDT", 8) == SLOT]
FEEDS = [Feed("trade", "binance", symbol) for symbol in SYMBOLS]


async def texts(bus: Bus, public: str) -> list[str]:
    return [each.data.decode() async for page in read_pages(bus, public, 0) for each in page]


async def test_messages_of_all_feeds_of_a_slot_are_in_flight_at_once(bus: Bus) -> None:
    assert len(FEEDS) > 3
    stored: list[int | None] = []
    deltas = FEEDS[0].public.replace("md.trade.", "md.book_delta.", 1)
    async with open_slot_tape(bus, SLOT, owned) as tape:
        writers = [(await tape.open(feed.public))[0] for feed in FEEDS]
        of_deltas, _ = await tape.open(deltas)
        for number in range(50):
            for writer in writers:
                assert writer.append_now(b"%d" % number, stored.append)
        await of_deltas.append(b"delta")
        await writers[0].settled()
        last = await writers[-1].append(b"last")
    assert stored == list(range(last - 50 * len(FEEDS), last))
    for feed in FEEDS[:-1]:
        assert await texts(bus, feed.public) == [f"{number}" for number in range(50)]
    assert await texts(bus, deltas) == ["delta"]
    async with open_slot_tape(bus, SLOT, owned) as tape:
        _, data = await tape.open(FEEDS[-1].public)
        assert data == b"last"


async def test_a_slot_that_another_one_took_over_sends_nothing_more(bus: Bus) -> None:
    began, taken = asyncio.Event(), asyncio.Event()
    opened: list[SubjectWriter] = []

    async def former() -> None:
        async with open_slot_tape(bus, SLOT, owned) as tape:
            opened.extend([(await tape.open(feed.public))[0] for feed in FEEDS[:2]])
            assert opened[0].append_now(b"old", lambda _: began.set())
            await taken.wait()
            assert opened[1].append_now(b"zombie", lambda _: None)
            await asyncio.Event().wait()

    zombie = asyncio.create_task(former())
    await began.wait()
    async with open_slot_tape(bus, SLOT, owned) as tape:
        taken.set()
        with pytest.raises(Fenced):
            await zombie
        assert not opened[0].free()
        assert not opened[0].append_now(b"later", lambda _: None)
        writer, data = await tape.open(FEEDS[0].public)
        assert data == b"old"
        await writer.append(b"new")
    assert await texts(bus, FEEDS[0].public) == ["old", "new"]
    assert await texts(bus, FEEDS[1].public) == []
