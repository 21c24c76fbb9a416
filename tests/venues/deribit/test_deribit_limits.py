"""Deribit's limit of requests to subscribe: feeds are subscribed, also after a cut, no faster than it allows."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from support.processes import running_simulator
from support.venues import Memory, venue_at
from tickwire.model.feeds import Feed
from tickwire.venues.deribit import PROFILE

pytestmark = pytest.mark.actors

SYMBOLS = [f"{base}/USDC:USDC" for base in ("BTC", "ETH", "SOL", "XRP", "BNB", "DOGE")]
RULES = {"messages": 4, "messages_s": 1.0, "ban_s": 3600.0}
"""A second of the sustained rate, 3.3 requests; with more the client is refused for the rest of the test."""


async def test_many_feeds_subscribe_again_within_the_rate_that_the_venue_sustains() -> None:
    assert PROFILE.sockets.messages_per_s == pytest.approx(3.33, abs=0.01)
    async with running_simulator("--live-rate", "10") as exchange, venue_at(exchange.url, "deribit") as venue:
        await exchange.order("rules", rules=RULES, venues=["deribit"])
        memories = {(kind, symbol): Memory() for kind in ("trade", "book") for symbol in SYMBOLS}
        async with AsyncExitStack() as stack:
            feeds = [
                venue.watching(Feed(kind, "deribit", symbol), memory)  # type: ignore[arg-type]
                for (kind, symbol), memory in memories.items()
            ]
            await asyncio.gather(*map(stack.enter_async_context, feeds))
            for memory in memories.values():
                await memory.get(1)
            await exchange.fault("deribit", "ws_cut", seconds=0.2)
            for memory in memories.values():
                await memory.until(lambda memory=memory: memory.told.count("connected") > 1)  # type: ignore[misc]
        # A client that is refused gets 403.
        assert {each["status"] for each in await exchange.log() if each["event"] == "connect"} <= {101, 0}
