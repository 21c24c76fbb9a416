"""A subject is followed by the process that writes it: each stored message once, in order, whatever happens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from support.wires import wire
from tape.places import TRADES_STREAM, place_of
from tape.slots import slot_tape
from tickwire.bus import embedded, streams
from tickwire.bus.connection import Bus, connect
from tickwire.model.feeds import Feed
from tickwire.model.subjects import tape_partition_of
from tickwire.settings import NatsSettings
from tickwire.streamer.control.slot_tape import SlotTape
from tickwire.tape import follow, followers, stored
from tickwire.tape.sequence import TapeMessage
from tickwire.tape.stored import read_pages
from tickwire.tape.subject_writer import SubjectWriter

pytestmark = pytest.mark.actors

SLOT = int(TRADES_STREAM.rpartition("-")[2])
SYMBOLS = [symbol for n in range(60) if tape_partition_of("binance", symbol := f"S{n}/USDT", 8) == SLOT]
ONE, TWO, THREE = [Feed("trade", "binance", symbol) for symbol in SYMBOLS[:3]]
END = b"end"


async def tape_of(bus: Bus, feed: Feed) -> list[tuple[int, bytes]]:
    """Sequence and payload of all that is stored of a feed."""
    return [(each.sequence, each.data) async for page in read_pages(bus, feed.public, 0) for each in page]


class Follower:
    """Follows a feed up to the message END."""

    def __init__(self, tape: SlotTape, feed: Feed, after: int) -> None:
        self.after = after
        self.found: list[TapeMessage] = []
        self.open = asyncio.Event()
        """Cleared while it does not take messages."""
        self.open.set()
        self.fails_at = -1
        """It fails at its so-many-th message."""
        self.task = asyncio.create_task(self._follow(tape, feed))

    async def _follow(self, tape: SlotTape, feed: Feed) -> None:
        async with aclosing(await tape.follow(feed.public, self.after)) as messages:
            async for message in messages:
                self.found.append(message)
                await self.open.wait()
                if len(self.found) == self.fails_at:
                    raise ZeroDivisionError
                if message.data == END:
                    return

    async def reached(self, count: int) -> None:
        async with asyncio.timeout(100):
            while len(self.found) < count:
                await asyncio.sleep(0.001)

    @property
    def told(self) -> list[tuple[int, bytes]]:
        return [(each.sequence, each.data) for each in self.found]

    @property
    def skips(self) -> list[bool]:
        return [each.skipped for each in self.found]


async def say(writer: SubjectWriter, data: bytes) -> None:
    """Append without waiting until it is stored, as soon as there is room."""
    while not writer.append_now(data, lambda _: None):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("seed", range(4))
async def test_whoever_joins_while_messages_flow_has_all_after_its_place_once(
    bus: Bus, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are slower than the messages, and hold little."""
    chance = random.Random(seed)
    monkeypatch.setattr(followers, "HELD_BYTES", chance.choice([100, 4 << 20]))
    async with asyncio.timeout(100), slot_tape(bus, ONE) as tape:
        feeds = [ONE, TWO, THREE]
        writers = [(await tape.open(feed.public))[0] for feed in feeds]
        following: list[tuple[Feed, Follower]] = []
        for number in range(1500):
            await say(chance.choice(writers), b"%d" % number)
            if number % 100 == 50:
                feed, newest = chance.choice(feeds), max(writer.sequence for writer in writers)
                # Anywhere in the stream, also where no message is stored yet.
                following.append((feed, Follower(tape, feed, chance.randrange(newest + 1))))
            if following and chance.random() < 0.05:
                is_open = chance.choice(following)[1].open
                (is_open.clear if is_open.is_set() else is_open.set)()
            if chance.random() < 0.2:
                await asyncio.sleep(chance.choice([0, 0, 0.001]))
        for writer in writers:
            await writer.append(END)
        for _, follower in following:
            follower.open.set()
            await follower.task
        for feed, follower in following:
            assert follower.told == [each for each in await tape_of(bus, feed) if each[0] > follower.after]
            assert not any(follower.skips)
        assert not tape.writers[TRADES_STREAM].followers


async def test_who_fails_or_is_slow_holds_up_no_other(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "HELD_BYTES", 1000)
    async with asyncio.timeout(100), slot_tape(bus, ONE) as tape:
        writer, _ = await tape.open(ONE.public)
        other, _ = await tape.open(TWO.public)
        failing, slow, well, neighbour = (Follower(tape, feed, 0) for feed in (ONE, ONE, ONE, TWO))
        await writer.append(b"first")
        await slow.reached(1)
        slow.open.clear()
        failing.fails_at = 100
        for number in range(2000):
            await say(writer, b"%d" % number)
            await say(other, b"%d" % number)
        await writer.append(END)
        await other.append(END)
        await well.task
        await neighbour.task
        with pytest.raises(ZeroDivisionError):
            await failing.task
        assert well.told == await tape_of(bus, ONE)
        assert neighbour.told == await tape_of(bus, TWO)
        assert len(slow.found) == 2, "it is at its second message"
        slow.open.set()
        await slow.task
        assert slow.told == well.told
        assert not any(slow.skips)


