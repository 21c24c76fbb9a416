"""What all subscribers of a market want together, as every instance learns it from the bucket."""

from __future__ import annotations

import pytest

from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed, StartRequest, StopRequest
from tickwire.settings import StreamerSettings
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.control.interests import open_interests

pytestmark = pytest.mark.actors

MARKET = Feed("book", "binance", "BTC/USDT")


def asking(subscriber: str, *, deltas: bool = True, depth: int | None = None) -> StartRequest:
    return StartRequest(
        kind="book",
        exchange="binance",
        symbol="BTC/USDT",
        subscriber=subscriber,
        ttl_s=30,
        depth=depth,
        deltas=deltas,
    )


async def test_whoever_asks_for_changes_is_a_newcomer_once_however_often_it_renews(bus: Bus) -> None:
    """One that went and came back is one again, also when both happen at once."""
    demand = Demand(depth=20, cadence_ms=100)
    async with open_interests(bus, StreamerSettings()) as interests:
        interests.follow(lambda market: demand.update(interests.demand(market)))
        counts = []
        for name in ("one", "one", "two", "two"):
            await interests.register(asking(name))
            counts.append(demand.delta_joins)
        await interests.register(asking("three", deltas=False, depth=50))
        assert (demand.deltas, demand.depth, demand.delta_joins) == (True, 50, 2)
        leaving = StopRequest(kind="book", exchange="binance", symbol="BTC/USDT", subscriber="one")
        await interests.withdraw(leaving)
        await interests.register(asking("one"))
        counts.append(demand.delta_joins)
    assert counts == [1, 1, 2, 2, 3]
