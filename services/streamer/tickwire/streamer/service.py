"""The streamer: live trades, books, tickers and candles, from exchanges to the tape.

| subject | | |
|---|---|---|
| `streamer.start` | answers | StartRequest -> FeedReport: register or renew an interest |
| `streamer.stop` | answers | StopRequest -> FeedReport: withdraw it |
| `streamer.list` | answers | FeedsRequest -> FeedList in chunks: every feed of every instance |
| `streamer.market` | answers | MarketRequest -> MarketReport: what a market is, and the units of its numbers |
| `streamer.reports.<instance>` | answers, asks | FeedsRequest -> FeedList: what one instance owns |
| `$KV.INTEREST.>` | interests | who wants what; entries expire with their TTL |
| `$KV.LEASES.streamer.>` | leases | which instance owns which feed |
| `tape.trade.<exchange>.<token>` | publishes, reads | Trades; public as `md.trade.…` |
| `tape.book.<exchange>.<token>` | publishes | Book; public as `md.book.…` |
| `tape.book_delta.<exchange>.<token>` | publishes | BookDeltas; public as `md.book_delta.…` |
| `tape.ticker.<exchange>.<token>` | publishes | Ticker; public as `md.ticker.…` |
| `tape.candle.<exchange>.<token>.<timeframe>` | publishes | Candle; public as `md.candle.…` |
| `tape.status.<kind>.<exchange>.<token>` | publishes | Status; public as `md.status.…` |
| `tape.ohlcv.<exchange>.<token>.<timeframe>` | publishes | CandlePage: complete candles, to be cached |
| `fetcher.fetch` | asks | for candles that were not wholly observed |

Every instance knows all interests. A feed that somebody wants is a lease, `<kind>.<exchange>.<token>`, for which all
instances contend; whoever holds it runs the feed's body. Interest in a candle is interest in its trades as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.leases import Lease, Leases, open_leases
from tickwire.bus.service import Call, Endpoint, serve
from tickwire.errors import (
    BadRequest,
    BrokerUnavailable,
    ConfigError,
    Fenced,
    NoSuchService,
    RequestTimeout,
    TickwireError,
    UnknownExchange,
    UnknownSymbol,
    UnsupportedKind,
    UnsupportedTimeframe,
)
from tickwire.exchange import opening
from tickwire.model import feeds, messages
from tickwire.model.feeds import (
    Feed,
    FeedList,
    FeedReport,
    FeedsRequest,
    MarketReport,
    MarketRequest,
    StartRequest,
    StopRequest,
)
from tickwire.observe import logs
from tickwire.observe.episodes import Episode
from tickwire.observe.metrics import Metrics, Text
from tickwire.process.bulkhead import bulkhead, reason
from tickwire.process.lifecycle import leaf
from tickwire.settings import Settings, StreamerSettings
from tickwire.streamer import tickers
from tickwire.streamer.books import feed as books
from tickwire.streamer.candles import feed as candles
from tickwire.streamer.control.demand import Demand
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.control.feed_status import FeedStatus, open_feed_status
from tickwire.streamer.control.interests import Interests, check, open_interests
from tickwire.streamer.metrics import of_feeds
from tickwire.streamer.subscriptions.venue_pool import VenuePool, open_venue_pool
from tickwire.streamer.trades import feed as trades

log = logs.get(__name__)

SERVICE = "streamer"
ASK_S = 1.0
"""How long another instance may take to say what it owns."""
PINNED_TTL_S = 30
"""Feeds of the configuration are kept alive by whoever has them configured."""
HOPELESS_TTLS = 30
"""A feed that the venue refuses for good is tried again after so many times the leases' TTL."""
FEEDS_A_CHUNK = 500
"""A report is at most 500 bytes or so: half the broker's limit."""

BODIES = {"trade": trades.run, "book": books.run, "ticker": tickers.run, "candle": candles.run}
_HOPELESS = (UnknownExchange, UnknownSymbol, UnsupportedKind, UnsupportedTimeframe, ConfigError)


