"""What nats-py's `fetch` of a pull consumer loses, and `tickwire.bus.pull` does not."""

from __future__ import annotations

import asyncio
import time

import nats.errors
import nats.js.errors
import pytest
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.client import JetStreamContext

from tickwire.bus.connection import Bus
from tickwire.bus.pull import fetch

pytestmark = pytest.mark.actors

PullSubscription = JetStreamContext.PullSubscription


async def consumer_of(bus: Bus, name: str) -> PullSubscription:
    await bus.jetstream.add_stream(StreamConfig(name=name, subjects=[name]))
    await bus.jetstream.add_consumer(name, ConsumerConfig(durable_name=name, ack_policy=AckPolicy.EXPLICIT))
    return await bus.jetstream.pull_subscribe_bind(durable=name, stream=name)


async def publish(bus: Bus, name: str, count: int) -> None:
    for number in range(count):
        await bus.jetstream.publish(name, b"%d" % number)


async def received(bus: Bus, name: str, consumer: PullSubscription, count: int) -> None:
    """Have so many messages delivered that nobody has fetched."""
    await bus.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{name}.{name}", b"%d" % count, reply=consumer._deliver)
    async with asyncio.timeout(60):
        while consumer.pending_msgs < count:
            await asyncio.sleep(0.01)


async def test_what_was_received_before_the_consumer_was_removed_is_not_lost(bus: Bus) -> None:
    plain, ours = await consumer_of(bus, "plain"), await consumer_of(bus, "ours")
    for name, consumer in (("plain", plain), ("ours", ours)):
        await publish(bus, name, 3)
        await received(bus, name, consumer, 3)
        await bus.jetstream.delete_consumer(name, name)
    with pytest.raises(nats.js.errors.ServiceUnavailableError):
        await plain.fetch(10, timeout=30)
    assert plain.pending_msgs == 0
    # Its `fetch` leaves the subscription's queue unfinished, for whose end a connection waits that is drained.
    await plain.unsubscribe()
    assert [each.data for each in await fetch(ours, 10, 30)] == [b"0", b"1", b"2"]
    with pytest.raises(nats.js.errors.ServiceUnavailableError):
        await fetch(ours, 10, 30)


async def test_all_that_waits_comes_at_once_and_at_most_what_was_asked_for(bus: Bus) -> None:
    consumer = await consumer_of(bus, "some")
    await publish(bus, "some", 7)
    await received(bus, "some", consumer, 2)
    assert [each.data for each in await fetch(consumer, 1, 60)] == [b"0"]
    began = time.monotonic()
    assert [each.data for each in await fetch(consumer, 5, 60)] == [b"1", b"2", b"3", b"4", b"5"]
    assert [each.data for each in await fetch(consumer, 5, 60)] == [b"6"]
    assert time.monotonic() - began < 30


async def test_the_first_message_to_come_ends_the_wait(bus: Bus) -> None:
    consumer = await consumer_of(bus, "late")
    waiting = asyncio.create_task(fetch(consumer, 5, 60))
    async with asyncio.timeout(60):
        while (await consumer.consumer_info()).num_waiting == 0:
            await asyncio.sleep(0.01)
    began = time.monotonic()
    await publish(bus, "late", 1)
    assert [each.data for each in await waiting] == [b"0"]
    assert time.monotonic() - began < 30
    with pytest.raises(nats.errors.TimeoutError):
        await fetch(consumer, 5, 0.5)
