"""One exchange as the streamer uses it: its markets, its clock, its REST, and feeds pushed into sinks.

ccxt is the control plane: a parked `await watch_*` for each subscription subscribes, and raises when the connection
breaks. Data is taken at the hooks (`tickwire.exchange.ccxt_patches.socket_hooks`), before anything awaits it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, cast

from ccxt.base import errors

from tickwire.errors import ExchangeFailed, TickwireError, UnsupportedKind
from tickwire.exchange.ccxt_patches.observed_exchange import StreamedExchange, observed
from tickwire.exchange.ccxt_patches.socket_hooks import Hooks, prove
from tickwire.exchange.ccxt_patches.unsubscribing import unsubscribe
from tickwire.exchange.ccxt_types import CcxtClient, OpenedExchange
from tickwire.exchange.guarded_call import guarded_call
from tickwire.exchange.opening import open_exchange
from tickwire.exchange.past_trades import PastTrades
from tickwire.model.feeds import Feed
from tickwire.observe import logs
from tickwire.process.bulkhead import bulkhead
from tickwire.process.lifecycle import unwrapped
from tickwire.process.turns import Turns
from tickwire.redaction import described
from tickwire.settings import ExchangeSettings, Settings, StreamerSettings, credentials
from tickwire.streamer.control.feed_venue import FeedSink
from tickwire.streamer.control.minute_marks import MinuteMarks
from tickwire.streamer.control.offered_feeds import offered
from tickwire.streamer.subscriptions.frame_router import FrameRouter
from tickwire.streamer.subscriptions.idle_sockets import IdleSockets
from tickwire.streamer.subscriptions.socket_probe import SocketProbe
from tickwire.streamer.subscriptions.subscription import Subscription, WatchedFeed, arming, leaving
from tickwire.streamer.subscriptions.venue_clock import VenueClock
from tickwire.streamer.subscriptions.venue_markets import VenueMarkets
from tickwire.streamer.subscriptions.watch_loop import Ended, watch
from tickwire.streamer.subscriptions.watch_methods import Call, WatchMethod, watch_methods
from tickwire.streamer.subscriptions.watchdog import Watchdog
from tickwire.task_group import TaskGroup
from tickwire.venues.registry import profile_of

log = logs.get(__name__)

UNSUBSCRIBE_S = 5.0
"""How long the exchange has to confirm that a feed is unsubscribed."""
_TRADES_LIMIT = 20_000
"""Trades of a symbol that ccxt caches where data comes from awaits: as many may come between two of them."""
_KEEP_ALIVE_MS = 15_000


class LiveVenue:
    """An opened exchange: a `FeedVenue`. Created by `open_live_venue`."""

    def __init__(self, opened: OpenedExchange, router: FrameRouter) -> None:
        profile = profile_of(opened.id)
        self.exchange: str = opened.id
        self.rest = opened
        self.router = router
        self.markets = VenueMarkets(opened)
        self.sequential_ids = profile.trades.ids == "counting"
        self.has_diffs = router.keeps_books
        self.snapshots = asyncio.Lock()
        self.idle_sockets = IdleSockets(opened, router)
        self.venue_clock = VenueClock(opened)
        self.clock: Callable[[], int | None] = opened.clock.now
        """See `FeedVenue`."""
        self.admission = self.venue_clock.admission
        self.past = PastTrades(opened, profile.trades, self.clock)
        self.minutes = MinuteMarks()
        self._probe = SocketProbe()

    async def now(self) -> int | None:
        """See `FeedVenue`."""
        return await self.venue_clock.now()

    @asynccontextmanager
    async def watching(self, feed: Feed, sink: FeedSink) -> AsyncIterator[None]:
        """Push the feed into `sink` within the block; unsubscribe at the exchange at the end of it.

        Reconnects by itself. Raises UnknownSymbol, UnsupportedKind or ExchangeFailed out of the block if the exchange
        refuses for good.
        """
        watched = WatchedFeed(feed, sink, self.admission)
        methods = watch_methods(self.rest, self.router.dialect, feed)
        pairs = [(method, Subscription(watched, method.name)) for method in methods]
        watched.subscriptions = [subscription for _, subscription in pairs]
        self.router.add(watched)
        for _, subscription in pairs:
            self.router.resume(subscription)
        stop = asyncio.Event()
        try:
            async with unwrapped(), TaskGroup() as group:
                for method, subscription in pairs:
                    group.create_task(self._supervise(method, subscription, stop))
                try:
                    yield
                finally:
                    stop.set()
        finally:
            self.router.remove(watched)
            for method, subscription in pairs:
                # Of a ticker, the second subscription may have been given up.
                if subscription in watched.subscriptions:
                    await self._unsubscribe(method, subscription)

    async def answering(self, feeds: Collection[Feed], since: int) -> Collection[Feed]:
        """See `FeedVenue`. Takes about two seconds at most."""
        sockets = {feed: self._sockets(feed) for feed in feeds}
        asked = list({client for clients in sockets.values() for client in clients})
        answers = await asyncio.gather(*(self._probe.answers(client, since) for client in asked))
        alive = {client for client, is_alive in zip(asked, answers, strict=True) if is_alive}
        return [feed for feed, clients in sockets.items() if clients and alive.issuperset(clients)]

    def _sockets(self, feed: Feed) -> list[CcxtClient]:
        """The sockets of a feed; none unless each of its subscriptions is up."""
        watched = self.router.watched(feed)
        subscriptions = watched.subscriptions if watched is not None else []
        clients = [each.client for each in subscriptions if each.is_up and each.client is not None]
        return clients if len(clients) == len(subscriptions) else []

    async def resubscribe(self, feed: Feed, reason: str) -> None:
        """See `FeedVenue`."""
        if (watched := self.router.watched(feed)) is not None:
            await self.resubscribe_watched(watched, reason)

    async def resubscribe_watched(self, watched: WatchedFeed, reason: str) -> None:
        """Subscribe a watched feed again, after a call of its sink's `disconnected`."""
        methods = {each.name: each for each in watch_methods(self.rest, self.router.dialect, watched.feed)}
        for subscription in list(watched.subscriptions):
            client = subscription.client
            subscription.renewing = True
            subscription.down(reason)
            # After unwatching, its parked await raises UnsubscribeError, and the watch loop subscribes again at once.
            unwatched = await self._unwatch(methods[subscription.name], subscription)
            if not unwatched and client is not None and client in (self.rest.clients or {}).values():
                client.on_error(errors.RequestTimeout(reason))

    async def _unsubscribe(self, method: WatchMethod, subscription: Subscription) -> None:
        """Unsubscribe at the exchange. If that is impossible, the subscription lasts as long as its socket."""
        client = subscription.client
        subscription.is_stopped = True
        is_open = client is not None and client in (self.rest.clients or {}).values()
        with self.idle_sockets.leaving(client):
            if not is_open or await self._unwatch(method, subscription):
                self.router.left(subscription)
            elif subscription.ending:
                self.router.doubt(subscription)
            else:
                subscription.is_stopped = False
                self.router.keep(subscription)
        self.idle_sockets.departed()

    async def _unwatch(self, method: WatchMethod, subscription: Subscription) -> bool:
        unwatch = method.unwatch or self._own_unwatch(subscription)
        if unwatch is None:
            return False
        subscription.ending.clear()
        token = leaving.set(subscription)
        try:
            async with asyncio.timeout(UNSUBSCRIBE_S):
                await guarded_call(unwatch)
        except (errors.BaseError, TimeoutError) as error:
            log.warning("not unsubscribed", exchange=self.exchange, method=method.name, error=described(error))
            return False
        finally:
            leaving.reset(token)
        return True

    def _own_unwatch(self, subscription: Subscription) -> Call | None:
        """The call that unsubscribes by the venue's own message; None where it is unknown or nothing is subscribed."""
        client, message = subscription.client, self.router.dialect.unsubscription
        made = [each.name for each in subscription.placed if each.client is client]
        if message is None or client is None or not made or not client.isConnected:
            return None
        return partial(unsubscribe, client, message(made), made, subscription.awaited)

    # ---- the watch loop of a subscription

    async def _supervise(self, method: WatchMethod, subscription: Subscription, stop: asyncio.Event) -> None:
        watched = subscription.watched
        arming.set(subscription)

        def failed(error: errors.BaseError, wait: float) -> None:
            # At info only at the beginning of an outage.
            write = log.debug if subscription.is_up is False else log.info
            write("watching again", **watched.feed.fields, method=method.name, error=described(error), wait_s=wait)
            subscription.down(described(error))

        arm = partial(self._subscribe, method, subscription)
        take = partial(self._take_awaited, watched)
        ended = await watch(arm, take, stop, failed=failed, sent_at=lambda: subscription.sent_at)
        if ended.error is None:
            return
        if subscription is watched.subscriptions[0]:
            subscription.down(ended.reason)
            # There is nothing to unsubscribe.
            subscription.client = None
            raise self._refusal(watched.feed, ended)
        fields = {**watched.feed.fields, "method": method.name}
        log.warning("a feed goes on without its second subscription", **fields, reason=ended.reason)
        self.router.give_up(subscription)

    async def _subscribe(self, method: WatchMethod, subscription: Subscription) -> object:
        """Have ccxt subscribe, and wait for the next result."""
        symbol = subscription.watched.feed.symbol
        await self.router.turns.step()
        if await self.markets.find(symbol) is None:
            raise errors.BadSymbol(f"{self.exchange} does not list {symbol}")
        self.router.locate(subscription.watched)
        self.router.renew(subscription)
        subscription.awaited.clear()
        return await method.watch()

    def _take_awaited(self, watched: WatchedFeed, result: object) -> None:
        # If more came since, the cache has more than the result.
        cache = (self.rest.trades or {}).get(watched.feed.symbol) if watched.feed.kind == "trade" else None
        self.router.take_awaited(watched, result if cache is None else cache)

    def _refusal(self, feed: Feed, ended: Ended) -> TickwireError:
        match ended.error:
            case errors.BadSymbol():
                return self.markets.unknown(feed.symbol)
            case errors.NotSupported():
                return UnsupportedKind(f"{self.exchange}: {feed}: {ended.reason}", offered(self.rest))
            case _:
                return ExchangeFailed(f"{self.exchange}: {feed}: {ended.reason}", "asking again would not help")


