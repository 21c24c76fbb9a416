"""Requests to subscribe that wait on one socket go in one message, within the venue's rules, at unlike venues.

Binance answers a message once, by its id; OKX and Bitget answer each channel by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from support.processes import SimulatorProcess, running_simulator
from support.venues import Memory, venue_at
from tickwire.errors import ExchangeFailed
from tickwire.exchange.ccxt_patches.combined_requests import CombinedRequests
from tickwire.model.feeds import Feed
from tickwire.streamer.subscriptions import frame_router
from tickwire.streamer.subscriptions.live_venue import LiveVenue
from tickwire.venues.registry import profile_of

pytestmark = pytest.mark.actors

SYMBOLS = 60
QUIET = ("--live-rate", "0.01", "--symbols", str(SYMBOLS))
"""So that an acknowledgement is the only proof of a subscription."""
MANY = [f"T{number:03}/USDT" for number in range(1, SYMBOLS - 9)]
BANNED = 3600.0


@asynccontextmanager
async def watching(venue: LiveVenue, symbols: list[str]) -> AsyncIterator[tuple[list[Memory], list[str]]]:
    """Watch trades, all at the same time; their sinks, and why those ended that the venue refused."""
    memories, refused, stop = [Memory() for _ in symbols], list[str](), asyncio.Event()

    async def follow(feed: Feed, memory: Memory) -> None:
        try:
            async with venue.watching(feed, memory):
                await stop.wait()
        except ExchangeFailed as error:
            refused.append(str(error))
            memory.changed()

    async with asyncio.TaskGroup() as group:
        for symbol, memory in zip(symbols, memories, strict=True):
            group.create_task(follow(Feed("trade", venue.exchange, symbol), memory))
        try:
            yield memories, refused
        finally:
            stop.set()


def change_sockets(monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
    """Change what the profile of Binance says of its sockets."""
    profile = profile_of("binance")
    changed = replace(profile, sockets=replace(profile.sockets, **facts))
    monkeypatch.setattr(frame_router, "profile_of", lambda exchange: changed)


async def connected(memories: list[Memory], times: int = 1) -> None:
    for memory in memories:
        await memory.until(lambda memory=memory: memory.told.count("connected") >= times)  # type: ignore[misc]


async def streams(simulator: SimulatorProcess) -> list[int]:
    """How many streams each open socket has, most first."""
    return sorted((len(each["streams"]) for each in await simulator.sockets()), reverse=True)


async def statuses(simulator: SimulatorProcess) -> set[int]:
    """How connections were answered: 101 is a socket, 0 one that a fault cut."""
    return {each["status"] for each in await simulator.log() if each["event"] == "connect"}


@pytest.mark.parametrize(
    ("exchange", "rules"),
    [
        # "WebSocket Limits": five messages a second. Those of a second may arrive in one with those of the next.
        ("binance", {"messages": 6, "messages_s": 1.0, "message_bytes": 4088}),
        # "Connection count limit": 480 requests an hour. Twelve, so that one for each feed is too many.
        ("okx", {"messages": 12, "messages_s": 3600.0, "message_bytes": 4096}),
    ],
)
async def test_50_feeds_are_back_after_a_cut_within_the_venue_s_rules(exchange: str, rules: dict[str, float]) -> None:
    async with running_simulator(*QUIET) as simulator:
        await simulator.order("rules", rules={**rules, "ban_s": BANNED}, venues=[exchange])
        async with (
            venue_at(simulator.url, exchange, acknowledge_s=60.0) as venue,
            watching(venue, MANY) as (memories, _),
        ):
            await connected(memories)
            assert await streams(simulator) == [len(MANY)]
            await simulator.fault(exchange, "ws_cut", seconds=0.1)
            await connected(memories, times=2)
            assert await streams(simulator) == [len(MANY)]
            assert {tuple(memory.told) for memory in memories} == {("connected", "disconnected", "connected")}
        assert await statuses(simulator) <= {101, 0}


async def test_feeds_of_binance_fill_a_socket_and_go_on_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    assert profile_of("binance").sockets.subscriptions == 200
    change_sockets(monkeypatch, subscriptions=20)
    async with (
        running_simulator(*QUIET) as simulator,
        venue_at(simulator.url, "binance", acknowledge_s=60.0) as venue,
        watching(venue, MANY) as (memories, _),
    ):
        await connected(memories)
        assert await streams(simulator) == [20, 20, len(MANY) - 40]
        await simulator.fault("binance", "ws_cut", seconds=0.1)
        await connected(memories, times=2)
        assert await streams(simulator) == [20, 20, len(MANY) - 40]


@pytest.mark.parametrize(
    ("exchange", "rules"), [("binance", {"messages": 6}), ("okx", {"messages": 5, "messages_s": 3600.0})]
)
async def test_feeds_that_stop_together_unsubscribe_together(exchange: str, rules: dict[str, float]) -> None:
    async with running_simulator(*QUIET) as simulator, venue_at(simulator.url, exchange) as venue:
        async with watching(venue, MANY[:1]) as (kept, _):
            await connected(kept)
            async with watching(venue, MANY[1:]) as (memories, _):
                await connected(memories)
                await simulator.order("rules", rules={**rules, "ban_s": BANNED}, venues=[exchange])
            assert await streams(simulator) == [1]
            assert kept[0].told == ["connected"]


async def test_a_refused_request_does_not_take_its_neighbours_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket with eight places, and ten requests that wait for it."""
    change_sockets(monkeypatch, messages_per_s=20.0)
    async with running_simulator(*QUIET) as simulator:
        await simulator.order("rules", rules={"subscriptions": 8}, venues=["binance"])
        async with (
            venue_at(simulator.url, "binance", acknowledge_s=60.0) as venue,
            watching(venue, MANY[:10]) as (memories, refused),
        ):
            for memory in memories:
                await memory.until(lambda memory=memory: "connected" in memory.told or len(refused) == 2)  # type: ignore[misc]
            async with asyncio.timeout(100):
                while len(refused) < 2:
                    await asyncio.sleep(0.05)
            up = [memory for memory in memories if memory.told[-1:] == ["connected"]]
            assert {tuple(memory.told) for memory in up} == {("connected",)}
            assert len(up) == 8
            assert await streams(simulator) == [8]
            assert all("too many streams" in each for each in refused)


