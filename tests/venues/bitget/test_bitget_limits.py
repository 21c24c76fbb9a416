"""Bitget's limits of sockets: ten messages a second, and channels spread over sockets as it recommends."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from support.processes import running_simulator
from support.venues import Memory, venue_at
from tickwire.model.feeds import Feed
from tickwire.venues.bitget import PROFILE

pytestmark = pytest.mark.actors

SYMBOLS = [f"T{number:03}/USDT" for number in range(1, 29)]
RULES = {"messages": 10, "messages_s": 1.0, "subscriptions": 1_000, "ban_s": 3600.0}
"""As documented; with more messages the client is refused for the rest of the test."""


async def test_many_feeds_subscribe_again_within_the_limits_of_the_documentation() -> None:
    most = PROFILE.sockets.subscriptions
    assert most is not None
    async with (
        running_simulator("--live-rate", "10", "--symbols", "60") as exchange,
        venue_at(exchange.url, "bitget") as venue,
    ):
        await exchange.order("rules", rules=RULES, venues=["bitget"])
        memories = {(kind, symbol): Memory() for kind in ("trade", "book") for symbol in SYMBOLS}
        async with AsyncExitStack() as stack:
            feeds = [
                venue.watching(Feed(kind, "bitget", symbol), memory)  # type: ignore[arg-type]
                for (kind, symbol), memory in memories.items()
            ]
            await asyncio.gather(*map(stack.enter_async_context, feeds))
            for memory in memories.values():
                await memory.get(1)
            assert sorted(len(each["streams"]) for each in await exchange.sockets()) == [2 * len(SYMBOLS) - most, most]
            await exchange.fault("bitget", "ws_cut", seconds=0.2)
            for memory in memories.values():
                await memory.until(lambda memory=memory: memory.told.count("connected") > 1)  # type: ignore[misc]
            # Once for each feed and connection: a book is whole after its first subscription.
            assert {memory.told.count("connected") for memory in memories.values()} == {2}
        # A client that is refused gets 403.
        assert {each["status"] for each in await exchange.log() if each["event"] == "connect"} <= {101, 0}
