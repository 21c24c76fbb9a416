"""Feeds that come and go leave nothing behind: no socket, no subscription, nothing in what ccxt keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from subscriptions import standins
from support import live
from support.hearing import reports
from support.processes import SimulatorProcess, running_simulator
from support.serving import serving
from support.venues import Memory, settings, venue_at
from tickwire.bus.connection import Bus
from tickwire.exchange.ccxt_patches.socket_hooks import Hooks
from tickwire.model.feeds import Feed, Kind
from tickwire.streamer.service import serve_streamer
from tickwire.streamer.subscriptions.live_venue import LiveVenue, open_live_venue

pytestmark = pytest.mark.actors

SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "BNB/USDT", "DOGE/USDT")
KINDS: tuple[Kind, ...] = ("trade", "book", "ticker")


async def until(condition: Callable[[], Any], timeout_s: float = 30) -> None:
    """Wait for something outside of this process to be so."""
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.05)


def left_behind(venue: LiveVenue) -> dict[str, Any]:
    """What is not empty of what grows with feeds."""
    rest, sockets = venue.rest, venue.router
    found = {
        "clients": rest.clients,
        "trades": rest.trades,
        "orderbooks": rest.orderbooks,
        "tickers": rest.tickers,
        "bidsasks": rest.bidsasks,
        "places": rest.options.get("streamBySubscriptionsHash"),
        "counts": rest.options.get("numSubscriptionsByStream"),
        "watched": list(sockets),
        "kept": list(sockets._kept),
        "markets": sockets._markets.by_name,
        "names": sockets._markets._names,
        "on sockets": sockets._used._on,
        "kept on sockets": sockets._kept._index._on,
        "streams": sockets._used._taking,
        "awaited": sockets._awaited._names,
    }
    return {name: each for name, each in found.items() if each}


@pytest.mark.parametrize("exchange", ["binance", "okx"])
async def test_feeds_that_come_and_go_leave_no_socket_and_no_subscription(exchange: str) -> None:
    async with running_simulator("--live-rate", "200") as simulator, venue_at(simulator.url, exchange) as venue:
        for _ in range(3):
            async with AsyncExitStack() as stack:
                memories = []
                for symbol in SYMBOLS[:3]:
                    for kind in KINDS:
                        memories.append(Memory())
                        await stack.enter_async_context(venue.watching(Feed(kind, exchange, symbol), memories[-1]))
                for memory in memories:
                    await memory.get(1)
                assert await simulator.sockets()
        await until(lambda: nothing_open(simulator))
        assert left_behind(venue) == {}


def best(view: Any) -> tuple[Any, Any]:
    """The best level of each side."""
    return tuple(view.bids[0][:2]), tuple(view.asks[0][:2])


async def nothing_open(simulator: SimulatorProcess) -> bool:
    """By the exchange's own account."""
    return await simulator.sockets() == []


async def test_a_socket_stays_while_one_feed_needs_it_and_a_returning_feed_reuses_it() -> None:
    async with running_simulator("--live-rate", "200") as simulator, venue_at(simulator.url, "okx") as venue:
        stays, goes = Memory(), Memory()
        async with venue.watching(Feed("trade", "okx", "BTC/USDT"), stays):
            async with venue.watching(Feed("trade", "okx", "ETH/USDT"), goes):
                await goes.get(1)
            async with venue.watching(Feed("trade", "okx", "ETH/USDT"), goes):
                await goes.get(len(goes.items) + 1)
            await stays.get(len(stays.items) + 100)
            (socket,) = await simulator.sockets()
            assert socket["streams"] == ["trades:BTC-USDT"]
        assert stays.told == ["connected"]
        await until(lambda: nothing_open(simulator))


@pytest.mark.parametrize("exchange", ["bitget"])
async def test_what_cannot_be_unsubscribed_goes_with_its_socket(exchange: str) -> None:
    """Neither ccxt nor a dialect can unsubscribe there; ccxt keeps their books where no dialect decodes them."""
    async with (
        standins.standing_in(exchange) as stand_in,
        open_live_venue(exchange, standins.settings(stand_in), hooks=Hooks(text=False)) as venue,
    ):
        memory, other = Memory(), Memory()
        async with venue.watching(Feed("trade", exchange, standins.SYMBOL), other):
            async with venue.watching(Feed("book", exchange, standins.SYMBOL), memory):
                await memory.get(1)
            # Another feed needs the socket, on which ccxt goes on with the book: it is right when it is watched again.
            stand_in.change(bids=[(99.0, 4.0)])
            stand_in.change(bids=[(100.0, 0.0)])
            again = Memory()
            async with venue.watching(Feed("book", exchange, standins.SYMBOL), again):
                stand_in.change(asks=[(101.0, 7.0)])
                await again.until(lambda: bool(again.items) and best(again.items[-1]) == ((99.0, 4.0), (101.0, 7.0)))

        async def is_over() -> bool:
            return not stand_in.open

        await until(is_over)
        assert left_behind(venue) == {}


async def test_ccxts_places_for_subscriptions_are_given_back() -> None:
    """ccxt counts the subscriptions ever made on binance's sockets, and refuses more than so many."""
    async with running_simulator("--live-rate", "200") as simulator, venue_at(simulator.url) as venue:
        venue.rest.options["streamLimits"]["spot"] = 1
        venue.rest.options["subscriptionLimitByStream"]["spot"] = 2
        for symbol in SYMBOLS:
            memory = Memory()
            async with venue.watching(Feed("trade", "binance", symbol), memory):
                await memory.get(1)
            assert "disconnected" not in memory.told


async def test_a_streamer_whose_last_feed_was_stopped_has_no_socket_left(bus: Bus) -> None:
    async with (
        running_simulator("--live-rate", "200") as simulator,
        serving(bus, serve_streamer, settings(simulator.url)),
    ):
        for symbol in SYMBOLS:
            feeds = [Feed(kind, "binance", symbol) for kind in KINDS] + [Feed("candle", "binance", symbol, "1m")]
            for feed in feeds:
                await live.start(bus, feed, "churn")
            await until(lambda: any_open(simulator))
            for feed in feeds:
                await live.stop(bus, feed, "churn")
        await until(lambda: nothing_open(simulator))
        assert await reports(bus) == []


async def any_open(simulator: SimulatorProcess) -> bool:
    """Whether anything is subscribed, by the exchange's own account."""
    return any(socket["streams"] for socket in await simulator.sockets())