@asynccontextmanager
async def open_live_venue(
    exchange: str, settings: Settings, *, hooks: Hooks | None = None, turns: Turns | None = None
) -> AsyncIterator[LiveVenue]:
    """Open an exchange with ccxt.pro. It connects when something is watched.

    `hooks` defaults to those that work on the installed ccxt. `turns`: those that it shares with others, or else its
    own. Raises UnknownExchange and ConfigError.
    """
    own = settings.of_exchange(exchange)
    table = merged(_defaults(exchange, settings.streamer), own.ccxt)
    chosen = ExchangeSettings(ccxt=table, gateway=own.gateway, concurrency=own.concurrency)
    async with AsyncExitStack() as stack:
        opening = open_exchange(exchange, chosen, credentials(exchange), pro=True, extended=observed)
        opened = cast(StreamedExchange, await stack.enter_async_context(opening))
        # Feeds were unsubscribed before: closing at once loses nothing.
        opened.timeout_on_exit = 0
        router = FrameRouter(opened, hooks or prove(opened), settings.streamer.acknowledge_s, turns)
        if not router.hooks.result and "tradesLimit" not in own.ccxt.get("options", {}):
            opened.options["tradesLimit"] = _TRADES_LIMIT
        opened.observer = router
        venue = LiveVenue(opened, router)
        watchdog = Watchdog(opened, router, settings.streamer, venue.resubscribe_watched)
        await stack.enter_async_context(unwrapped())
        group = await stack.enter_async_context(TaskGroup())
        works = (watchdog.run, venue.venue_clock.compare_when_doubted, venue.idle_sockets.run)
        tasks = [group.create_task(_guarded(exchange, work)) for work in works]
        try:
            yield venue
        finally:
            for task in tasks:
                task.cancel()


async def _guarded(exchange: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run background work until cancelled, again after each failure."""

    def failed(error: Exception, failures: int) -> None:
        fields = {"exchange": exchange, "work": getattr(work, "__qualname__", ""), "failures": failures}
        log.error("background work of an exchange failed", **fields, exc_info=error)

    await bulkhead(work, asyncio.Event(), failed=failed)


def _defaults(exchange: str, settings: StreamerSettings) -> dict[str, Any]:
    options = {"ws": {"keepAlive": min(_KEEP_ALIVE_MS, int(settings.silence_s * 500))}}
    return {"rateLimiterAlgorithm": "rollingWindow", "options": {**options, **profile_of(exchange).options}}


def merged(defaults: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """`chosen` over `defaults`, table by table."""
    table = dict(defaults)
    for name, value in chosen.items():
        known = table.get(name)
        table[name] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return table