async def serve_streamer(bus: Bus, settings: Settings, instance: str, stop: asyncio.Event, metrics: Metrics) -> None:
    """Serve until `stop`, then hand all feeds on. Raises ConfigError when the pinned feeds cannot be meant."""
    pinned_feeds = pinned(settings.streamer, instance)
    opening.preload(pro=True)
    await streams.declare_for(bus.jetstream, settings)
    async with (
        AsyncExitStack() as stack,
        open_venue_pool(settings) as venues,
        open_leases(bus, SERVICE, instance, settings.leases.ttl_s, stop, metrics) as leases,
        asyncio.TaskGroup() as group,
    ):
        streamer = _Streamer(bus, settings, instance, venues, leases, group, stop)
        async with open_interests(bus, settings.streamer, streamer.reconcile) as interests:
            streamer.follow(interests)
            endpoints: list[Endpoint[Any]] = [
                # Many, because those for an exchange that answers slowly wait up to a minute.
                Endpoint("streamer.start", StartRequest, streamer.start, concurrent=2048),
                Endpoint("streamer.stop", StopRequest, streamer.withdraw),
                Endpoint("streamer.list", FeedsRequest, streamer.listed),
                Endpoint("streamer.market", MarketRequest, streamer.market),
                Endpoint(f"streamer.reports.{instance}", FeedsRequest, streamer.reports),
            ]
            # Read until the last feed has ended.
            stack.enter_context(metrics.writing(streamer.measured))
            async with serve(bus, SERVICE, endpoints, instance=instance, metrics=metrics):
                keeper = group.create_task(_keep(interests, pinned_feeds, stop))
                log.info("serving")
                await stop.wait()
            keeper.cancel()
            streamer.end()


def pinned(settings: StreamerSettings, instance: str) -> list[StartRequest]:
    """The interests that the configuration asks for. Raises ConfigError."""
    requests = []
    for line in settings.feeds:
        words = line.split()
        if len(words) not in (3, 4):
            raise ConfigError(
                f"streamer.feeds: {line!r} is not a feed", "write it as `trade binance BTC/USDT` or `candle … 1m`"
            )
        try:
            named = feeds.feed(words[0], opening.known(words[1]), words[2], words[3] if len(words) == 4 else None)
            request = StartRequest(
                kind=named.kind,
                exchange=named.exchange,
                symbol=named.symbol,
                timeframe=named.timeframe,
                subscriber=f"configuration of {instance}",
                ttl_s=PINNED_TTL_S,
            )
            check(request)
        except TickwireError as error:
            raise ConfigError(f"streamer.feeds: {line!r}: {error.message}", error.remedy) from error
        requests.append(request)
    return requests


async def _keep(interests: Interests, requests: Sequence[StartRequest], stop: asyncio.Event) -> None:
    """Keep the configuration's interests alive, whatever becomes of the broker."""
    failing = Episode(log, "pinned feeds are not renewed")
    while requests and not stop.is_set():
        try:
            for request in requests:
                await interests.register(request)
        except BrokerUnavailable as error:
            # What expires meanwhile is wanted anew as soon as the broker is back.
            failing.occurs(error=str(error))
            continue
        failing.ends()
        await asyncio.sleep(PINNED_TTL_S / 3)


@dataclass
class _Running:
    """A wanted feed on this instance, which owns it (then it has a status) or stands by."""

    demand: Demand
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    status: FeedStatus | None = None