async def test_of_channels_in_one_message_only_the_unknown_one_is_refused() -> None:
    """The venue has delisted a market since it listed its markets."""
    async with running_simulator(*QUIET) as simulator, venue_at(simulator.url, "okx") as venue:
        await venue.markets.find("T001/USDT")
        venue.rest.markets["T001/USDT"]["id"] = "GONE-USDT"  # type: ignore[index]
        async with watching(venue, MANY[:20]) as (memories, refused):
            await connected(memories[1:])
            await memories[0].until(lambda: bool(refused))
            assert len(refused) == 1
            assert "GONE-USDT" in refused[0]
            assert {tuple(memory.told) for memory in memories[1:]} == {("connected",)}


async def test_requests_that_are_too_long_to_be_heard_are_sent_in_shorter_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change_sockets(monkeypatch, messages_per_s=20.0)
    async with running_simulator(*QUIET) as simulator:
        # Four streams and the rest of the message take more.
        await simulator.order("rules", rules={"message_bytes": 120}, venues=["binance"])
        async with (
            venue_at(simulator.url, "binance", acknowledge_s=0.5) as venue,
            watching(venue, MANY[:20]) as (memories, _),
        ):
            await connected(memories)
            assert await streams(simulator) == [20]


async def test_a_feed_that_stopped_before_its_request_was_refused_is_not_subscribed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused, late, answers = asyncio.Event(), list[tuple[CombinedRequests, str | bytes]](), CombinedRequests.answers

    def held(self: CombinedRequests, data: str | bytes) -> list[str | bytes]:
        if "too many streams" in str(data) and not late:
            late.append((self, data))
            refused.set()
            return []
        return answers(self, data)

    monkeypatch.setattr(CombinedRequests, "answers", held)
    async with running_simulator(*QUIET) as simulator:
        await simulator.order("rules", rules={"subscriptions": 8}, venues=["binance"])
        async with venue_at(simulator.url, "binance", acknowledge_s=60.0) as venue:
            async with watching(venue, MANY[:5]) as (memories, _):
                async with watching(venue, MANY[5:10]), asyncio.timeout(100):
                    await refused.wait()
                # All ten were in one message, and these five have ended since.
                [(requests, answer)] = late
                assert answers(requests, answer) == []
                await connected(memories)
                async with watching(venue, MANY[10:11]) as (more, _):
                    # A request that was made later is answered: so were the earlier ones.
                    await connected(more)
                    assert await streams(simulator) == [6]
