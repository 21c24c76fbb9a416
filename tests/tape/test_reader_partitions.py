"""A tape that earlier versions have written without partitions is read to its end, and the partition after it."""

from __future__ import annotations

import asyncio

import pytest
from nats.js.api import RePublish, StorageType, StreamConfig

from support.wires import wire
from tape.places import BTC_SUBJECT, OTHER_SUBJECT, TRADES_STREAM, owned
from tape.tape_ends import SUBJECT, Reader, Writer, numbers
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.bus.requests import AGAIN_S
from tickwire.model.feeds.layout import Place, TapeLayout
from tickwire.settings import NatsSettings, TapeSettings
from tickwire.tape import stored
from tickwire.tape.former import fence_former
from tickwire.tape.layout import layout_of
from tickwire.tape.reader import read_tape
from tickwire.tape.stored import find_position, read_pages
from tickwire.tape.writer import open_writer

pytestmark = pytest.mark.actors

FORMER = "tape.trade.binance.BTC-USDT"


async def earlier_version(bus: Bus) -> None:
    """The stream of trades as it was made before there were partitions."""
    await bus.jetstream.add_stream(
        StreamConfig(
            name="TRADES",
            subjects=["tape.trade.*.*"],
            republish=RePublish(src="tape.trade.>", dest="md.trade.>"),
            storage=StorageType.FILE,
            max_bytes=64 << 20,
            allow_direct=True,
        )
    )


@pytest.fixture
async def upgraded(broker: str) -> tuple[str, list[int]]:
    """A broker with messages 1 to 300 of an earlier version, and the streams of this one; the sequences of those."""
    async with connect(NatsSettings(url=broker), name="former") as bus:
        await earlier_version(bus)
        writer = Writer(bus, FORMER)
        sequences = []
        for text in numbers(1, 300):
            await writer.write(text)
            sequences.append(writer.last)
            if int(text) % 10 == 0:
                await bus.jetstream.publish("tape.trade.binance.ETH-USDT", b"another feed's")
        await streams.declare(bus.jetstream, 8, 2.0)
        assert await layout_of(bus) == TapeLayout(8, former=True)
    return broker, sequences


async def texts(bus: Bus, after: int) -> list[str]:
    found = [each async for page in read_pages(bus, SUBJECT, after) for each in page]
    assert not any(each.skipped for each in found)
    return [each.data.decode() for each in found]


async def test_the_layout_is_what_the_broker_says(broker: str) -> None:
    async with connect(NatsSettings(url=broker), name="test") as bus:
        assert await layout_of(bus) == TapeLayout(0)
        await streams.declare(bus.jetstream, 8, 2.0, TapeSettings(partitions=3))
        assert await layout_of(bus) == TapeLayout(3)


async def test_all_partitions_have_the_room_that_was_set_in_all() -> None:
    for partitions, total in ((1, 1 << 30), (8, 1 << 30), (64, 1 << 28)):
        tape = TapeSettings(partitions=partitions, trades_bytes=total)
        found = [each for each in streams.declared(8, 1.0, tape) if (each.name or "").startswith("TRADES-")]
        assert len(found) == partitions
        assert sum(each.max_bytes or 0 for each in found) == total
    least = [each for each in streams.declared(8, 1.0, TapeSettings(trades_bytes=1 << 20)) if each.name == "TRADES-0"]
    assert [each.max_bytes for each in least] == [1 << 20]


@pytest.mark.parametrize("moved", [False, True])
async def test_an_earlier_position_leads_through_both_streams(upgraded: tuple[str, list[int]], moved: bool) -> None:
    url, sequences = upgraded
    async with connect(NatsSettings(url=url), name="test") as bus:
        if moved:
            await Writer(bus, OTHER_SUBJECT).write(*numbers(1, 20))
            await Writer(bus, BTC_SUBJECT).write(*numbers(301, 320))
        last = 320 if moved else 300
        assert await texts(bus, 0) == numbers(1, last)
        assert await texts(bus, sequences[99]) == numbers(101, last)
        assert await texts(bus, sequences[299]) == numbers(301, last)
        after, whole = await find_position(bus, SUBJECT, 1)
        assert not whole
        assert await texts(bus, after) == numbers(1, last)


@pytest.mark.parametrize("at", [0, 99, 299])
async def test_a_reader_with_an_earlier_position_goes_on_live_in_the_partition(
    upgraded: tuple[str, list[int]], reader: Reader, at: int
) -> None:
    url, sequences = upgraded
    async with connect(NatsSettings(url=url), name="test") as bus:
        await Writer(bus, BTC_SUBJECT).write(*numbers(301, 320))
        writer = Writer(bus, BTC_SUBJECT)
        writer.last = (await bus.jetstream.get_last_msg(TRADES_STREAM, BTC_SUBJECT)).seq or 0
        async with read_tape(bus, SUBJECT, reader.take, after=sequences[at]) as following:
            await reader.until_text("320")
            await writer.write("321")
            assert await reader.until_text("321") == numbers(at + 2, 321)
            assert following.skipped == 0


