"""One inbox for all requests, and direct gets through it."""

from __future__ import annotations

import asyncio

import nats.errors
import nats.js.errors
import pytest
from nats.aio.msg import Msg
from nats.js.api import StreamConfig

from tickwire.bus.connection import Bus
from tickwire.bus.requests import direct_get, open_inbox, request_once, until_answered
from tickwire.errors import NoSuchService

pytestmark = pytest.mark.actors


async def made(bus: Bus, direct: bool = True) -> None:
    """A stream of five messages on two subjects."""
    await bus.jetstream.add_stream(StreamConfig(name="READ", subjects=["read.*"], allow_direct=direct))
    for number in range(5):
        await bus.jetstream.publish(f"read.{'ab'[number % 2]}", str(number).encode())


async def test_a_direct_get_returns_one_message_or_a_batch_in_order(bus: Bus) -> None:
    await made(bus)
    one = await direct_get(bus.client, "READ", {"last_by_subj": "read.b"}, 10)
    assert [each.data for each in one] == [b"3"]
    batch = await direct_get(bus.client, "READ", {"next_by_subj": "read.a", "seq": 2, "batch": 9}, 10)
    assert [each.data for each in batch] == [b"2", b"4"]
    assert [(each.headers or {})["Nats-Sequence"] for each in batch] == ["3", "5"]


async def test_a_direct_get_of_what_is_not_there_is_empty(bus: Bus) -> None:
    await made(bus)
    assert await direct_get(bus.client, "READ", {"seq": 99}, 10) == []
    assert await direct_get(bus.client, "READ", {"next_by_subj": "read.c", "seq": 1, "batch": 9}, 10) == []


async def test_a_direct_get_of_a_stream_that_answers_none_raises(bus: Bus) -> None:
    with pytest.raises(nats.errors.NoRespondersError):
        await direct_get(bus.client, "NOWHERE", {"seq": 1}, 10)


async def test_a_direct_get_that_the_broker_refuses_raises(bus: Bus) -> None:
    await made(bus)
    with pytest.raises(nats.errors.Error, match="READ answered 408"):
        await direct_get(bus.client, "READ", {}, 10)


async def test_an_inbox_ends_its_subscription_and_names_the_absent_service(bus: Bus) -> None:
    before = len(bus.client._subs)
    async with open_inbox(bus.client) as inbox:
        await inbox.ask("cache.get", b"{}")
        with pytest.raises(NoSuchService, match="no cache is running"):
            await inbox.reply(10)
    assert len(bus.client._subs) == before


async def test_all_replies_are_collected_up_to_a_number_or_a_time(bus: Bus) -> None:
    async def answer(request: Msg) -> None:
        await bus.client.publish(request.reply, b"here")

    for _ in range(3):
        await bus.subscribe("who.is.there", answer)
    assert await bus.request_all("who.is.there", wait_s=60, most=2) == [b"here"] * 2
    assert await bus.request_all("who.is.there", wait_s=2) == [b"here"] * 3
    async with asyncio.timeout(100):
        # Nothing serves it, which is known at once.
        assert await bus.request_all("nobody.is.there", wait_s=60) == []


async def test_a_single_request_returns_the_first_reply_with_its_headers_sent(bus: Bus) -> None:
    async def answer(message: Msg) -> None:
        await message.respond((message.headers or {})["Kind"].encode() + message.data)
        await message.respond(b"too late")

    before = len(bus.client._subs)
    answering = await bus.client.subscribe("ask.once", cb=answer)
    found = await request_once(bus.client, "ask.once", b"!", 60, {"Kind": "loud"})
    await answering.unsubscribe()
    assert found is not None
    assert found.data == b"loud!"
    assert len(bus.client._subs) == before


async def test_a_single_request_without_an_answer_returns_none(bus: Bus) -> None:
    async def ignore(message: Msg) -> None:
        pass

    # Nothing serves it: known at once.
    async with asyncio.timeout(100):
        assert await request_once(bus.client, "ask.nobody", b"", 600) is None
    ignoring = await bus.client.subscribe("ask.in.vain", cb=ignore)
    assert await request_once(bus.client, "ask.in.vain", b"", 0.05) is None
    await ignoring.unsubscribe()


async def test_a_read_is_repeated_until_the_broker_answers_it(bus: Bus) -> None:
    """A stream that is not there yet, as one whose leader is being elected."""
    tries = 0

    async def read() -> int:
        nonlocal tries
        tries += 1
        if tries == 3:
            await made(bus)
        return (await bus.jetstream.stream_info("READ")).state.messages

    async with asyncio.timeout(60):
        assert await until_answered(read, "stream READ") == 5
    assert tries == 3


async def test_a_read_ends_with_an_error_that_is_an_answer(bus: Bus) -> None:
    async def read() -> None:
        await bus.jetstream.stream_info("NOWHERE")

    with pytest.raises(nats.js.errors.NotFoundError):
        await until_answered(read, "stream NOWHERE", answers=nats.js.errors.NotFoundError)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await until_answered(read, "stream NOWHERE")
