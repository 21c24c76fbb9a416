"""What a follower of a tape is told when retention was faster, or the broker is away or gone: never silence."""

from __future__ import annotations

import asyncio
import random

import nats.js.errors
import pytest

from support.wires import wire
from tape.places import OTHER_SUBJECT, TRADES_STREAM, owned
from tape.tape_ends import SUBJECT, TAPE, Reader, Writer, numbers
from tickwire.bus.connection import Bus, connect
from tickwire.errors import BadRequest, BrokerUnavailable
from tickwire.settings import NatsSettings
from tickwire.tape.reader import read_tape
from tickwire.tape.sequence import TapeMessage
from tickwire.tape.stored import StoredTape, find_position, read_pages
from tickwire.tape.writer import open_writer

pytestmark = pytest.mark.actors


async def test_what_retention_takes_between_two_pages_is_told(bus: Bus) -> None:
    await Writer(bus).write(*numbers(1, 600))
    found = []
    async for page in read_pages(bus, SUBJECT, 0):
        found += page
        if len(found) == 256:
            await bus.jetstream.purge_stream(TRADES_STREAM, keep=10)
    assert [each.data.decode() for each in found] == [*numbers(1, 256), *numbers(591, 600)]
    assert [each.data.decode() for each in found if each.skipped] == ["591"]


async def test_a_stream_that_is_made_anew_between_two_pages_is_told(bus: Bus) -> None:
    """The new one has come as far as the old one, and each of its messages names the one before it."""
    await Writer(bus).write(*numbers(1, 300))
    found = []
    async for page in read_pages(bus, SUBJECT, 0):
        found += page
        if len(found) == 256:
            await made_anew(bus)
            await Writer(bus).write(*(f"new {n}" for n in range(400)))
    assert [each.data.decode() for each in found] == [*numbers(1, 256), *(f"new {n}" for n in range(400))]
    assert [each.data.decode() for each in found if each.skipped] == ["new 0"]


