"""Sockets whose URL has a token: a token that has expired when a socket is replaced."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.processes import running_simulator
from support.venues import Memory, venue_at
from tickwire.model.feeds import Feed

pytestmark = pytest.mark.actors

BTC, ETH = (Feed("trade", "kucoin", symbol) for symbol in ("BTC/USDT", "ETH/USDT"))
EXPIRES_S = 3.0


@pytest.mark.parametrize(
    ("end", "more"), [("ws_close", {}), ("ws_cut", {"seconds": 0.5})], ids=["closed", "cut, then refused for a while"]
)
async def test_a_feed_goes_on_with_a_new_token_where_the_old_one_has_expired(end: str, more: dict[str, Any]) -> None:
    async with running_simulator("--live-rate", "100") as exchange, venue_at(exchange.url, "kucoin") as venue:
        memories = {feed: Memory() for feed in (BTC, ETH)}
        async with venue.watching(BTC, memories[BTC]), venue.watching(ETH, memories[ETH]):
            began = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() - began < EXPIRES_S:
                await memories[BTC].get(len(memories[BTC].items) + 50)
            await exchange.order("rules", venues=["kucoin"], rules={"token_s": EXPIRES_S})
            await exchange.fault("", end, **more)
            for memory in memories.values():
                await memory.until(lambda memory=memory: memory.told.count("connected") == 2)  # type: ignore[misc]
                await memory.get(len(memory.items) + 100)
        log = await exchange.log()
    urls = [each["query"] for each in log if each["event"] == "connect"]
    tokens = [each for each in log if each["path"].endswith("bullet-public")]
    assert len(tokens) >= 2
    assert urls[-1] != urls[0]
