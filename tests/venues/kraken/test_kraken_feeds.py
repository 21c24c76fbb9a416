"""Kraken's feeds on a simulated Kraken: a book that lost a change, and feeds that end on a socket that stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from support.feeds import body
from support.processes import SimulatorProcess, running_simulator
from support.venues import Memory, venue_at
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Book, Feed
from tickwire.streamer.books import feed as books
from tickwire.streamer.control.demand import Demand

pytestmark = pytest.mark.actors

SYMBOL = "BTC/USD"
BOOK, TRADES = Feed("book", "kraken", SYMBOL), Feed("trade", "kraken", SYMBOL)


@pytest_asyncio.fixture
async def exchange() -> AsyncIterator[SimulatorProcess]:
    """A simulated exchange with a busy market."""
    async with running_simulator("--live-rate", "50") as running:
        yield running


async def test_a_lost_change_shows_in_the_checksum_and_its_neighbour_goes_on(
    bus: Bus, exchange: SimulatorProcess
) -> None:
    trades = Memory()
    async with venue_at(exchange.url, "kraken") as venue, venue.watching(TRADES, trades):
        async with body(bus, books.run, BOOK, Demand(depth=10, cadence_ms=0), venue=venue) as running:
            await running.public.first(lambda book: book.state == "live")
            for _ in range(2):
                seen, told = len(running.public.said), len(running.statuses.said)
                # One message of the book does not arrive.
                await exchange.fault("book", "ws_skip", count=1)
                await running.public.first(lambda book: book.state == "resyncing", seen)
                # Statuses come after the book.
                await running.statuses.first(lambda status: "the checksum of the book is" in status.message, told)
                said: Book = await running.public.first(lambda book: book.state == "live", seen)
                assert len(said.bids) == len(said.asks) == 10
                assert said.bids[0][0] < said.asks[0][0]
        await trades.get(len(trades.items) + 1)
        assert trades.told == ["connected"]
        assert len(await exchange.sockets()) == 1


async def test_every_kind_of_feed_is_unsubscribed_and_can_be_subscribed_again(exchange: SimulatorProcess) -> None:
    feeds = [Feed(kind, "kraken", SYMBOL) for kind in ("trade", "book", "ticker")]
    feeds.append(Feed("candle", "kraken", SYMBOL, "1w"))
    stays = Memory()
    async with (
        venue_at(exchange.url, "kraken") as venue,
        venue.watching(Feed("trade", "kraken", "ETH/USD"), stays),
        asyncio.timeout(100),
    ):
        for _ in range(2):
            async with AsyncExitStack() as stack:
                for feed in feeds:
                    memory = Memory()
                    await stack.enter_async_context(venue.watching(feed, memory))
                    # Weeks open on another day than the usual grid has: they are reported, not taken.
                    await memory.until(lambda memory=memory: memory.items or "rejected" in memory.told)  # type: ignore[misc]
                (socket,) = await exchange.sockets()
                assert {each.partition(" ")[0] for each in socket["streams"]} == {
                    "heartbeat", "trade", "book", "ticker", "ohlc",
                }  # fmt: skip
            while len((await exchange.sockets())[0]["streams"]) > 2:
                await asyncio.sleep(0.05)
        await stays.get(len(stays.items) + 1)
        assert stays.told == ["connected"]