async def test_a_stream_that_is_made_anew_while_it_is_compared_hides_nothing(
    bus: Bus, broker: str, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_at = StoredTape.at
    compared = False

    async def made_anew_after(stored: StoredTape, sequence: int) -> object:
        nonlocal compared
        found = await found_at(stored, sequence)
        if found is not None and found.data == b"old 2" and not compared:
            compared = True
            await made_anew(bus)
            await Writer(bus).write(*(f"new {n}" for n in range(9)))
        return found

    async with wire(broker) as line, connect(NatsSettings(url=line.url), name="follower") as follower:
        async with read_tape(follower, SUBJECT, reader.take, quiet_s=60) as following:
            writer = Writer(bus)
            await writer.write(*(f"old {n}" for n in range(3)))
            await reader.until_text("old 2")
            line.cut()
            await follower.lost.wait()
            await writer.write(*(f"old {n}" for n in range(3, 7)))
            monkeypatch.setattr(StoredTape, "at", made_anew_after)
            comparing = asyncio.create_task(following.catch_up())
            await line.mend()
            await reader.until_text("new 8")
            await comparing
    assert compared
    told = [(each.data.decode(), each.skipped) for each in reader.found]
    olds = [(f"old {n}", False) for n in range(3)]
    assert told == [*olds, ("new 0", True), *((f"new {n}", False) for n in range(1, 9))]


async def test_a_place_before_the_first_message_skips_nothing(bus: Bus) -> None:
    await Writer(bus, OTHER_SUBJECT).write(*numbers(1, 5))
    await Writer(bus).write(*numbers(1, 3))
    after, whole = await find_position(bus, SUBJECT, 0)
    assert not whole
    assert [each.skipped for page in [p async for p in read_pages(bus, SUBJECT, after)] for each in page] == [False] * 3


@pytest.mark.parametrize("missed", [0, 2])
async def test_a_subject_that_retention_emptied_says_whether_something_was_missed(
    bus: Bus, broker: str, reader: Reader, missed: int
) -> None:
    tape, _ = await open_writer(bus, TRADES_STREAM, TAPE, owned)
    async with wire(broker) as line, connect(NatsSettings(url=line.url), name="follower") as follower:
        async with read_tape(follower, SUBJECT, reader.take, quiet_s=60) as following:
            await tape.append(b"1")
            await reader.until_text("1")
            line.cut()
            for number in range(missed):
                await tape.append(b"missed %d" % number)
            await bus.jetstream.purge_stream(TRADES_STREAM)
            await tape.append(b"2")
            await line.mend()
            assert await reader.until_text("2") == ["1", "2"]
            await tape.append(b"3")
            await reader.until_text("3")
            assert following.skipped == (1 if missed else 0)
            assert [each.skipped for each in reader.found] == [False, bool(missed), False]


async def test_a_writer_that_does_not_know_what_was_there_is_taken_for_a_loss(bus: Bus, reader: Reader) -> None:
    async with read_tape(bus, SUBJECT, reader.take, quiet_s=60):
        await Writer(bus).write("1")
        await reader.until_text("1")
        await bus.jetstream.purge_stream(TRADES_STREAM)
        await Writer(bus).write("2", "3")
        await reader.until_text("3")
        assert [each.skipped for each in reader.found] == [False, True, False]


async def test_who_comes_back_to_an_emptied_subject_is_told(bus: Bus, reader: Reader) -> None:
    tape, _ = await open_writer(bus, TRADES_STREAM, TAPE, owned)
    had = await tape.append(b"1")
    await tape.append(b"2")
    await bus.jetstream.purge_stream(TRADES_STREAM)
    async with read_tape(bus, SUBJECT, reader.take, after=had):
        await tape.append(b"3")
        await reader.until_text("3")
    assert [each.skipped for each in reader.found] == [True]


async def test_a_connection_that_is_closed_ends_what_reads_the_tape(bus: Bus, broker: str) -> None:
    await Writer(bus).write("1")
    async with connect(NatsSettings(url=broker), name="reader") as closed:
        pass
    async with asyncio.timeout(100):
        with pytest.raises(BrokerUnavailable, match="closed"):
            await find_position(closed, SUBJECT, 0)
        with pytest.raises(BrokerUnavailable, match="closed"):
            await anext(read_pages(closed, SUBJECT, 0))


async def test_a_stream_that_is_not_there_is_not_waited_for(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickwire.tape.stored.OPEN_PATIENCE_S", 0.3)
    async with connect(NatsSettings(url=broker), name="test") as bus, asyncio.timeout(100):
        with pytest.raises(BrokerUnavailable, match="TRADES"):
            await find_position(bus, SUBJECT, 0)
        with pytest.raises(BrokerUnavailable, match="TRADES"):
            await anext(read_pages(bus, SUBJECT, 0))


async def test_subscriptions_that_end_while_the_broker_is_away_do_not_come_back_with_it(
    bus: Bus, broker: str, reader: Reader
) -> None:
    await Writer(bus).write("1")
    async with wire(broker) as line, connect(NatsSettings(url=line.url), name="follower") as follower:
        async with read_tape(follower, SUBJECT, reader.take, quiet_s=0.05):
            await reader.until_text("1")
            line.cut()
            await follower.lost.wait()
            async with asyncio.timeout(100):
                # It looks for messages meanwhile, by a subscription for the answer.
                while len(follower.client._subs) < 2:
                    await asyncio.sleep(0.01)
        assert follower.client._subs == {}
        await line.mend()
        async with asyncio.timeout(100):
            while follower.lost.is_set():
                await asyncio.sleep(0.05)
        await Writer(bus, OTHER_SUBJECT).write("other")
        writer = Writer(bus)
        writer.last = reader.found[-1].sequence
        await writer.write("2")
        await follower.client.flush()
        assert len(reader.found) == 1


async def last_of(bus: Bus) -> int:
    """The sequence that a writer finds before its next message."""
    try:
        return (await bus.jetstream.get_last_msg(TRADES_STREAM, TAPE)).seq or 0
    except nats.js.errors.NotFoundError:
        return 0


async def made_anew(bus: Bus) -> None:
    config = (await bus.jetstream.stream_info(TRADES_STREAM)).config
    await bus.jetstream.delete_stream(TRADES_STREAM)
    await bus.jetstream.add_stream(config)


@pytest.mark.parametrize("heard", [1, 3, 5])
@pytest.mark.parametrize("written", [1, 2, 4, 7])
async def test_a_stream_that_was_made_anew_hides_nothing_however_far_it_has_come(
    bus: Bus, broker: str, reader: Reader, heard: int, written: int
) -> None:
    """By the time that the follower is back it is behind, at, or beyond the place of the old one."""
    async with wire(broker) as line, connect(NatsSettings(url=line.url), name="follower") as follower:
        async with read_tape(follower, SUBJECT, reader.take, quiet_s=60):
            await Writer(bus).write(*(f"old {n}" for n in range(heard)))
            await reader.until_text(f"old {heard - 1}")
            line.cut()
            await follower.lost.wait()
            await made_anew(bus)
            await Writer(bus).write(*(f"new {n}" for n in range(written)))
            await line.mend()
            found = await reader.until_text(f"new {written - 1}")
    assert found == [*(f"old {n}" for n in range(heard)), *(f"new {n}" for n in range(written))]
    assert [each.skipped for each in reader.found] == [False] * heard + [True] + [False] * (written - 1)


async def test_a_writer_whose_stream_was_recreated_reports_no_loss_where_there_was_none(
    bus: Bus, reader: Reader
) -> None:
    """It named its last message in the old stream with each message, so that each looked like one after a hole."""
    tape, _ = await open_writer(bus, TRADES_STREAM, TAPE, owned)
    async with read_tape(bus, SUBJECT, reader.take, quiet_s=60):
        for text in numbers(1, 20):
            await tape.append(text.encode())
        await reader.until_text("20")
        await made_anew(bus)
        for text in numbers(21, 30):
            await tape.append(text.encode())
        await reader.until_text("30")
    assert [each.data.decode() for each in reader.found] == numbers(1, 30)
    assert [each.data.decode() for each in reader.found if each.skipped] == []


@pytest.mark.parametrize("seed", range(24))
async def test_whatever_happens_to_a_tape_nothing_is_missing_in_silence(
    bus: Bus, broker: str, reader: Reader, seed: int
) -> None:
    """Written, emptied, made anew and cut off in any order: each message once, in order, or a skip in its place."""
    draw = random.Random(seed)
    written: list[str] = []
    uncertain: set[str] = set()
    changed = False

    async def write(text: str) -> None:
        nonlocal changed
        headers = {"Nats-Expected-Last-Subject-Sequence": str(await last_of(bus))}
        await bus.jetstream.publish(TAPE, text.encode(), headers=headers)
        written.append(text)
        if changed:
            uncertain.add(text)
            changed = False

    async with wire(broker) as line, connect(NatsSettings(url=line.url), name="follower") as follower:
        async with read_tape(follower, SUBJECT, reader.take, quiet_s=0.5):
            await write("first")
            await reader.until_text("first")
            whole = True
            for number in range(25):
                match draw.choice(["write"] * 6 + ["purge", "anew", "cut", "mend", "others"]):
                    case "write":
                        await write(str(number))
                    case "others":
                        await bus.jetstream.publish(OTHER_SUBJECT, b"another feed's")
                    case "purge":
                        await bus.jetstream.purge_stream(TRADES_STREAM, keep=draw.choice([0, 0, 1, 2]))
                        changed = True
                    case "anew":
                        await made_anew(bus)
                        changed = True
                    case "cut" if whole:
                        line.cut()
                        await follower.lost.wait()
                        whole = False
                    case "mend" if not whole:
                        await line.mend()
                        whole = True
            if not whole:
                await line.mend()
            await write("last")
            await reader.until_text("last")
    found = [each.data.decode() for each in reader.found]
    places = [written.index(text) for text in found]
    assert places == sorted(set(places)), found
    for before, here, taped in zip(places, places[1:], reader.found[1:], strict=False):
        if here > before + 1:
            assert taped.skipped, (written[before : here + 1], written, found)
        elif taped.skipped:
            assert taped.data.decode() in uncertain, (taped, written, found)


async def test_a_message_that_cannot_be_taken_is_passed_over_and_the_next_one_says_so(bus: Bus, broker: str) -> None:
    """Live, and where it is read back."""
    found: list[TapeMessage] = []
    last = asyncio.Event()

    async def take(taped: TapeMessage) -> None:
        if taped.data.startswith(b"bad"):
            raise BadRequest("none of ours")
        found.append(taped)
        if taped.data == b"6":
            last.set()

    async with wire(broker) as line, connect(NatsSettings(url=line.url), name="follower") as follower:
        writer = Writer(bus)
        await writer.write("1", "bad 2")
        async with read_tape(follower, SUBJECT, take, back=5, quiet_s=60):
            await writer.write("bad 3", "3")
            while not found or found[-1].data != b"3":
                await asyncio.sleep(0.01)
            line.cut()
            await follower.lost.wait()
            await writer.write("4", "bad 5", "5")
            await line.mend()
            while found[-1].data != b"5":
                await asyncio.sleep(0.01)
            await writer.write("6")
            async with asyncio.timeout(60):
                await last.wait()
    assert [(each.data.decode(), each.skipped) for each in found] == [
        ("1", False),
        ("3", True),
        ("4", False),
        ("5", True),
        ("6", False),
    ]
    assert follower.undecodable.counts["md.trade"] == 3