class _Streamer:
    def __init__(
        self,
        bus: Bus,
        settings: Settings,
        instance: str,
        venues: VenuePool,
        leases: Leases,
        group: asyncio.TaskGroup,
        stop: asyncio.Event,
    ) -> None:
        self._bus = bus
        self._settings = settings
        self._instance = instance
        self._venues = venues
        self._leases = leases
        self._group = group
        self._stop = stop
        self._running: dict[Feed, _Running] = {}
        self._early: set[Feed] = set()
        self._interests: Interests | None = None

    def follow(self, interests: Interests) -> None:
        """From here on act on interests, those known already too."""
        self._interests = interests
        for market in self._early:
            self.reconcile(market)
        self._early.clear()

    # -- feeds ----------------------------------------------------------------------------------------------------

    def reconcile(self, market: Feed) -> None:
        """Make what runs what is wanted."""
        if self._interests is None:
            self._early.add(market)
            return
        running = self._running.get(market)
        if not self._interests.wanted(market) or self._stop.is_set():
            if running is not None:
                running.stop.set()
            return
        demand = self._interests.demand(market)
        if running is not None:
            running.demand.update(demand)
            return
        self._running[market] = running = _Running(demand)
        self._group.create_task(self._contend(market, running))

    def end(self) -> None:
        """Give everything up; the group waits for it."""
        for running in self._running.values():
            running.stop.set()

    async def _contend(self, market: Feed, running: _Running) -> None:
        hold = partial(
            self._leases.hold, market.path, partial(self._own, market, running), running.stop, **market.fields
        )
        try:
            # What fails before the feed has a status, or beside its body, is its own matter, too.
            await bulkhead(hold, running.stop, failed=partial(_failure, market))
        finally:
            del self._running[market]
        # It may have been wanted again while it ended.
        self.reconcile(market)

    async def _own(self, market: Feed, running: _Running, lease: Lease) -> None:
        """Run a feed while this instance holds its lease."""
        running.status = status = await open_feed_status(
            self._bus, market, self._instance, partial(self._leases.confirm, market.path)
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(status.run())
                await self._attempt(market, running, status, lease)
                status.end()
        except* Fenced as group_error:
            log.warning("another instance took the feed over", **market.fields, error=str(leaf(group_error)))
        finally:
            running.status = None

    async def _attempt(self, market: Feed, running: _Running, status: FeedStatus, lease: Lease) -> None:
        """Run the body of a feed, again and again where it fails, until the lease is to be released."""

        async def body() -> None:
            venue = await self._venues.get(market.exchange)
            units = await venue.markets.units(market.symbol)
            context = FeedContext(
                feed=market,
                bus=self._bus,
                venue=venue,
                settings=self._settings.streamer,
                demand=running.demand,
                status=status,
                stop=lease.stop,
                confirm=partial(self._leases.confirm, market.path),
                tape=self._settings.tape,
                units=units,
            )
            await BODIES[market.kind](context)

        def failed(error: Exception, failures: int) -> float | None:
            status.failed(reason(error))
            _failure(market, error, failures)
            # Nothing but another request can help: it is refused, this one was there before.
            return self._settings.leases.ttl_s * HOPELESS_TTLS if isinstance(leaf(error), _HOPELESS) else None

        await bulkhead(body, lease.stop, failed=failed, recovered=lambda: log.info("feed works again", **market.fields))

    def measured(self) -> Text:
        """What Prometheus is told."""
        return of_feeds(running.status for running in self._running.values() if running.status is not None)

    # -- requests -------------------------------------------------------------------------------------------------

    async def start(self, request: StartRequest, _call: Call) -> FeedReport:
        """Register an interest that can be met."""
        check(request)
        opening.known(request.exchange)
        venue = await self._venues.get(request.exchange)
        await venue.markets.check(request.feed)
        if request.deltas and not venue.has_diffs:
            raise BadRequest(f"the changes of books of {request.exchange} are not to be had", "leave deltas out")
        assert self._interests is not None
        await self._interests.register(request)
        return await self._report(request.feed)

    async def withdraw(self, request: StopRequest, _call: Call) -> FeedReport:
        """Withdraw an interest."""
        check(request)
        assert self._interests is not None
        await self._interests.withdraw(request)
        return await self._report(request.feed)

    async def market(self, request: MarketRequest, _call: Call) -> MarketReport:
        """Describe a market by its exchange's own listing."""
        opening.known(request.exchange)
        # Checks the names before anything is opened for them.
        _ = Feed("trade", request.exchange, request.symbol).path
        venue = await self._venues.get(request.exchange)
        return await venue.markets.describe(request.symbol)

    async def _report(self, feed: Feed) -> FeedReport:
        """One feed as its owner sees it."""
        assert self._interests is not None
        subscribers = self._interests.subscribers(feed)
        owner = self._leases.holder(feed.market.path)
        if owner is None or subscribers == 0:
            return _bare(feed, subscribers, owner)
        found = await self._ask(owner, FeedsRequest(exchange=feed.exchange))
        known = {each.feed: each for each in found or ()}
        market = Feed("trade", feed.exchange, feed.symbol)
        trader = self._leases.holder(market.path)
        if feed.kind == "candle" and trader not in (owner, None):
            others = await self._ask(trader, FeedsRequest(exchange=feed.exchange))
            known |= {each.feed: each for each in others or ()}
        return _of(known, feed, subscribers) or _bare(feed, subscribers, owner)

    async def listed(self, request: FeedsRequest, call: Call) -> None:
        """Every wanted feed; from its owner what only that one knows."""
        assert self._interests is not None
        members = sorted(self._leases.members)
        answers = await asyncio.gather(*(self._ask(member, request) for member in members))
        owned = {report.feed: report for answer in answers for report in answer or ()}
        silent = [member for member, answer in zip(members, answers, strict=True) if answer is None]
        found = []
        wanted = {*self._interests.feeds(), *(feed for feed in owned if feed.kind == "trade")}
        for feed in sorted(wanted, key=lambda each: (each.exchange, each.symbol, each.kind, each.timeframe or "")):
            if request.exchange is not None and feed.exchange != request.exchange:
                continue
            subscribers = self._interests.subscribers(feed)
            found.append(_of(owned, feed, subscribers) or _bare(feed, subscribers, None))
        chunks = [found[start : start + FEEDS_A_CHUNK] for start in range(0, len(found), FEEDS_A_CHUNK)] or [[]]
        for number, chunk in enumerate(chunks):
            await call.reply(FeedList(feeds=chunk, silent=silent, chunk=number, more=number + 1 < len(chunks)))

    async def reports(self, request: FeedsRequest, call: Call) -> None:
        """What this instance owns; of candles, each timeframe."""
        found = [
            report
            for market, running in self._running.items()
            if running.status is not None and request.exchange in (None, market.exchange)
            for report in running.status.feed_reports(running.demand.timeframes)
        ]
        chunks = [found[start : start + FEEDS_A_CHUNK] for start in range(0, len(found), FEEDS_A_CHUNK)] or [[]]
        for number, chunk in enumerate(chunks):
            await call.reply(FeedList(feeds=chunk, chunk=number, more=number + 1 < len(chunks)))

    async def _ask(self, instance: str, request: FeedsRequest) -> list[FeedReport] | None:
        """What an instance owns; None when it does not answer."""
        found: list[FeedReport] = []
        try:
            async with asyncio.timeout(ASK_S):
                async for part in self._bus.request_chunks(
                    f"streamer.reports.{instance}", request, partial(_decoded), timeout_s=ASK_S
                ):
                    found += part.feeds
        except (NoSuchService, RequestTimeout, TimeoutError) as error:
            log.debug("an instance is silent", other=instance, error=repr(error))
            return None
        return found


def _failure(market: Feed, error: Exception, failures: int) -> None:
    """Log the first failure of a series, one that nobody foresaw with its traceback."""
    if failures > 1:
        log.debug("feed failed again", **market.fields, failures=failures, error=reason(error))
    elif isinstance(leaf(error), TickwireError):
        log.warning("feed failed", **market.fields, error=reason(error))
    else:
        log.error("feed failed", **market.fields, error=reason(error), exc_info=error)


def _decoded(data: bytes) -> FeedList:
    return messages.decode(data, FeedList)


def _bare(feed: Feed, subscribers: int, owner: str | None) -> FeedReport:
    """A feed of which nothing is known but who wants it."""
    return FeedReport(
        kind=feed.kind,
        exchange=feed.exchange,
        symbol=feed.symbol,
        timeframe=feed.timeframe,
        state="waiting" if subscribers else "stopped",
        owner=owner,
        subscribers=subscribers,
    )


def _of(owned: Mapping[Feed, FeedReport], feed: Feed, subscribers: int) -> FeedReport | None:
    """What the owner says of a feed. Candles that are built from trades are as live as these."""
    # An earlier version reports all candles of a market as one.
    report = owned.get(feed) or owned.get(feed.market)
    if report is None:
        return None
    trades = owned.get(Feed("trade", feed.exchange, feed.symbol)) if report.built else None
    state = trades.state if trades is not None and report.state == "live" else report.state
    return msgspec.structs.replace(report, timeframe=feed.timeframe, state=state, subscribers=subscribers)
