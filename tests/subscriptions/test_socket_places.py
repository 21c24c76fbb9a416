"""Subscriptions are spread over sockets, and sent no faster than the venue allows, on unlike venues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest
from ccxt.base import errors

from support.processes import SimulatorProcess, running_simulator
from support.venues import Memory, venue_at
from tickwire.model.feeds import Feed
from tickwire.streamer.subscriptions import frame_router
from tickwire.streamer.subscriptions.live_venue import LiveVenue
from tickwire.venues.profile import Profile
from tickwire.venues.registry import profile_of

pytestmark = pytest.mark.actors

VENUES = ["okx", "bybit", "kucoin"]
SYMBOLS = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "BNB/USDT", "DOGE/USDT", "ETH/BTC"]
PLACES = 3
MESSAGES_PER_S = 50
FEEDS = 200


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatorProcess]:
    """Each of 200 markets trades twice a second."""
    async with running_simulator("--live-rate", "2", "--symbols", str(FEEDS)) as process:
        yield process


@pytest.fixture(params=[PLACES])
def limited(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Venues that take so many subscriptions on a socket, and fifty messages a second."""

    def limits(exchange: str) -> Profile:
        profile = profile_of(exchange)
        facts = msgspec.structs.replace(
            profile.sockets, subscriptions=request.param, messages_per_s=float(MESSAGES_PER_S)
        )
        return msgspec.structs.replace(profile, sockets=facts)

    monkeypatch.setattr(frame_router, "profile_of", limits)


async def watch(stack: AsyncExitStack, venue: LiveVenue, symbols: list[str]) -> dict[str, Memory]:
    """Watch the trades of several markets at the same time."""
    memories = {symbol: Memory() for symbol in symbols}
    feeds = [venue.watching(Feed("trade", venue.exchange, symbol), memory) for symbol, memory in memories.items()]
    await asyncio.gather(*map(stack.enter_async_context, feeds))
    for memory in memories.values():
        await memory.get(1)
    return memories


async def streams(exchange: SimulatorProcess, venue: str) -> list[list[str]]:
    """The streams of each open socket of a venue."""
    return [each["streams"] for each in await exchange.sockets() if venue in each["target"]]


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("venue_id", VENUES)
async def test_no_socket_has_more_subscriptions_than_the_venue_allows(
    exchange: SimulatorProcess, venue_id: str
) -> None:
    async with venue_at(exchange.url, venue_id) as venue, AsyncExitStack() as stack:
        memories = await watch(stack, venue, SYMBOLS)
        found = await streams(exchange, venue_id)
        assert sorted(map(len, found)) == [1, 3, 3]
        assert len({name for each in found for name in each}) == len(SYMBOLS)
        await exchange.fault(venue_id, "ws_cut", seconds=0.5)
        for memory in memories.values():
            await memory.until(lambda memory=memory: memory.told.count("connected") > 1)  # type: ignore[misc]
        found = await streams(exchange, venue_id)
        assert sorted(map(len, found)) == [1, 3, 3]
        assert len({name for each in found for name in each}) == len(SYMBOLS)


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("venue_id", VENUES)
async def test_a_feed_leaves_the_socket_that_it_is_on(exchange: SimulatorProcess, venue_id: str) -> None:
    async with venue_at(exchange.url, venue_id) as venue, AsyncExitStack() as stack:
        await watch(stack, venue, SYMBOLS[:4])
        async with AsyncExitStack() as last:
            await watch(last, venue, SYMBOLS[4:5])
            assert sorted(map(len, await streams(exchange, venue_id))) == [2, 3]
        async with asyncio.timeout(100):
            while sorted(map(len, await streams(exchange, venue_id))) != [1, 3]:
                await asyncio.sleep(0.05)


@pytest.mark.usefixtures("limited")
async def test_a_feed_leaves_its_own_socket_where_a_later_one_has_another_token(exchange: SimulatorProcess) -> None:
    async with venue_at(exchange.url, "kucoin") as venue, AsyncExitStack() as stack, AsyncExitStack() as first:
        early = await watch(first, venue, SYMBOLS[:1])
        memories = await watch(stack, venue, SYMBOLS[1:4])
        late = next(each for each in venue.rest.clients.values() if "#2" in each.url)
        late.on_error(errors.NetworkError("reset"))
        await memories[SYMBOLS[3]].until(lambda: memories[SYMBOLS[3]].told.count("connected") > 1)
        async with asyncio.timeout(100):
            # The simulator may not have noticed yet that the old socket is gone.
            while sorted(map(len, await streams(exchange, "kucoin"))) != [1, 3]:
                await asyncio.sleep(0.05)
        tokens = {each["query"] for each in await exchange.log() if each["event"] == "connect"}
        await first.aclose()
        async with asyncio.timeout(100):
            while sorted(map(len, await streams(exchange, "kucoin"))) != [1, 2]:
                await asyncio.sleep(0.05)
        for memory in memories.values():
            await memory.get(len(memory.items) + 10)
    assert len(tokens) == 2
    told = early[SYMBOLS[0]].told
    assert told[told.index("connected") :] == ["connected"]


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("limited", [1_000], indirect=True)
@pytest.mark.parametrize("venue_id", VENUES[:2])
async def test_200_feeds_subscribe_again_without_a_ban(exchange: SimulatorProcess, venue_id: str) -> None:
    # Twice as many: on a busy machine the messages of two seconds may arrive in one.
    rules = {"messages": 2 * MESSAGES_PER_S, "messages_s": 1.0, "ban_s": 3600.0}
    await exchange.order("rules", rules=rules, venues=[venue_id])
    symbols = [*SYMBOLS[:6], *(f"T{number:03}/USDT" for number in range(1, FEEDS - 9))]
    async with venue_at(exchange.url, venue_id) as venue, AsyncExitStack() as stack:
        memories = await watch(stack, venue, symbols)
        await exchange.fault(venue_id, "ws_cut", seconds=0.2)
        for memory in memories.values():
            await memory.until(lambda memory=memory: memory.told.count("connected") > 1)  # type: ignore[misc]
    assert {each["status"] for each in await exchange.log() if each["event"] == "connect"} <= {101, 0}


@pytest.mark.parametrize("venue_id", VENUES)
async def test_sockets_that_a_venue_closes_at_their_age_are_replaced(exchange: SimulatorProcess, venue_id: str) -> None:
    await exchange.order("rules", rules={"lifetime_s": 2.0}, venues=[venue_id])
    async with venue_at(exchange.url, venue_id) as venue, AsyncExitStack() as stack:
        memories = await watch(stack, venue, SYMBOLS[:2])
        for memory in memories.values():
            await memory.until(lambda memory=memory: memory.told.count("connected") > 2)  # type: ignore[misc]
            await memory.get(len(memory.items) + 1)
