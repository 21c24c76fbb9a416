"""A trade feed at work, on an exchange that the test plays or on an opened one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from support import feeds
from support.feeds import Running, ScriptedVenue, Witness
from tickwire.bus.connection import Bus
from tickwire.model.feeds import Feed
from tickwire.settings import StreamerSettings
from tickwire.streamer.control.feed_venue import FeedVenue
from tickwire.streamer.trades import feed as trades

FEED = Feed("trade", "binance", "BTC/USDT")
QUICK = StreamerSettings(repair_s=1.0, settle_ms=0)


def witness(bus: Bus) -> AbstractAsyncContextManager[Witness]:
    """What is seen of the feed."""
    return feeds.witness(bus, FEED)


@asynccontextmanager
async def running(
    bus: Bus, venue: ScriptedVenue, settings: StreamerSettings = QUICK, owner: str = "one"
) -> AsyncIterator[Running]:
    """The feed within the block, connected."""
    async with feeds.running(bus, trades.run, FEED, venue=venue, settings=settings, owner=owner) as body:
        (await venue.sink()).connected()
        yield body


@asynccontextmanager
async def following(
    bus: Bus, venue: FeedVenue, symbol: str, settings: StreamerSettings = QUICK
) -> AsyncIterator[tuple[Running, Witness]]:
    """A feed of an opened exchange within the block, and what is seen of it."""
    feed = Feed("trade", venue.exchange, symbol)
    async with (
        feeds.witness(bus, feed) as seen,
        feeds.running(bus, trades.run, feed, venue=venue, settings=settings) as body,
    ):
        yield body, seen
