"""A malformed message neither ends a connection nor hides the messages after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from nats.aio.msg import Msg
from nats.js.api import StreamConfig

from support import hostile
from tickwire.bus.connection import connect
from tickwire.bus.natspy import cleaned
from tickwire.bus.service import Endpoint, serve
from tickwire.errors import BadRequest
from tickwire.model import messages
from tickwire.model.messages import Job, LogLevel
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.actors

LAST = LogLevel(level="info")


def until_last(found: asyncio.Event) -> Callable[[Msg], Awaitable[None]]:
    """A callback that decodes as every callback does, and sets `found` at LAST."""

    async def take(message: Msg) -> None:
        if messages.decode(message.data, LogLevel) == LAST:
            found.set()

    return take


async def test_a_subscription_passes_over_what_does_not_decode(broker: str) -> None:
    async with asyncio.timeout(100), connect(NatsSettings(url=broker), name="one") as bus, hostile.raw(broker) as raw:
        found = asyncio.Event()
        await bus.subscribe("some.>", until_last(found))
        await bus.client.flush()
        for data in [*hostile.GARBAGE, *hostile.variants(Job)]:
            await raw.publish(b"some.thing", data)
        await raw.publish(b"some.thing", messages.encode(LAST))
        await found.wait()
        assert bus.undecodable.counts["some.thing"] >= len(hostile.GARBAGE)


@pytest.mark.parametrize(
    "subject",
    [b"some.\xff\xfe", b"some." + b"x" * 3_900, b"some.\xf0\x9f\x8c\x8a" * 300],
    ids=["bytes", "long", "wide"],
)
async def test_a_subject_that_is_no_text_or_too_long_is_passed_over(broker: str, subject: bytes) -> None:
    async with asyncio.timeout(100), connect(NatsSettings(url=broker), name="one") as bus, hostile.raw(broker) as raw:
        found = asyncio.Event()
        await bus.subscribe("some.>", until_last(found))
        await bus.client.flush()
        await raw.publish(subject, b"{}")
        await raw.publish(b"some.thing", messages.encode(LAST), reply=b"\xff\xfe")
        await found.wait()


@pytest.mark.parametrize("headers", hostile.BAD_HEADERS)
async def test_headers_that_cannot_be_read_end_nothing(broker: str, headers: bytes) -> None:
    async with asyncio.timeout(100), connect(NatsSettings(url=broker), name="one") as bus, hostile.raw(broker) as raw:
        found = asyncio.Event()
        await bus.subscribe("some.>", until_last(found))
        await bus.client.flush()
        for data in (b"", b"{}"):
            await raw.publish(b"some.thing", data, headers=headers)
        await raw.publish(b"some.thing", messages.encode(LAST))
        await found.wait()


async def test_stored_messages_that_look_like_the_brokers_own_word_are_handed_on_once(broker: str) -> None:
    """An ordered consumer that took one for a heartbeat would begin anew at it, for ever."""
    async with asyncio.timeout(60), connect(NatsSettings(url=broker), name="one") as bus, hostile.raw(broker) as raw:
        await bus.jetstream.add_stream(StreamConfig(name="ODD", subjects=["odd.>"]))
        sent = 0
        for headers in hostile.BAD_HEADERS:
            for subject in (b"odd.one", b"odd.\xff"):
                for data in (b"", b"{}"):
                    await raw.publish(subject, data, headers=headers)
                    sent += 1
        heard: list[int] = []
        found = asyncio.Event()

        async def take(message: Msg) -> None:
            heard.append(message.metadata.sequence.stream)
            if message.data == messages.encode(LAST):
                found.set()

        await bus.subscribe_ordered("odd.>", "ODD", take)
        ack = await bus.jetstream.publish("odd.last", messages.encode(LAST))
        await found.wait()
        assert heard == list(range(1, ack.seq + 1))
        # The broker refuses some itself: one that names an expected sequence that is none.
        assert ack.seq - 1 == sent


async def test_a_request_whose_reply_would_close_the_connection_is_not_answered(broker: str) -> None:
    async def handle(request: LogLevel, _call: object) -> LogLevel:
        return request

    async with asyncio.timeout(100), connect(NatsSettings(url=broker), name="one") as bus, hostile.raw(broker) as raw:
        endpoint = Endpoint("odd.ask", LogLevel, handle)
        async with serve(bus, "odd", [endpoint], instance="odd-1"):
            for subject in (b"odd.ask", b"$SRV.PING.odd"):
                for data in (messages.encode(LAST), b"garbage"):
                    await raw.publish(subject, data, reply=b"x" * 4_050)
            assert await bus.request("odd.ask", LAST, LogLevel) == LAST
            assert bus.client.stats["reconnects"] == 0


async def test_what_the_broker_would_close_the_connection_for_is_not_published(broker: str) -> None:
    async with connect(NatsSettings(url=broker), name="one") as bus:
        with pytest.raises(BadRequest, match="too long"):
            await bus.client.publish("x" * 5_000, b"")
        await bus.client.flush()
        assert bus.client.is_connected


async def test_a_bug_of_a_callback_is_no_message_that_does_not_decode(broker: str) -> None:
    async def take(_message: Msg) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(100), connect(NatsSettings(url=broker), name="one") as bus:
            await bus.subscribe("some.>", take)
            await bus.client.publish("some.thing", b"")
            await asyncio.Event().wait()


def test_headers_of_the_broker_stay_as_they_are() -> None:
    for headers in (b"NATS/1.0 503\r\n\r\n", b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n"):
        assert cleaned(headers, stored=False) == headers
    entry = b"NATS/1.0\r\nKV-Operation: DEL\r\nNats-Expected-Last-Subject-Sequence: 5\r\n\r\n"
    assert cleaned(entry, stored=True) == entry


async def test_a_consumer_that_does_not_deliver_is_named_and_one_that_was_given_up_is_not(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take(_message: Msg) -> None:
        raise AssertionError("nothing is published")

    async with asyncio.timeout(60), connect(NatsSettings(url=broker), name="one") as bus:
        monkeypatch.setattr("tickwire.bus.connection.DEAF_S", 2.5)
        for name in ("ONE", "TWO"):
            await bus.jetstream.add_stream(StreamConfig(name=name, subjects=[f"{name}.>"]))
        followed = [await bus.subscribe_ordered(f"{name}.>", name, take) for name in ("ONE", "TWO")]
        began = time.monotonic()
        await followed[0].unsubscribe()
        while time.monotonic() - began < 3.5:
            # Heartbeats of a stream where nothing happens, and nothing of the one that is not followed any more.
            assert bus.silent_consumer() is None
            await asyncio.sleep(0.1)
        await bus.jetstream.delete_stream("TWO")
        while (said := bus.silent_consumer()) is None:
            await asyncio.sleep(0.1)
        assert "silent" in said
        await followed[1].unsubscribe()
        assert bus.silent_consumer() is None
