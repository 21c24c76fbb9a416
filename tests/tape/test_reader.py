"""Following a feed on a real broker: everything once, in order, whatever happens to the connection."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from nats.aio.subscription import Subscription

from support.wires import wire
from tape.places import OTHER_SUBJECT, TRADES_STREAM
from tape.tape_ends import SUBJECT, Reader, Writer, numbers
from tickwire.bus import embedded as embedded_broker
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.errors import BadRequest, BrokerUnavailable
from tickwire.settings import NatsSettings
from tickwire.tape.reader import read_tape
from tickwire.tape.sequence import SequenceCheck, TapeMessage, stamp_of

pytestmark = pytest.mark.actors

OTHER = OTHER_SUBJECT


async def test_what_was_there_comes_first_and_then_what_comes(bus: Bus, reader: Reader) -> None:
    writer, other = Writer(bus), Writer(bus, OTHER)
    for each in numbers(1, 5):
        await writer.write(each)
        await other.write(f"other {each}")
    async with read_tape(bus, SUBJECT, reader.take, back=3) as following:
        assert [each.data.decode() for each in reader.found] == ["3", "4", "5"]
        await writer.write("6", "7")
        assert await reader.until_text("7") == numbers(3, 7)
        assert [each.read_back for each in reader.found] == [True, True, True, False, False]
        assert not any(each.skipped for each in reader.found)
        assert (following.sequence, following.read_back, following.skipped) == (writer.last, 0, 0)
    await writer.write("8")
    await bus.client.flush()
    assert [each.data.decode() for each in reader.found] == numbers(3, 7)


@pytest.mark.parametrize(("back", "expected"), [(0, []), (1, ["3"]), (50, ["1", "2", "3"])])
async def test_one_chooses_how_much_of_what_was_there(bus: Bus, reader: Reader, back: int, expected: list[str]) -> None:
    writer = Writer(bus)
    await writer.write(*numbers(1, 3))
    async with read_tape(bus, SUBJECT, reader.take, back=back):
        await writer.write("4")
        assert await reader.until_text("4") == [*expected, "4"]


async def test_an_empty_tape_is_followed_from_its_first_message(bus: Bus, reader: Reader) -> None:
    async with read_tape(bus, SUBJECT, reader.take):
        await Writer(bus).write("1")
        assert await reader.until_text("1") == ["1"]


async def test_who_comes_back_goes_on_after_what_he_had(bus: Bus, reader: Reader) -> None:
    """More than a page of it, and what comes meanwhile is after it."""
    writer = Writer(bus)
    await writer.write(*numbers(1, 3))
    had = writer.last
    await writer.write(*numbers(4, 700))
    async with asyncio.TaskGroup() as group:
        group.create_task(writer.write(*numbers(701, 800)))
        async with read_tape(bus, SUBJECT, reader.take, after=had):
            assert (await reader.until_text("800"))[:796] == numbers(4, 799)
    async with read_tape(bus, SUBJECT, reader.take, after=writer.last):
        await writer.write("801")
        assert await reader.until_text("801") == numbers(4, 801)


async def test_the_place_of_another_feeds_message_is_one_in_the_stream(bus: Bus, reader: Reader) -> None:
    """The feed had no message since: it is not read again from its beginning."""
    writer, other = Writer(bus), Writer(bus, OTHER_SUBJECT)
    await writer.write("1", "2")
    await other.write("other")
    async with read_tape(bus, SUBJECT, reader.take, after=other.last):
        await writer.write("3")
        assert await reader.until_text("3") == ["3"]
        assert not any(each.skipped for each in reader.found)


async def test_a_number_of_another_stream_is_no_place_in_this_one(bus: Bus, reader: Reader) -> None:
    await Writer(bus).write("1", "2")
    async with read_tape(bus, SUBJECT, reader.take, after=1_000_000):
        assert await reader.until_text("2") == ["1", "2"]


async def test_what_a_slow_reader_had_no_room_for_is_read_back_in_order(bus: Bus, reader: Reader) -> None:
    """Also the end of it, which no later message gives away."""
    writer = Writer(bus)
    reader.open.clear()
    async with read_tape(bus, SUBJECT, reader.take, held=16, quiet_s=60) as following:
        await writer.write(*numbers(1, 500))
        await bus.client.flush()
        reader.open.set()
        assert await reader.until_text("500") == numbers(1, 500)
        assert following.read_back >= 400
        assert following.skipped == 0
        await writer.write("501")
        assert await reader.until_text("501") == numbers(1, 501)


async def test_what_was_published_while_the_connection_was_cut_is_read_back(
    broker: str, bus: Bus, reader: Reader
) -> None:
    """Three times; nothing comes afterwards that would give it away."""
    writer = Writer(bus)
    async with wire(broker) as line, connect(NatsSettings(url=line.url), name="follower") as follower:
        async with read_tape(follower, SUBJECT, reader.take, quiet_s=60) as following:
            for turn in range(3):
                await writer.write(*numbers(turn * 100 + 1, turn * 100 + 50))
                line.cut()
                await writer.write(*numbers(turn * 100 + 51, turn * 100 + 100))
                await line.mend()
                assert await reader.until_text(f"{turn * 100 + 100}") == numbers(1, turn * 100 + 100)
            assert following.read_back >= 3 * 50
            assert following.skipped == 0


async def deafened(bus: Bus, reader: Reader, writer: Writer) -> Subscription:
    """After a first message the broker's client takes away the subscription, which nothing announces."""
    await writer.write("1")
    await reader.until_text("1")
    deaf = next(each for each in bus.client._subs.values() if each.subject == SUBJECT)
    await bus.client._send_unsubscribe(deaf._id)
    return deaf


