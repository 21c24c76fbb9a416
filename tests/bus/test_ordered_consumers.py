"""What nats-py does by itself with ordered consumers, and what `tickwire.bus.ordered_consumers` does instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats.errors
import pytest
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, StreamConfig

from support.wires import wire
from tickwire.bus import ordered_consumers
from tickwire.bus.connection import connect
from tickwire.bus.natspy import BusClient
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

CREATE = "$JS.API.CONSUMER.CREATE."


class Unlucky(BusClient):
    """A client to which happens what happens to one of a busy cluster whose servers die."""

    lost = 0
    """So many messages of streams do not arrive."""
    answers_after_s = 0.0
    """How long the broker takes to make a consumer."""
    refusals = 0
    """So often a subscription cannot be sent."""

    def __init__(self) -> None:
        super().__init__()
        self._making: set[asyncio.Task[Msg]] = set()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if self.lost and reply.startswith(b"$JS.ACK."):
            self.lost -= 1
            return
        await super()._process_msg(sid, subject, reply, data, headers)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        if not subject.startswith(CREATE):
            return await super().request(subject, payload, timeout, old_style, headers)
        self._making.add(made := asyncio.create_task(self._made_late(subject, payload)))
        await asyncio.wait({made}, timeout=timeout)
        if not made.done():
            raise nats.errors.TimeoutError
        return made.result()

    async def _made_late(self, subject: str, payload: bytes) -> Msg:
        await asyncio.sleep(self.answers_after_s)
        return await super().request(subject, payload, timeout=5)

    async def _send_subscribe(self, sub: Subscription) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError("the socket is closed")
        await super()._send_subscribe(sub)


class Read:
    """Numbers of the messages of stream S, as they come to a callback that waits while `through` is not set."""

    def __init__(self, client: Unlucky, jetstream: JetStreamContext) -> None:
        self.client = client
        self.jetstream = jetstream
        self.numbers: asyncio.Queue[int] = asyncio.Queue()
        self.through = asyncio.Event()
        self.through.set()

    async def take(self, message: Msg) -> None:
        await self.through.wait()
        self.numbers.put_nowait(message.metadata.sequence.stream)

    async def open(self, *, watched: bool, start: int = 1) -> JetStreamContext.PushSubscription:
        config = ConsumerConfig(opt_start_seq=start, idle_heartbeat=1)
        policy = DeliverPolicy.BY_START_SEQUENCE
        consumer = await self.jetstream.subscribe(
            "s", stream="S", cb=self.take, ordered_consumer=True, deliver_policy=policy, config=config
        )
        if watched:
            ordered_consumers.watch(consumer)
        return consumer

    async def publish(self, count: int, size: int = 1) -> None:
        for _ in range(count):
            await self.jetstream.publish("s", b"x" * size)

    async def next(self, count: int) -> list[int]:
        return [await self.numbers.get() for _ in range(count)]

    async def forget_consumers(self) -> None:
        """Lose every consumer, as a server does that is restarted."""
        for each in await self.jetstream.consumers_info("S"):
            await self.jetstream.delete_consumer("S", each.name)


def heartbeats(consumer: JetStreamContext.PushSubscription) -> int:
    """How many heartbeats, and requests of flow control, arrived at a consumer that lost nothing."""
    state: Any = consumer._sub._jsi
    return int(consumer._sub._received - state._fciseq)


@asynccontextmanager
async def reading(broker: str) -> AsyncIterator[Read]:
    """A stream S, and a client for its consumers."""
    client = Unlucky()
    async with asyncio.timeout(60):
        await client.connect(broker)
        read = Read(client, client.jetstream())
        await read.jetstream.add_stream(StreamConfig(name="S", subjects=["s"]))
        try:
            yield read
        finally:
            await client.close()


async def test_a_consumer_made_again_before_its_first_message_keeps_its_start(broker: str) -> None:
    async with reading(broker) as read:
        await read.publish(3)
        for watched, found in ((False, [1, 2, 3]), (True, [4])):
            consumer = await read.open(watched=watched, start=4)
            state: Any = consumer._sub._jsi
            await state.reset_ordered_consumer(state._sseq + 1)
            if watched:
                await read.publish(1)
            assert await read.next(len(found)) == found
            await consumer.unsubscribe()


async def test_first_messages_that_did_not_arrive_are_delivered_again(broker: str) -> None:
    async with reading(broker) as read:
        for watched in (False, True):
            consumer = await read.open(watched=watched, start=1)
            read.client.lost = 2
            if not watched:
                await read.publish(2)
                while heartbeats(consumer) < 3:
                    # They say that two messages were sent.
                    await asyncio.sleep(0.05)
                assert read.numbers.empty()
            else:
                assert await read.next(2) == [1, 2]
            await consumer.unsubscribe()


async def test_a_later_message_that_did_not_arrive_is_delivered_again(broker: str) -> None:
    async with reading(broker) as read:
        await read.open(watched=True)
        await read.publish(2)
        assert await read.next(2) == [1, 2]
        read.client.lost = 2
        await read.publish(4)
        assert await read.next(4) == [3, 4, 5, 6]


async def test_the_broker_pauses_while_messages_wait_for_the_callback(broker: str) -> None:
    count = 150
    async with reading(broker) as read:
        await read.publish(count, 100_000)
        for watched in (False, True):
            read.through.clear()
            consumer = await read.open(watched=watched)
            # The first waits in the callback. Heartbeats of a paused consumer ask to go on.
            while heartbeats(consumer) < 5 and consumer._sub.pending_msgs < count - 1:
                await asyncio.sleep(0.05)
            assert (consumer._sub.pending_msgs < count // 2) is watched
            read.through.set()
            assert await read.next(count) == list(range(1, count + 1))
            await consumer.unsubscribe()


async def test_a_broker_that_takes_seconds_to_make_a_consumer_is_waited_for(broker: str) -> None:
    async with reading(broker) as read:
        await read.open(watched=True)
        read.client.answers_after_s = 3.5
        await read.forget_consumers()
        await read.publish(1)
        assert await read.next(1) == [1]


async def test_a_consumer_is_made_again_after_an_attempt_that_raised(broker: str) -> None:
    async with reading(broker) as read:
        await read.open(watched=True)
        read.client.refusals = 3
        await read.forget_consumers()
        await read.publish(1)
        assert await read.next(1) == [1]
        assert not read.client.refusals


async def test_a_consumer_that_is_unsubscribed_is_not_made_again(broker: str) -> None:
    async with reading(broker) as read:
        consumer = await read.open(watched=True)
        state: Any = consumer._sub._jsi
        assert len(ordered_consumers.heard_at(read.client)) == 1
        await state.reset_ordered_consumer(None)
        await consumer.unsubscribe()
        await asyncio.wait({state._hbtask})
        assert ordered_consumers.heard_at(read.client) == []


async def test_a_consumer_that_cannot_be_made_is_named_until_it_delivers(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire.bus.connection.DEAF_S", 3.0)
    monkeypatch.setattr(ordered_consumers, "CREATE_S", 1.0)
    heard = asyncio.Event()

    async def take(_message: Msg) -> None:
        heard.set()

    async with asyncio.timeout(60), wire(broker) as between, connect(NatsSettings(url=between.url), name="one") as bus:
        await bus.jetstream.add_stream(StreamConfig(name="S", subjects=["s"]))
        await bus.subscribe_ordered("s", "S", take)
        # Nobody answers, as while a cluster elects a leader.
        between.alter = lambda data: data.replace(CREATE.encode(), CREATE.replace("CREATE", "NOBODY").encode())
        (made,) = await bus.jetstream.consumers_info("S")
        await bus.jetstream.delete_consumer("S", made.name)
        while bus.silent_consumer() is None or between.sent.count(CREATE.encode()) < 3:
            await asyncio.sleep(0.05)
        between.alter = bytes
        await bus.jetstream.publish("s", b"")
        await heard.wait()
        assert bus.silent_consumer() is None
