"""The interests of all subscribers of a market, as every instance reads them from the bucket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support import brokers
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.model import messages
from tickwire.model.feeds import Feed, StartRequest, StopRequest
from tickwire.settings import StreamerSettings
from tickwire.streamer.control import interest_expiry
from tickwire.streamer.control import interests as interests_module
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.control.interest_expiry import InterestExpiry
from tickwire.streamer.control.interests import Interests, open_interests

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


async def until(bus: Bus, entries: int) -> None:
    """Wait until the bucket has so many entries, markers included."""
    async with asyncio.timeout(100):
        while (await bus.jetstream.stream_info(f"KV_{streams.INTEREST}")).state.messages != entries:
            await asyncio.sleep(0.05)


async def no_feeds(interests: Interests) -> None:
    async with asyncio.timeout(100):
        while interests.feeds():
            await asyncio.sleep(0.05)


async def test_an_entry_that_the_broker_does_not_expire_is_withdrawn(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without the header of its TTL, as a broker keeps it for ever; one that is renewed stays."""
    monkeypatch.setattr(interest_expiry, "GRACE_S", 0.5)
    subject = f"$KV.{streams.INTEREST}.book.binance.BTC-USDT.{{}}"
    ghost = StartRequest(kind="book", exchange="binance", symbol="BTC/USDT", subscriber="ghost", ttl_s=1)
    alive = StartRequest(kind="book", exchange="binance", symbol="BTC/USDT", subscriber="alive", ttl_s=1)
    for each in (ghost, alive):
        await bus.jetstream.publish(subject.format(each.subscriber), messages.encode(each))
    async with open_interests(bus, StreamerSettings()) as interests:
        async with asyncio.timeout(100):
            while interests.subscribers(MARKET) != 1:
                await interests.register(alive)
                await asyncio.sleep(0.05)
        await no_feeds(interests)


async def test_a_killed_broker_brings_no_withdrawn_interest_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one with a TTL nor one without, though there was a regular restart and an older interest is there."""
    monkeypatch.setattr(interests_module, "_TOMBSTONE_S", 1)
    monkeypatch.setattr(interest_expiry, "GRACE_S", 0.5)

    def named(name: str, ttl_s: int | None) -> StartRequest:
        return StartRequest(kind="book", exchange="binance", symbol="BTC/USDT", subscriber=name, ttl_s=ttl_s)

    async with brokers.serving(tmp_path / "nats") as server:
        settings = brokers.as_user(server.url, "streamer")

        async def come_and_go(*requests: StartRequest, left: int) -> None:
            async with connect(brokers.as_user(server.url, "operator"), name="operator") as operator:
                await streams.declare(operator.jetstream, 8, 2.0)
                async with connect(settings, name="test") as bus, open_interests(bus, StreamerSettings()) as interests:
                    await interests.register(named("older", None))
                    for each in requests:
                        await interests.register(each)
                        await interests.withdraw(
                            StopRequest(kind="book", exchange="binance", symbol="BTC/USDT", subscriber=each.subscriber)
                        )
                    await until(operator, left)

        # The marker of an interest without TTL stays.
        await come_and_go(named("pinned", None), named("brief", 2), left=2)
        await server.stop()
        await server.start()
        await come_and_go(named("another", None), named("briefer", 2), left=3)
        await server.kill()
        await server.start()
        async with connect(settings, name="test") as bus, open_interests(bus, StreamerSettings()) as interests:
            # Returns once everything before it has been read.
            await interests.register(named("older", None))
            async with asyncio.timeout(100):
                while interests.subscribers(MARKET) != 1:
                    await asyncio.sleep(0.05)


def test_an_interest_is_overdue_after_its_ttl_and_the_grace() -> None:
    now = 100.0
    expiry = InterestExpiry(lambda: now)
    expiry.renewed("short", 7, 10)
    expiry.renewed("pinned", 8, None)
    now += 10 + interest_expiry.GRACE_S
    assert expiry.overdue() == []
    now += 0.1
    assert expiry.overdue() == [("short", 7)]
    expiry.restart()
    assert expiry.overdue() == []
    now += 10.1 + interest_expiry.GRACE_S
    assert expiry.overdue() == [("short", 7)]
    expiry.ended("short")
    assert expiry.overdue() == []