async def test_what_retention_takes_before_it_is_read_is_skipped(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what could not be held, and of what is read at first."""
    monkeypatch.setattr(followers, "HELD_BYTES", 10)
    async with asyncio.timeout(100), slot_tape(bus, ONE) as tape:
        writer, _ = await tape.open(ONE.public)
        first = await writer.append(b"first")
        slow = Follower(tape, ONE, 0)
        await slow.reached(1)
        slow.open.clear()
        for number in range(100):
            await writer.append(b"%03d" % number)
        await bus.jetstream.purge_stream(TRADES_STREAM, keep=2)
        await writer.append(END)
        slow.open.set()
        await slow.task
        late = Follower(tape, ONE, first)
        await late.task
        stored_now = await tape_of(bus, ONE)
        assert [data for _, data in stored_now] == [b"098", b"099", END]
        assert late.told == stored_now
        assert late.skips == [True, False, False]
        held = len(slow.found) - len(stored_now)
        early = [b"first", *(b"%03d" % number for number in range(held - 1))]
        assert [data for _, data in slow.told] == [*early, b"098", b"099", END]
        assert held < 10
        assert slow.skips == [False] * held + [True, False, False]


async def test_before_the_first_message_of_a_feed_nothing_is_skipped(bus: Bus) -> None:
    async with asyncio.timeout(100), slot_tape(bus, ONE) as tape:
        other, _ = await tape.open(TWO.public)
        after = await other.append(b"another feed's")
        writer, _ = await tape.open(ONE.public)
        follower = Follower(tape, ONE, after)
        await writer.append(b"first")
        await writer.append(END)
        await follower.task
        again = Follower(tape, ONE, after)
        await again.task
        assert follower.told == again.told == await tape_of(bus, ONE)
        assert not any([*follower.skips, *again.skips])


async def test_followers_go_on_after_the_broker_was_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that began meanwhile; and none waits for what is not stored."""
    monkeypatch.setattr(stored, "OPEN_PATIENCE_S", 0.2)
    async with asyncio.timeout(100), AsyncExitStack() as second, AsyncExitStack() as first:
        url = await first.enter_async_context(embedded.embedded(tmp_path / "nats"))
        async with connect(NatsSettings(url=url), name="test") as bus:
            await streams.declare(bus.jetstream, 8, 2.0)
            async with slot_tape(bus, ONE) as tape:
                writer, _ = await tape.open(ONE.public)
                other, _ = await tape.open(TWO.public)
                following = [(feed, Follower(tape, feed, 0)) for feed in (ONE, TWO)]
                await writer.append(b"first")
                await other.append(b"first")
                for _, follower in following:
                    await follower.reached(1)
                await first.aclose()
                await bus.lost.wait()
                for number in range(100):
                    await say(writer, b"%d" % number)
                    await say(other, b"%d" % number)
                following.append((ONE, late := Follower(tape, ONE, 0)))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await asyncio.shield(late.task)
                assert [len(follower.found) for _, follower in following] == [1, 1, 0]
                again = embedded.embedded(tmp_path / "nats", port=int(url.rpartition(":")[2]))
                await second.enter_async_context(again)
                await writer.append(END)
                await other.append(END)
                for feed, follower in following:
                    await follower.task
                    assert follower.told == await tape_of(bus, feed)
                    assert not any(follower.skips)


async def test_lost_acknowledgements_cost_followers_nothing(broker: str) -> None:
    async with (
        asyncio.timeout(100),
        wire(broker) as line,
        connect(NatsSettings(url=line.url), name="owner") as bus,
    ):
        await streams.declare(bus.jetstream, 8, 2.0)
        async with slot_tape(bus, ONE) as tape:
            writer, _ = await tape.open(ONE.public)
            follower = Follower(tape, ONE, 0)
            for turn in range(5):
                for number in range(300):
                    await say(writer, b"%d" % number)
                line.drop()
                while bus.disconnects == turn or bus.lost.is_set():
                    await asyncio.sleep(0.01)
            await writer.append(END)
            await follower.task
            assert follower.told == await tape_of(bus, ONE)
            assert len(follower.found) == 1501
            assert not any(follower.skips)


async def test_a_replica_that_lags_behind_hides_nothing(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not have yet is read again, because the leader has it."""
    answers = [0, 2, 3]

    async def lagging(bus: Bus, public: str, after: int, *, known: bool) -> AsyncGenerator[list[TapeMessage], None]:
        """Has only so many messages yet."""
        has = answers.pop(0) if answers else None
        async for page in read_pages(bus, public, 0, known=known):
            yield [each for each in page[:has] if each.sequence > after]

    monkeypatch.setattr(follow, "read_pages", lagging)
    async with asyncio.timeout(100), slot_tape(bus, ONE) as tape:
        writer, _ = await tape.open(ONE.public)
        for number in range(5):
            await writer.append(b"%d" % number)
        follower = Follower(tape, ONE, 0)
        await follower.reached(5)
        assert not answers
        await writer.append(END)
        await follower.task
        assert follower.told == await tape_of(bus, ONE)
        assert not any(follower.skips)


async def test_whoever_ends_is_told_of_nothing_more(bus: Bus) -> None:
    async with asyncio.timeout(100), slot_tape(bus, ONE) as tape:
        writer, _ = await tape.open(ONE.public)
        follower = Follower(tape, ONE, 0)
        await writer.append(b"first")
        await follower.reached(1)
        assert tape.writers[TRADES_STREAM].followers
        follower.task.cancel()
        await asyncio.wait({follower.task})
        assert not tape.writers[TRADES_STREAM].followers
        assert (await bus.jetstream.stream_info(place_of(ONE).stream)).state.consumer_count == 0
