"""Messages appended without waiting: each is stored once and in order, or its writer learns that it was overtaken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from support.hearing import Changing
from support.wires import Wire, wire
from tape.places import TRADES_STREAM
from tape.tape_ends import SUBJECT, TAPE
from tickwire.bus.connection import Bus, connect
from tickwire.errors import Fenced
from tickwire.settings import NatsSettings
from tickwire.tape.stored import read_pages
from tickwire.tape.writer import TapeWriter, open_writer

pytestmark = pytest.mark.actors


class Done(Changing):
    """What a writer said of its messages: a sequence, or None for one in doubt."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[int | None] = []

    def __call__(self, sequence: int | None) -> None:
        self.said.append(sequence)
        self.changed()


async def stored(bus: Bus) -> list[str]:
    return [each.data.decode() for page in [p async for p in read_pages(bus, SUBJECT, 0)] for each in page]


async def begun(bus: Bus) -> TapeWriter:
    """A writer whose first message is stored."""
    writer, _ = await open_writer(bus, TRADES_STREAM, TAPE)
    await writer.append(b"first")
    return writer


@asynccontextmanager
async def wired(broker: str) -> AsyncIterator[tuple[Wire, TapeWriter]]:
    """A writer, and the wire of its connection."""
    async with wire(broker) as line, connect(NatsSettings(url=line.url), name="wired") as far:
        yield line, await begun(far)


async def test_a_message_is_sent_at_once_and_done_when_it_is_stored(bus: Bus) -> None:
    writer, done = await begun(bus), Done()
    sent = bus.client.stats["out_msgs"]
    assert writer.append_now(b"second", done)
    assert bus.client.stats["out_msgs"] == sent + 1, "no turn of the loop was needed"
    assert not writer.append_now(b"too early", done)
    await done.until(lambda: bool(done.said))
    assert writer.free
    assert done.said == [writer.sequence]
    assert await stored(bus) == ["first", "second"]


async def test_nothing_is_sent_at_once_on_a_subject_without_messages(bus: Bus) -> None:
    writer, _ = await open_writer(bus, TRADES_STREAM, TAPE)
    assert not writer.append_now(b"fenced by nothing", Done())
    assert await writer.append(b"first") == writer.sequence


async def test_what_is_appended_next_waits_for_it(bus: Bus) -> None:
    writer, done = await begun(bus), Done()
    for number in range(50):
        assert writer.append_now(b"now %d" % number, done)
        await writer.append(b"then %d" % number)
    each = [f"{word} {number}" for number in range(50) for word in ("now", "then")]
    assert await stored(bus) == ["first", *each]
    assert len(done.said) == 50
    assert None not in done.said


async def test_a_message_that_did_not_arrive_is_sent_again(bus: Bus, broker: str) -> None:
    done = Done()
    async with wired(broker) as (line, writer):
        line.hold()
        assert writer.append_now(b"second", done)
        line.drop()
        await done.until(lambda: bool(done.said))
        assert done.said == [None]
        line.let_go()
        await writer.settled()
        assert done.said == [None, writer.sequence]
        await writer.append(b"third")
    assert await stored(bus) == ["first", "second", "third"]


async def test_a_message_that_arrived_unacknowledged_is_not_stored_twice(bus: Bus, broker: str) -> None:
    done = Done()
    async with wired(broker) as (line, writer):
        assert writer.append_now(b"second", done)
        async with asyncio.timeout(30):
            while await stored(bus) != ["first", "second"]:
                # The broker has it; its acknowledgement may be on the way, and is cut off or comes in time.
                line.drop()
        await writer.settled()
        await writer.append(b"third")
        assert done.said[-1:] == [writer.sequence - 1]
    assert await stored(bus) == ["first", "second", "third"]


async def test_a_late_message_of_an_overtaken_writer_is_refused(bus: Bus, broker: str) -> None:
    done = Done()
    async with wired(broker) as (line, writer):
        line.hold()
        assert writer.append_now(b"late", done)
        other, _ = await open_writer(bus, TRADES_STREAM, TAPE)
        await other.append(b"taken over")
        line.let_go()
        await done.until(lambda: bool(done.said))
        assert done.said == [None]
        with pytest.raises(Fenced):
            await writer.settled()
        with pytest.raises(Fenced):
            await writer.append(b"again")
    assert await stored(bus) == ["first", "taken over"]
