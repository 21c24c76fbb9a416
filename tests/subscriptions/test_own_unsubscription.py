"""Where ccxt cannot unsubscribe, the venue's own message does: one feed ends or begins anew, its neighbours go on."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import ccxt.pro
import pytest

from subscriptions.standins import SYMBOL, settings, standing_in
from support.processes import running_simulator
from support.venues import Memory, venue_at
from tickwire.model.feeds import Feed
from tickwire.streamer.subscriptions.live_venue import open_live_venue
from tickwire.venues.registry import declared

pytestmark = pytest.mark.actors

VENUE = "deribit"
TRADES, BOOK = Feed("trade", VENUE, SYMBOL), Feed("book", VENUE, SYMBOL)


def test_only_venues_that_ccxt_cannot_unsubscribe_have_a_message_of_their_own() -> None:
    own = [name for name, venue in declared().items() if venue.dialect.unsubscription is not None]
    assert VENUE in own
    assert [name for name in own if getattr(ccxt.pro, name)().has.get("unWatchTrades")] == []


async def test_a_feed_that_is_left_is_unsubscribed_and_its_neighbour_goes_on() -> None:
    async with standing_in(VENUE) as stand_in, open_live_venue(VENUE, settings(stand_in)) as venue:
        trades, book, again = Memory(), Memory(), Memory()
        async with venue.watching(TRADES, trades):
            async with venue.watching(BOOK, book):
                await book.get(1)
            (socket,) = stand_in.open
            await stand_in.until(lambda: [each for each in socket.channels if "book" in each] == [])
            async with venue.watching(BOOK, again):
                # The snapshot of a new subscription, on the same socket.
                await again.get(1)
                assert stand_in.open == [socket]
            assert trades.told == ["connected"]


async def test_a_book_that_is_subscribed_again_leaves_its_neighbour_connected() -> None:
    async with standing_in(VENUE) as stand_in, open_live_venue(VENUE, settings(stand_in)) as venue:
        trades, book = Memory(), Memory()
        async with venue.watching(TRADES, trades), venue.watching(BOOK, book):
            await book.get(1)
            (socket,) = stand_in.open
            await venue.resubscribe(BOOK, "a test says so")
            await book.until(lambda: book.told == ["connected", "disconnected", "connected"])
            await book.get(2)
            assert trades.told == ["connected"]
            assert stand_in.open == [socket]


async def test_every_kind_of_feed_is_unsubscribed() -> None:
    symbol = "BTC/USD:BTC"
    feeds = [Feed(kind, VENUE, symbol) for kind in ("trade", "book", "ticker")]
    feeds.append(Feed("candle", VENUE, symbol, "3h"))
    async with running_simulator("--live-rate", "50") as exchange, venue_at(exchange.url, VENUE) as venue:
        stays = Memory()
        async with venue.watching(Feed("trade", VENUE, "ETH/USD:ETH"), stays):
            async with AsyncExitStack() as stack:
                for feed in feeds:
                    memory = Memory()
                    await stack.enter_async_context(venue.watching(feed, memory))
                    await memory.get(1)
                (socket,) = await exchange.sockets()
                # A ticker has two channels.
                assert len(socket["streams"]) == 1 + len(feeds) + 1
            async with asyncio.timeout(60):
                while (await exchange.sockets())[0]["streams"] != ["trades.ETH-PERPETUAL.100ms"]:
                    await asyncio.sleep(0.05)
            await stays.get(len(stays.items) + 1)
            assert stays.told == ["connected"]
