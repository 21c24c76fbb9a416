"""The streamer service: publishes live trades, books, tickers and candles of exchanges on the tape.

| subject | | |
|---|---|---|
| `streamer.start` | answers | StartRequest -> FeedReport: registers or renews an interest |
| `streamer.stop` | answers | StopRequest -> FeedReport: withdraws an interest |
| `streamer.list` | answers | FeedsRequest -> FeedList in chunks: every feed of every instance |
| `streamer.market` | answers | MarketRequest -> MarketReport: a market, and the units of its numbers |
| `streamer.reports.<instance>` | answers, asks | FeedsRequest -> FeedList: the feeds that one instance owns |
| `$KV.INTEREST.>` | reads, writes | the interests; entries expire with their TTL |
| `$KV.LEASES.streamer.>` | reads, writes | the leases: which instance owns which slot |
| `tape.trade.<p>.<exchange>.<token>` | publishes, reads | Trades; public as `md.trade.…` |
| `tape.book.<exchange>.<token>` | publishes | Book; public as `md.book.…` |
| `tape.book_delta.<p>.<exchange>.<token>` | publishes | BookDeltas; public as `md.book_delta.…` |
| `tape.ticker.<exchange>.<token>` | publishes | Ticker; public as `md.ticker.…` |
| `tape.candle.<exchange>.<token>.<timeframe>` | publishes | Candle; public as `md.candle.…` |
| `tape.status.<kind>.<exchange>.<token>` | publishes | Status; public as `md.status.…` |
| `tape.ohlcv.<exchange>.<token>.<timeframe>` | publishes | CandlePage: complete candles for the cache |
| `fetcher.fetch` | asks | FetchRequest: candles that were not observed completely |

Every instance reads all interests. Each partition of the tape is a lease, `slot.<p>`, for which all instances contend;
the holder runs the wanted feeds of the markets in that partition. An interest in a candle is an interest in its trades,
too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.leases import open_leases_unannounced
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.errors import BadRequest, Busy
from tickwire.exchange import opening
from tickwire.model.feeds import (
    Feed,
    FeedReport,
    FeedsRequest,
    MarketReport,
    MarketRequest,
    StartRequest,
    StopRequest,
)
from tickwire.observe import logs
from tickwire.observe.metrics import Metrics
from tickwire.process import heap, lifecycle
from tickwire.process.turns import Turns
from tickwire.settings import Settings
from tickwire.streamer import tickers
from tickwire.streamer.books import feed as books
from tickwire.streamer.candles import feed as candles
from tickwire.streamer.control.feed_reports import FeedReports
from tickwire.streamer.control.feed_runner import FeedBody, FeedRunner, OpenedMarket
from tickwire.streamer.control.feed_supervisor import FeedSupervisor
from tickwire.streamer.control.interests import Interests, check, open_interests
from tickwire.streamer.control.pinned_feeds import keep_registered, pinned
from tickwire.streamer.metrics import of_feeds, of_partitions
from tickwire.streamer.subscriptions.live_venue import LiveVenue
from tickwire.streamer.subscriptions.venue_pool import VenuePool, open_venue_pool
from tickwire.streamer.trades import feed as trades
from tickwire.task_group import TaskGroup

log = logs.get(__name__)

T = TypeVar("T")

SERVICE = "streamer"
BODIES: dict[str, FeedBody] = {"trade": trades.run, "book": books.run, "ticker": tickers.run, "candle": candles.run}


async def serve_streamer(bus: Bus, settings: Settings, instance: str, stop: asyncio.Event, metrics: Metrics) -> None:
    """Serve until `stop` is set, then release all slots. Raises ConfigError for a wrong feed in the configuration."""
    pinned_feeds = pinned(settings.streamer, instance)
    opening.preload(pro=True)
    await streams.declare_for(bus.jetstream, settings)
    turns = Turns()
    async with (
        AsyncExitStack() as stack,
        open_venue_pool(settings, turns) as venues,
        open_leases_unannounced(bus, SERVICE, instance, settings.leases.ttl_s, stop, metrics) as leases,
        TaskGroup() as group,
        open_interests(bus, settings.streamer, turns) as interests,
    ):

        async def open_market(market: Feed) -> OpenedMarket:
            venue = await venues.get(market.exchange)
            return OpenedMarket(venue, await venue.markets.units(market.symbol))

        partitions = settings.tape.partitions
        runner = FeedRunner(bus, settings, instance, open_market, BODIES, turns)
        # Feeds are what lives long here, and end as reference cycles.
        supervisor = FeedSupervisor(interests, leases, runner, partitions, stack.enter_context(heap.ageing()))
        reports = FeedReports(bus, instance, interests, leases, supervisor, partitions)
        interests.follow(supervisor.reconcile)
        group.create_task(supervisor.own_slots(stop))
        # Until the last feed has ended.
        stack.enter_context(metrics.writing(lambda: of_feeds(supervisor.statuses())))
        stack.enter_context(metrics.writing(lambda: of_partitions(supervisor.writers())))
        endpoints = _endpoints(instance, Control(venues, interests, reports, stop), reports)
        async with serve(bus, SERVICE, endpoints, instance=instance, metrics=metrics):
            keeper = group.create_task(keep_registered(interests, pinned_feeds, stop))
            log.info("serving")
            await stop.wait()
        keeper.cancel()


class Control:
    """The endpoints that change interests or describe markets. `stop` is the service's."""

    def __init__(self, venues: VenuePool, interests: Interests, reports: FeedReports, stop: asyncio.Event) -> None:
        self._stop = stop
        self._venues = venues
        self._interests = interests
        self._reports = reports

    async def start(self, request: StartRequest, _call: Call) -> FeedReport:
        """Register an interest, if the exchange offers the feed."""
        check(request)
        opening.known(request.exchange)
        await self._unless_stopped(self._check_offered(request))
        await self._interests.register(request)
        return await self._reports.of(request.feed)

    async def withdraw(self, request: StopRequest, _call: Call) -> FeedReport:
        """Withdraw an interest."""
        check(request)
        await self._interests.withdraw(request)
        return await self._reports.of(request.feed)

    async def market(self, request: MarketRequest, _call: Call) -> MarketReport:
        """Describe a market according to the exchange's listing."""
        opening.known(request.exchange)
        # Checks the names before an exchange is opened for them.
        _ = Feed("trade", request.exchange, request.symbol).path
        return await self._unless_stopped(self._describe(request))

    async def _check_offered(self, request: StartRequest) -> LiveVenue:
        """The exchange of a feed. Raises the refusal of a feed that it does not offer."""
        venue = await self._venues.get(request.exchange)
        await venue.markets.check(request.feed)
        if request.deltas and not venue.has_diffs:
            raise BadRequest(f"book deltas are not available for {request.exchange}", "leave deltas out")
        return venue

    async def _describe(self, request: MarketRequest) -> MarketReport:
        venue = await self._venues.get(request.exchange)
        return await venue.markets.describe(request.symbol)

    async def _unless_stopped(self, work: Awaitable[T]) -> T:
        """The result of work that waits for an exchange, which may demand a pause of minutes. Raises Busy at a stop."""
        found = await lifecycle.unless_stopped(self._stop, work)
        if found is None:
            raise Busy("this streamer stops", "ask again: another one answers")
        return found


def _endpoints(instance: str, control: Control, reports: FeedReports) -> list[Endpoint[Any]]:
    return [
        # Many at once, because requests for an exchange that answers slowly wait up to a minute.
        Endpoint("streamer.start", StartRequest, control.start, concurrent=2048),
        Endpoint("streamer.stop", StopRequest, control.withdraw),
        Endpoint("streamer.list", FeedsRequest, reports.list_all),
        Endpoint("streamer.market", MarketRequest, control.market),
        Endpoint(f"streamer.reports.{instance}", FeedsRequest, reports.list_own),
    ]
