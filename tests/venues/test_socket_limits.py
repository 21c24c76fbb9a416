"""Limits of sockets as venues document them: feeds subscribe within them, also again after a cut."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from support.processes import running_simulator
from support.venues import Memory, venue_at
from tickwire.model.feeds import Feed
from tickwire.venues.registry import profile_of

pytestmark = pytest.mark.actors

MANY = [f"T{number:03}/USDT" for number in range(1, 29)]
CONTRACTS = [f"{base}/USDC:USDC" for base in ("BTC", "ETH", "SOL", "XRP", "BNB", "DOGE")]
BUSY_S = 3
"""On a busy machine the messages of so many seconds may arrive in one."""


@pytest.mark.parametrize(
    ("exchange", "symbols", "messages_per_s", "sockets"),
    [
        # Bitget: ten messages a second, at most 50 channels of a socket.
        ("bitget", MANY, 10, [6, 50]),
        # Deribit: the sustained rate of requests to subscribe.
        ("deribit", CONTRACTS, 10 / 3, [12]),
    ],
)
async def test_many_feeds_subscribe_again_within_the_documented_limits(
    exchange: str, symbols: list[str], messages_per_s: float, sockets: list[int]
) -> None:
    assert profile_of(exchange).sockets.messages_per_s == messages_per_s
    # With more the client is refused for the rest of the test.
    rules = {"messages": round(BUSY_S * messages_per_s), "subscriptions": 1_000, "ban_s": 3600.0}
    feeds = [Feed(kind, exchange, symbol) for kind in ("trade", "book") for symbol in symbols]
    assert len(feeds) > rules["messages"]
    async with (
        running_simulator("--live-rate", "10", "--symbols", "60") as simulator,
        venue_at(simulator.url, exchange) as venue,
    ):
        await simulator.order("rules", rules=rules, venues=[exchange])
        memories = [Memory() for _ in feeds]
        async with AsyncExitStack() as stack:
            watched = [venue.watching(feed, memory) for feed, memory in zip(feeds, memories, strict=True)]
            await asyncio.gather(*map(stack.enter_async_context, watched))
            for memory in memories:
                await memory.get(1)
            assert sorted(len(each["streams"]) for each in await simulator.sockets()) == sockets
            await simulator.fault(exchange, "ws_cut", seconds=0.2)
            for memory in memories:
                await memory.until(lambda memory=memory: memory.told.count("connected") > 1)  # type: ignore[misc]
            # Once for each feed and connection: a book is whole after its first subscription.
            assert {memory.told.count("connected") for memory in memories} == {2}
        # A client that is refused gets 403.
        assert {each["status"] for each in await simulator.log() if each["event"] == "connect"} <= {101, 0}
