"""Error frames of KuCoin, which ccxt's handler raises: the refused subscription ends, its neighbours go on."""

from __future__ import annotations

import pytest

from support.processes import running_simulator
from support.venues import Memory, venue_at
from tickwire.errors import TickwireError
from tickwire.model.feeds import Feed

pytestmark = pytest.mark.actors

BTC, ETH = (Feed("trade", "kucoin", symbol) for symbol in ("BTC/USDT", "ETH/USDT"))


async def test_a_topic_that_is_not_found_is_refused_at_once_and_ends_nothing_else() -> None:
    async with (
        running_simulator("--live-rate", "100") as exchange,
        venue_at(exchange.url, "kucoin", acknowledge_s=3_600) as venue,
    ):
        memory = Memory()
        async with venue.watching(BTC, memory):
            await memory.get(10)
            await exchange.order("listing", symbol="ETH/USDT", listed=False)
            with pytest.raises(TickwireError, match="/market/match:ETH-USDT is not found"):
                async with venue.watching(ETH, refused := Memory()):
                    await refused.get(1)
            await memory.get(len(memory.items) + 100)
            assert memory.told[0] == "connected"
            assert "disconnected" not in memory.told


async def test_a_topic_above_the_limit_is_retried_and_ends_nothing_else() -> None:
    async with (
        running_simulator("--live-rate", "100") as exchange,
        venue_at(exchange.url, "kucoin", acknowledge_s=3_600) as venue,
    ):
        memory, other = Memory(), Memory()
        await exchange.order("rules", venues=["kucoin"], rules={"subscriptions": 1})
        async with venue.watching(BTC, memory):
            await memory.get(10)
            async with venue.watching(ETH, other):
                await other.until(lambda: any("exceed max subscription" in each for each in other.reasons))
                await exchange.order("rules", venues=["kucoin"], rules={"subscriptions": 2})
                await other.get(10)
            await memory.get(len(memory.items) + 100)
            assert "disconnected" not in memory.told
