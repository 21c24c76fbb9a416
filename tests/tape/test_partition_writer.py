"""The writer of a partition: order, what is known to be stored, bounds, and hand-overs."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress

import pytest

from tape.partition import BTC, ETH, HANDOVER, STREAM, made, stored, texts, writing
from tickwire.bus import fast_ingest, publisher
from tickwire.bus.connection import Bus, connect
from tickwire.errors import BadRequest, Busy, Fenced
from tickwire.model import messages
from tickwire.model.feeds import Handover
from tickwire.model.feeds.layout import Place
from tickwire.settings import NatsSettings
from tickwire.tape import handover, partition_writer
from tickwire.tape.followers import HeldMessages
from tickwire.tape.partition_writer import PartitionWriter, open_partition_writer
from tickwire.tape.sequence import OWN_LAST, StreamMessage, stream_message_of
from tickwire.tape.stored import StoredTape
from tickwire.tape.writer import last_message

pytestmark = pytest.mark.actors
BOTH = pytest.mark.parametrize("batches", [True, False])


@pytest.fixture
async def lane(broker: str) -> AsyncIterator[Bus]:
    """A connection to a broker with one stream."""
    async with connect(NatsSettings(url=broker), name="owner") as bus:
        await made(bus)
        yield bus


@BOTH
async def test_what_is_appended_at_once_is_stored_in_order_at_the_predicted_sequences(lane: Bus, batches: bool) -> None:
    async with writing(lane, batches=batches) as writer:
        said = []
        for number in range(1000):
            subject = BTC if number % 3 else ETH
            said.append((writer.append(subject, b"%d" % number), subject, f"{number}"))
        assert writer.in_flight == 1000
        await writer.durable()
        assert (writer.in_flight, writer.durable_sequence) == (0, said[-1][0])
        assert writer.resent == 0
    assert await stored(lane) == said


async def test_each_message_names_the_one_before_it_on_its_subject(lane: Bus) -> None:
    received: list[StreamMessage] = []

    async def take(message: object) -> None:
        found = stream_message_of(message)  # type: ignore[arg-type]
        assert found is not None
        received.append(found)

    await lane.client.subscribe("md.trade.binance.BTC-USDT", cb=take)
    async with writing(lane) as writer:
        own = [writer.append(subject, b"x") for subject in (BTC, ETH, BTC, ETH, ETH, BTC)]
        await writer.durable()
    async with writing(lane) as writer:
        own.append(writer.append(BTC, b"x"))
    await lane.client.flush()
    btc = [own[0], own[2], own[5], own[6]]
    async with asyncio.timeout(100):
        while len(received) < 4:
            await asyncio.sleep(0.01)
    assert [(each.sequence, each.previous) for each in received] == list(zip(btc, [0, *btc], strict=False))
    found = [await lane.jetstream.get_msg(STREAM, sequence) for sequence in btc]
    assert [int((each.headers or {})[OWN_LAST]) for each in found] == [0, *btc[:-1]]


async def test_one_message_is_known_to_be_stored_soon_without_another(lane: Bus) -> None:
    """By a request that no subscriber of a feed hears."""
    heard: list[str] = []

    async def hear(message: object) -> None:
        heard.append(message.subject)  # type: ignore[attr-defined]

    await lane.client.subscribe("tape.trade.>", cb=hear)
    async with writing(lane) as writer:
        sequence = writer.append(BTC, b"1")
        async with asyncio.timeout(100):
            while writer.durable_sequence < sequence:
                await asyncio.sleep(0.01)
        assert writer.resent == 0
    assert await texts(lane) == ["1"]
    assert heard == [BTC]


async def test_a_batch_that_is_acknowledged_before_its_end_is_ended(lane: Bus) -> None:
    """The stream forgets a batch that gets no message for 10 s, and would refuse the next message of it."""
    ends: list[str] = []

    async def hear(message: object) -> None:
        if not message.data:  # type: ignore[attr-defined]
            ends.append(message.subject)  # type: ignore[attr-defined]

    await lane.client.subscribe(HANDOVER, cb=hear)
    async with writing(lane) as writer:
        for number in range(fast_ingest.FLOW):
            writer.append(BTC, b"%d" % number)
        async with asyncio.timeout(100):
            while writer.in_flight or not ends:
                await asyncio.sleep(0.01)
        sequence = writer.append(BTC, b"next")
        await writer.durable(sequence)
        assert writer.resent == 0


@BOTH
async def test_more_than_may_be_in_flight_waits_for_room(
    lane: Bus, batches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_writer, "MOST", 10)
    async with writing(lane, batches=batches) as writer:
        for number in range(100):
            if not writer.ready():
                with pytest.raises(Busy):
                    writer.append(BTC, b"too many")
                await writer.room()
            writer.append(BTC, b"%d" % number)
    assert await texts(lane) == [f"{number}" for number in range(100)]


async def test_a_message_that_the_broker_takes_from_nobody_is_refused_alone(lane: Bus) -> None:
    async with writing(lane) as writer:
        writer.append(BTC, b"1")
        with pytest.raises(BadRequest, match="too long"):
            writer.append(BTC, bytes(lane.client.max_payload))
        writer.append(BTC, b"2")
    assert await texts(lane) == ["1", "2"]


@BOTH
@pytest.mark.parametrize("late", [True, False])
async def test_a_new_owner_shuts_out_a_full_pipeline_of_the_former_one(
    lane: Bus, broker: str, batches: bool, late: bool
) -> None:
    """What the former one sends after the hand-over (`late`) or around it."""
    began, go = asyncio.Event(), asyncio.Event()
    old: list[str] = []

    def fill(writer: PartitionWriter) -> None:
        for _ in range(500):
            if writer.ready():
                old.append(f"old {len(old)}")
                writer.append(BTC, old[-1].encode())

    async def former() -> None:
        async with writing(lane, batches=batches) as writer:
            fill(writer)
            await writer.durable()
            began.set()
            await go.wait()
            with pytest.raises(Fenced):
                while True:
                    fill(writer)
                    await writer.room()
            with pytest.raises(Fenced):
                writer.append(BTC, b"later")

    async with connect(NatsSettings(url=broker), name="other") as other, asyncio.timeout(100):
        zombie = asyncio.create_task(former())
        await began.wait()
        if not late:
            go.set()
        async with writing(other) as writer:
            go.set()
            writer.append(BTC, b"new")
            await writer.durable()
            with pytest.raises(Fenced):
                await zombie
            writer.append(BTC, b"newer")
        found = await texts(other)
        assert found == [*old[: len(found) - 2], "new", "newer"]
        assert len(found) == 502 or not late


async def test_a_hand_over_is_on_no_public_subject_and_names_the_owner(lane: Bus) -> None:
    seen: list[str] = []

    async def take(message: object) -> None:
        seen.append(message.subject)  # type: ignore[attr-defined]

    await lane.client.subscribe("md.>", cb=take)
    async with writing(lane) as writer:
        writer.append(BTC, b"1")
    await lane.client.flush()
    last = await last_message(lane, STREAM, HANDOVER)
    assert last is not None
    assert messages.decode(last.data or b"", Handover).owner == "owner"
    async with asyncio.timeout(100):
        while not seen:
            await asyncio.sleep(0.01)
    assert seen == ["md.trade.binance.BTC-USDT"]


@pytest.mark.parametrize("amid", [False, True])
async def test_retention_that_empties_the_stream_does_not_confuse_its_writer(lane: Bus, amid: bool) -> None:
    async with writing(lane) as writer:
        first = writer.append(BTC, b"1")
        if not amid:
            await writer.durable()
        await lane.jetstream.purge_stream(STREAM)
        writer.append(BTC, b"2")
        await writer.durable()
        await lane.jetstream.purge_stream(STREAM)
        writer._doubt("a doubt with an empty stream")
        third = writer.append(BTC, b"3")
    async with writing(lane) as writer:
        fourth = writer.append(BTC, b"4")
    assert [text for _, _, text in await stored(lane)] == ["3", "4"]
    found = [await lane.jetstream.get_msg(STREAM, each) for each in (third, fourth)]
    assert [int((each.headers or {})[OWN_LAST]) for each in found] == [first + 1, third]


@pytest.mark.parametrize("after", [0, 1])
async def test_who_is_not_the_owner_writes_nothing(lane: Bus, after: int) -> None:
    """Not even if it learns of it only after its hand-over, which ends the owner's writer."""
    asked = 0

    async def confirm() -> None:
        nonlocal asked
        asked += 1
        if asked > after:
            raise Fenced("not the owner")

    async def begin() -> None:
        async with open_partition_writer(lane, STREAM, confirm):
            raise AssertionError("it began")

    with pytest.raises(Fenced) if after else nullcontext():
        async with writing(lane) as writer:
            writer.append(BTC, b"1")
            await writer.durable()
            with pytest.raises(Fenced, match="not the owner"):
                await begin()
            writer.append(BTC, b"2")
    async with writing(lane) as writer:
        writer.append(BTC, b"3")
    assert await texts(lane) == (["1", "3"] if after else ["1", "2", "3"])