async def test_a_reader_is_there_while_the_feed_moves(upgraded: tuple[str, list[int]], reader: Reader) -> None:
    """An owner of this version fences the former one, then begins in the partition."""
    url, sequences = upgraded
    async with connect(NatsSettings(url=url), name="test") as bus:
        former = Writer(bus, FORMER)
        former.last = sequences[-1]
        async with read_tape(bus, SUBJECT, reader.take, back=5, quiet_s=60) as following:
            await former.write("301")
            writer, last = await open_writer(bus, TRADES_STREAM, BTC_SUBJECT, owned)
            assert last is None
            await fence_former(bus, SUBJECT, b"302", owned)
            for number in range(303, 320):
                await writer.append(b"%d" % number)
            assert await reader.until_text("319") == numbers(296, 319)
            assert following.skipped == 0
        with pytest.raises(Exception, match="wrong last sequence"):
            await former.write("zombie")


async def test_a_feed_that_an_older_writer_takes_back_is_read_once(
    upgraded: tuple[str, list[int]], reader: Reader
) -> None:
    """Whether a live message or a look for losses finds where it goes on."""
    url, sequences = upgraded
    async with connect(NatsSettings(url=url), name="test") as bus:
        former, partition = Writer(bus, FORMER), Writer(bus, BTC_SUBJECT)
        former.last = sequences[-1]
        async with read_tape(bus, SUBJECT, reader.take, after=sequences[-1], quiet_s=60) as following:
            for begin in range(301, 361, 20):
                await partition.write(*numbers(begin, begin + 9))
                await reader.until_text(f"{begin + 9}")
                await former.write(*numbers(begin + 10, begin + 19))
                await reader.until_text(f"{begin + 19}")
                await following.catch_up()
            await partition.write("361")
            assert await reader.until_text("361") == numbers(301, 361)
            assert following.skipped == 0


async def test_a_move_is_noticed_where_no_live_message_tells(upgraded: tuple[str, list[int]], reader: Reader) -> None:
    url, _ = upgraded
    async with (
        connect(NatsSettings(url=url), name="test") as bus,
        connect(NatsSettings(url=url), name="follower") as follower,
    ):
        async with read_tape(follower, SUBJECT, reader.take, quiet_s=0.1):
            await reader.until_text("300")
            deaf = next(each for each in follower.client._subs.values() if each.subject == SUBJECT)
            await follower.client._send_unsubscribe(deaf._id)
            await follower.client.flush()
            await Writer(bus, BTC_SUBJECT).write(*numbers(301, 310))
            assert await reader.until_text("310") == numbers(300, 310)


async def test_a_tape_of_an_earlier_version_that_was_removed_is_not_waited_for(
    upgraded: tuple[str, list[int]], reader: Reader
) -> None:
    url, _ = upgraded
    async with connect(NatsSettings(url=url), name="test") as bus:
        await bus.jetstream.delete_stream("TRADES")
        await Writer(bus, BTC_SUBJECT).write("301")
        async with read_tape(bus, SUBJECT, reader.take, back=5):
            assert await reader.until_text("301") == ["301"]


async def test_a_deleted_former_tape_is_forgotten_when_streams_are_declared(
    upgraded: tuple[str, list[int]],
) -> None:
    url, _ = upgraded
    async with connect(NatsSettings(url=url), name="test") as bus:
        await streams.forget_former(bus.jetstream)
    async with connect(NatsSettings(url=url), name="test") as bus:
        assert await layout_of(bus) == TapeLayout(8, former=True), "it is still there"
        await bus.jetstream.delete_stream("TRADES")
        await streams.forget_former(bus.jetstream)
    async with connect(NatsSettings(url=url), name="test") as bus:
        assert await layout_of(bus) == TapeLayout(8)
        await streams.declare(bus.jetstream, 8, 2.0)
        assert (await bus.jetstream.stream_info("TRADES-0")).config.allow_batched, "all else is as before"


async def test_a_former_tape_is_not_taken_for_deleted_while_its_broker_is_silent(
    upgraded: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "ANSWER_S", 0.05)
    async with wire(upgraded[0]) as line, connect(NatsSettings(url=line.url), name="test") as bus:
        line.hold()
        asking = asyncio.create_task(stored.StoredTape(bus, SUBJECT, Place("TRADES", FORMER)).exists())
        # Longer than it takes to find that a stream is deleted.
        await asyncio.wait({asking}, timeout=2 * stored.EXISTS_TRIES * (stored.ANSWER_S + AGAIN_S))
        assert not asking.done()
        monkeypatch.undo()
        line.let_go()
        assert await asking
        assert not await stored.StoredTape(bus, SUBJECT, Place("NONE", FORMER)).exists()


async def test_the_former_writer_is_fenced_though_no_server_answers_a_direct_get(
    upgraded: tuple[str, list[int]],
) -> None:
    """As while servers start: only the stream's leader knows whether there is anything to fence."""
    url, sequences = upgraded
    async with connect(NatsSettings(url=url), name="test") as bus:
        former = (await bus.jetstream.stream_info("TRADES")).config
        await bus.jetstream.update_stream(former.evolve(allow_direct=False))
        assert await stored.former_tape(bus, SUBJECT) is None
        await fence_former(bus, SUBJECT, b"301", owned)
        last = await bus.jetstream.get_last_msg("TRADES", FORMER)
        assert ((last.seq or 0) > sequences[-1], last.data) == (True, b"301")
        await bus.jetstream.delete_stream("TRADES")
        await fence_former(bus, SUBJECT, b"302", owned)