async def test_a_hole_in_the_middle_is_read_back_before_what_came_after_it(bus: Bus, reader: Reader) -> None:
    """The subscription is given back, which nothing announces either."""
    writer = Writer(bus)
    async with read_tape(bus, SUBJECT, reader.take, quiet_s=60):
        deaf = await deafened(bus, reader, writer)
        await writer.write(*numbers(2, 9))
        await bus.client._send_subscribe(deaf)
        await bus.client.flush()
        await writer.write("10")
        assert await reader.until_text("10") == numbers(1, 10)
        assert [each.read_back for each in reader.found[:9]] == [False, *[True] * 8]


async def test_after_a_silence_the_tape_is_asked(bus: Bus, reader: Reader) -> None:
    writer = Writer(bus)
    async with read_tape(bus, SUBJECT, reader.take, quiet_s=0.2):
        await deafened(bus, reader, writer)
        await writer.write("2", "3")
        assert await reader.until_text("3") == numbers(1, 3)


async def test_a_broker_that_restarts_loses_nothing(tmp_path: Path, reader: Reader) -> None:
    """What others write after the restart may be there before we are back."""
    async with AsyncExitStack() as server:
        url = await server.enter_async_context(embedded_broker.embedded(tmp_path / "nats"))
        port = int(url.rpartition(":")[2])
        async with wire(url) as line, connect(NatsSettings(url=line.url), name="follower") as follower:
            await streams.declare(follower.jetstream, 8, 2.0)
            writer = Writer(follower)
            await writer.write(*numbers(1, 20))
            async with read_tape(follower, SUBJECT, reader.take, back=100, quiet_s=60) as following:
                await writer.write(*numbers(21, 40))
                await reader.until_text("40")
                line.cut()
                await server.aclose()
                await server.enter_async_context(embedded_broker.embedded(tmp_path / "nats", port=port))
                async with connect(NatsSettings(url=url), name="writer") as bus:
                    writer.bus = bus
                    await writer.write(*numbers(41, 60))
                    await line.mend()
                    assert await reader.until_text("60") == numbers(1, 60)
                    await writer.write("61")
                    assert await reader.until_text("61") == numbers(1, 61)
                assert following.read_back >= 20