async def test_a_reader_of_stored_messages_follows_the_subject(lane: Bus) -> None:
    async with writing(lane) as writer:
        for number in range(5):
            writer.append(BTC, b"%d" % number)
            writer.append(ETH, b"-")
    tape = StoredTape(lane, "md.trade.binance.BTC-USDT", Place(STREAM, BTC))
    newest = await tape.newest()
    assert newest is not None
    assert newest.previous is not None
    before = await tape.at(newest.previous)
    assert before is not None
    assert before.data == b"3"


async def test_a_hand_over_that_no_stream_stores_is_told_until_it_is_stored(
    lane: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As of a stream without a leader: the broker answers, and the slot has no tape."""
    monkeypatch.setattr(publisher, "SILENCE_S", 0.2)
    monkeypatch.setattr(handover, "SILENT_S", 0.2)
    config = (await lane.jetstream.stream_info(STREAM)).config
    await lane.jetstream.update_stream(config.evolve(subjects=["tape.trade.3.*.*"]))

    async def begin() -> None:
        async with writing(lane) as writer:
            writer.append(BTC, b"1")

    beginning = asyncio.create_task(begin())
    async with asyncio.timeout(20):
        while lane.publisher.storage_error() is None or "does not store the hand-over" not in caplog.text:
            await asyncio.sleep(0.05)
        await lane.jetstream.update_stream(config)
        await beginning
    assert lane.publisher.storage_error() is None
    assert await texts(lane) == ["1"]


async def test_an_owner_that_begins_while_the_former_one_writes_ends_it(lane: Bus, broker: str) -> None:
    """However fast it is: the hand-over expects no sequence."""
    stop, writes = asyncio.Event(), asyncio.Event()

    async def former() -> None:
        number = 0
        async with writing(lane) as writer:
            while not stop.is_set():
                writer.append(BTC, b"%d" % number)
                number += 1
                writes.set()
                await asyncio.sleep(0)
                await writer.room()

    async with connect(NatsSettings(url=broker), name="other") as other:
        task = asyncio.create_task(former())
        await writes.wait()
        async with writing(other) as writer:
            writer.append(BTC, b"new")
            await writer.durable()
            with pytest.raises(Fenced):
                await task
            stop.set()
        found = await texts(other)
        assert found == [*(f"{number}" for number in range(len(found) - 1)), "new"]


async def test_whoever_appended_to_a_writer_that_ended_is_freed(lane: Bus) -> None:
    """What is in flight, or held for a follower, refers to him, and garbage collection does not see it."""

    class Appender:
        def __init__(self, writer: PartitionWriter, held: HeldMessages) -> None:
            self.writer, self.held = writer, held
            self.told = asyncio.Event()

        def __call__(self, _: int) -> None:
            self.told.set()

    async def appended() -> weakref.ref[Appender]:
        held = HeldMessages()
        with suppress(ZeroDivisionError):
            async with writing(lane) as writer:
                appender = Appender(writer, held)
                with writer.followers.following(BTC, held):
                    writer.append(BTC, b"held", appender)
                    async with asyncio.timeout(100):
                        await appender.told.wait()
                writer.append(ETH, b"in flight", appender)
                raise ZeroDivisionError
        return weakref.ref(appender)

    freed = await appended()
    gc.collect()
    assert freed() is None
