"""Stored messages are read back whatever headers their publisher gave them."""

from __future__ import annotations

import asyncio

import pytest

from support import hostile
from tape.places import place_of
from tape.slots import slot_tape
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed
from tickwire.tape.stored import read_pages

pytestmark = pytest.mark.actors

FEED = Feed("trade", "binance", "BTC/USDT")
STATUSES = [b"NATS/1.0\r\nStatus: %d\r\n\r\n" % status for status in (204, 404, 408)]
"""What the broker answers where there is nothing to read."""


async def published(bus: Bus, broker: str) -> list[bytes]:
    """The payloads of messages of the feed, each with other headers, once the last one is stored."""
    place, sent = place_of(FEED), []
    async with hostile.raw(broker) as raw:
        for number, headers in enumerate([*hostile.BAD_HEADERS, *STATUSES]):
            sent.append(b"%d" % number)
            await raw.publish(place.subject.encode(), sent[-1], headers=headers)
        sent.append(b"last")
        await raw.publish(place.subject.encode(), sent[-1])
        async with asyncio.timeout(100):
            while (await bus.jetstream.stream_info(place.stream)).state.messages < len(sent):
                await asyncio.sleep(0.01)
    return sent


async def test_a_page_has_every_message_whatever_its_headers(bus: Bus, broker: str) -> None:
    sent = await published(bus, broker)
    async with asyncio.timeout(100):
        read = [each async for page in read_pages(bus, FEED.public, 0) for each in page]
    assert [each.data for each in read] == sent
    assert [each.sequence for each in read] == list(range(1, len(sent) + 1))


async def test_a_follower_goes_on_behind_messages_with_any_headers(bus: Bus, broker: str) -> None:
    sent = await published(bus, broker)
    async with asyncio.timeout(100), slot_tape(bus, FEED) as tape:
        writer, _ = await tape.open(FEED.public)
        following = await tape.follow(FEED.public, 0)
        await writer.append(b"new")
        found = []
        async for message in following:
            found.append(message.data)
            if message.data == b"new":
                break
        await following.aclose()
    assert found == [*sent, b"new"]