async def test_a_stream_made_anew_is_followed_from_its_beginning(bus: Bus, reader: Reader) -> None:
    await Writer(bus).write(*numbers(1, 30))
    async with read_tape(bus, SUBJECT, reader.take, back=100, quiet_s=60):
        await bus.jetstream.delete_stream(TRADES_STREAM)
        await streams.declare(bus.jetstream, 8, 2.0)
        await Writer(bus).write("a", "b", "c")
        assert await reader.until_text("c") == [*numbers(1, 30), "a", "b", "c"]


async def test_what_is_no_longer_kept_is_told(bus: Bus, reader: Reader) -> None:
    writer = Writer(bus)
    async with read_tape(bus, SUBJECT, reader.take, quiet_s=60) as following:
        deaf = await deafened(bus, reader, writer)
        await writer.write(*numbers(2, 9))
        await bus.jetstream.purge_stream(TRADES_STREAM, keep=4)
        await bus.client._send_subscribe(deaf)
        await bus.client.flush()
        await writer.write("10")
        assert await reader.until_text("10") == ["1", *numbers(6, 10)]
        assert [each.skipped for each in reader.found] == [False, True, False, False, False, False]
        assert following.skipped == 1


async def test_of_a_book_the_newest_is_enough(bus: Bus, reader: Reader) -> None:
    """Only the newest message of a book is kept."""
    writer = Writer(bus, "tape.book.binance.BTC-USDT")
    await writer.write("1", "2")
    reader.open.clear()
    async with read_tape(bus, "md.book.binance.BTC-USDT", reader.take, back=0, held=4, quiet_s=60) as following:
        await writer.write(*numbers(3, 100))
        await bus.client.flush()
        reader.open.set()
        found = await reader.until_text("100")
        assert len(found) < 10
        assert found == sorted(found, key=int)
        assert following.skipped >= 1


async def test_a_message_that_the_tape_did_not_say_is_not_handed_on(bus: Bus, reader: Reader) -> None:
    """Anyone may publish on a public subject; only the broker's republish carries a place in the stream."""
    async with read_tape(bus, SUBJECT, reader.take):
        await bus.client.publish(SUBJECT, b"forged")
        await Writer(bus).write("1")
        assert await reader.until_text("1") == ["1"]


async def test_a_bug_of_the_reader_is_raised(broker: str) -> None:
    class Bug(Exception):
        pass

    async def take(message: TapeMessage) -> None:
        raise Bug

    with pytest.raises(Bug):
        async with connect(NatsSettings(url=broker), name="test") as bus:
            await streams.declare(bus.jetstream, 8, 2.0)
            async with read_tape(bus, SUBJECT, take):
                await Writer(bus).write("1")
                await asyncio.Event().wait()


@pytest.mark.parametrize("subject", ["tape.trade.a.B", "md.trade.*.B", "md.trade.>", "md.stored.a.B.1m", "md"])
async def test_only_the_public_subject_of_one_feed_can_be_followed(bus: Bus, reader: Reader, subject: str) -> None:
    with pytest.raises(BadRequest, match="such as md"):
        async with read_tape(bus, subject, reader.take):
            pass


async def test_without_its_stream_a_feed_cannot_be_followed(
    broker: str, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.tape.stored.OPEN_PATIENCE_S", 0.3)
    async with connect(NatsSettings(url=broker), name="test") as bus:
        with pytest.raises(BrokerUnavailable, match="TRADES"):
            async with read_tape(bus, SUBJECT, reader.take):
                pass


def test_time_stamps_compare_as_texts() -> None:
    """nats-server leaves trailing zeros away."""
    ends = ("00Z", "00.000000001Z", "00.5Z", "01Z")
    stamps = [stamp_of(f"2026-01-01T00:00:{end}") for end in ends]
    assert sorted(stamps) == stamps
    assert len(set(stamps)) == 4


def test_a_clock_set_back_makes_no_new_stream_of_a_repetition() -> None:
    chain = SequenceCheck()
    chain.advance(1, stamp_of("2026-01-01T00:00:05Z"))
    chain.advance(2, stamp_of("2026-01-01T00:00:03Z"))
    assert not chain.is_another_stream(1, stamp_of("2026-01-01T00:00:05Z"))
    assert chain.is_another_stream(1, stamp_of("2026-01-01T00:00:06Z"))
