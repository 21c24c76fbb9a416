"""Acknowledged publishes against a real nats-server: each has its own time limit and its own answer."""

from __future__ import annotations

import asyncio
import time

import nats.errors
import nats.js.errors
import pytest
from nats.aio.msg import Msg
from nats.js.api import StreamConfig

from tickwire.bus.connection import Bus
from tickwire.bus.publisher import Ack
from tickwire.errors import BadRequest

pytestmark = pytest.mark.actors


async def listen(bus: Bus, subject: str) -> asyncio.Queue[Msg]:
    """The messages on a subject that nobody acknowledges by itself."""
    came: asyncio.Queue[Msg] = asyncio.Queue()

    async def take(message: Msg) -> None:
        came.put_nowait(message)

    await bus.subscribe(subject, take)
    return came


def publish(bus: Bus, subject: str, timeout_s: float) -> asyncio.Task[Ack]:
    return asyncio.create_task(bus.publisher.publish(subject, b"{}", headers={}, timeout_s=timeout_s))


async def test_each_publish_times_out_by_itself_and_the_others_go_on_waiting(bus: Bus) -> None:
    came = await listen(bus, "silent.*")
    began = time.monotonic()
    short, long = publish(bus, "silent.short", 0.5), publish(bus, "silent.long", 60.0)
    with pytest.raises(nats.errors.TimeoutError):
        await short
    assert time.monotonic() - began >= 0.5
    assert not long.done()
    late = {message.subject: message for message in [await came.get(), await came.get()]}
    # The first answer comes too late, and is nobody else's.
    await late["silent.short"].respond(b'{"stream":"S","seq":1}')
    await late["silent.long"].respond(b'{"stream":"S","seq":2}')
    assert (await long).seq == 2


async def test_a_publish_that_begins_after_a_quiet_time_times_out_too(bus: Bus) -> None:
    await listen(bus, "silent.*")
    for _ in range(2):
        with pytest.raises(nats.errors.TimeoutError):
            await publish(bus, "silent.one", 0.2)
        await asyncio.sleep(0.5)


async def test_answers_of_many_publishes_at_once_are_not_mixed_up(bus: Bus) -> None:
    await bus.jetstream.add_stream(StreamConfig(name="MANY", subjects=["many.*"]))
    acks = await asyncio.gather(*(publish(bus, f"many.{number}", 30.0) for number in range(500)))
    assert [ack.seq for ack in acks] == list(range(1, 501))


async def test_a_publish_to_no_stream_fails_at_once(bus: Bus) -> None:
    with pytest.raises(nats.js.errors.NoStreamResponseError):
        await publish(bus, "nobody.there", 60.0)


async def test_a_cancelled_publish_is_forgotten(bus: Bus) -> None:
    came = await listen(bus, "silent.*")
    cancelled = publish(bus, "silent.cancelled", 60.0)
    message = await came.get()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await message.respond(b'{"stream":"S","seq":1}')
    with pytest.raises(nats.js.errors.NoStreamResponseError):
        await publish(bus, "nobody.there", 60.0)


async def test_a_message_that_is_too_long_is_refused_at_once_and_ends_no_connection(bus: Bus) -> None:
    """The broker counts the headers, too, and closes the connection of who sends more than its `max_payload`."""
    await bus.jetstream.add_stream(StreamConfig(name="LONG", subjects=["long.*"]))
    most = bus.client.max_payload
    headers = {"Nats-Msg-Id": "x" * 100}
    head = len(f"NATS/1.0\r\nNats-Msg-Id: {headers['Nats-Msg-Id']}\r\n\r\n")
    assert (await bus.publisher.publish("long.one", bytes(most - head), headers=headers, timeout_s=30.0)).seq == 1
    for size in (most - head + 1, most, most + 1):
        with pytest.raises(BadRequest, match="max_payload"):
            await bus.publisher.publish("long.one", bytes(size), headers={"Nats-Msg-Id": "y" * 100}, timeout_s=30.0)
    assert (await publish(bus, "long.one", 30.0)).seq == 2
    assert bus.disconnects == 0
