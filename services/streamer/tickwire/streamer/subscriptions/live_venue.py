"""One exchange as the streamer uses it: its markets, its clock, its REST, and feeds pushed into sinks.

ccxt is the control plane: a parked `await watch_*` per subscription subscribes, and raises when the connection
breaks. The data is taken at the hooks (`tickwire.streamer.subscriptions.hooks`), before anybody awaits it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from ccxt.base import errors

from tickwire.errors import (
    ExchangeFailed,
    TickwireError,
    UnknownSymbol,
    UnsupportedKind,
)
from tickwire.exchange.admission import Admission
from tickwire.exchange.ccxt_patches import monotonic_ms
from tickwire.exchange.guarded_call import guarded_call
from tickwire.exchange.listing import Listing, unknown_symbol
from tickwire.exchange.opening import open_exchange
from tickwire.exchange.past_trades import PastTrades
from tickwire.model import plausibility
from tickwire.model.feeds import KINDS, Feed, MarketReport
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.process.bulkhead import bulkhead
from tickwire.process.lifecycle import unwrapped
from tickwire.redaction import described
from tickwire.settings import ExchangeSettings, Settings, StreamerSettings, credentials
from tickwire.streamer.control.feed_venue import FeedSink
from tickwire.streamer.control.market_report import described as described_market
from tickwire.streamer.control.offered_feeds import method_of, offered, refusal
from tickwire.streamer.subscriptions.ccxt_state import BEST_PRICES
from tickwire.streamer.subscriptions.frame_router import FrameRouter
from tickwire.streamer.subscriptions.hooks import Hooks, prove
from tickwire.streamer.subscriptions.idle_sockets import IdleSockets
from tickwire.streamer.subscriptions.socket_probe import SocketProbe
from tickwire.streamer.subscriptions.socket_reports import listening
from tickwire.streamer.subscriptions.subscription import Part, Watched, arming
from tickwire.streamer.subscriptions.watch_loop import Ended, watch
from tickwire.venues.registry import profile_of
from tickwire.venues.units import Units, units_of

log = logs.get(__name__)

CLOCK_S = 60.0
"""How long the exchange's clock is trusted before it is asked again."""
ASK_AGAIN_S = 5.0
"""How long an exchange that did not tell the time is not asked for it again."""
LEAVE_S = 5.0
"""How long the exchange has to confirm that a feed was unsubscribed."""
_TRADES_LIMIT = 20_000
"""Trades of a symbol that ccxt keeps where data comes from its awaits: what may come while nobody awaits."""
_KEEP_ALIVE_MS = 15_000


class _Way(NamedTuple):
    """How a subscription is made, and unmade where the exchange can."""

    name: str
    arm: Callable[[], Awaitable[Any]]
    leave: Callable[[], Awaitable[Any]] | None


class LiveVenue:
    """An opened exchange: `FeedVenue`. Made by `open_live_venue`."""

    def __init__(self, opened: Any, router: FrameRouter, settings: StreamerSettings) -> None:
        self.exchange: str = opened.id
        self.rest = opened
        self.sequential_ids = profile_of(opened.id).trades.ids == "counting"
        self.past = PastTrades(opened, profile_of(opened.id).trades, self.clock)
        self.router = router
        self.has_diffs = self.sequential_ids and router.decodes
        """Whether books arrive as changes, rather than whole as ccxt keeps them."""
        self.snapshots = asyncio.Lock()
        self._settings = settings
        self._listing = Listing(opened)
        self._comparing = asyncio.Lock()
        self._doubted = asyncio.Event()
        self.admission = Admission(self._latest, self._doubted.set)
        self.idle_sockets = IdleSockets(opened, router)
        self._ask_again = float("-inf")
        """Until when (monotonic, s) an exchange that did not tell the time is left alone."""
        self._probe = SocketProbe()

    async def now(self) -> int | None:
        """The exchange's clock, ms, compared anew where that is a minute ago; None while its time is unknown.

        Never our own. Where it cannot be asked, as it was compared last.
        """
        await self._compare(CLOCK_S)
        return self.clock()

    def clock(self) -> int | None:
        """The exchange's clock, ms, as it is known without asking; None while its time is unknown."""
        now: int | None = self.rest.clock.now()
        return now

    def _latest(self) -> int:
        return plausibility.latest(self.rest.clock.latest(), now_ms())

    async def doubting(self) -> None:
        """Compare the clocks anew when something is later than it can be, until cancelled."""
        await bulkhead(self._doubt, asyncio.Event(), failed=self._unguarded)

    async def _doubt(self) -> None:
        while True:
            await self._doubted.wait()
            await self._compare(0.0)
            # What is still too late then is wrong itself.
            await asyncio.sleep(ASK_AGAIN_S)
            self._doubted.clear()

    async def _compare(self, max_age_s: float) -> None:
        """Have the exchange asked for its time where that is so long ago, once however many ask for it."""
        async with self._comparing:
            if time.monotonic() < self._ask_again:
                return
            try:
                await guarded_call(lambda: self.rest.clock.compare(max_age_s))
            except errors.BaseError as error:
                log.warning("the exchange does not tell the time", exchange=self.exchange, error=described(error))
                self._ask_again = time.monotonic() + ASK_AGAIN_S

    async def market(self, symbol: str) -> Any:
        """ccxt's description of a market. Raises UnknownSymbol, and ExchangeFailed when the venue cannot be asked."""
        try:
            found = await self._find(symbol)
        except errors.BaseError as error:
            raise ExchangeFailed(f"{self.exchange}: markets: {described(error)}", "try again later") from error
        if found is None:
            raise self._unknown(symbol)
        return found

    async def units(self, symbol: str) -> Units:
        """The units of a market's numbers. Raises as `market` does."""
        return units_of(profile_of(self.exchange), await self.market(symbol))

    async def describe(self, symbol: str) -> MarketReport:
        """A market as `streamer.market` tells it. Raises as `market` does."""
        found = await self.market(symbol)
        units = units_of(profile_of(self.exchange), found)
        return described_market(self.exchange, found, units, self.rest.precisionMode)

    async def check(self, feed: Feed) -> None:
        """Raises UnsupportedKind, UnsupportedTimeframe, UnknownSymbol or ExchangeFailed where it cannot be watched.

        Candles are built from trades for every timeframe that divides a day, and are the exchange's own otherwise.
        """
        kind = method_of(self.rest, feed)
        refused = refusal(self.rest, profile_of(self.exchange), kind, await self.market(feed.symbol))
        if refused is not None:
            raise refused

    @asynccontextmanager
    async def watching(self, feed: Feed, sink: FeedSink) -> AsyncIterator[None]:
        """Have the feed pushed into `sink` within the block; unsubscribe at the exchange on leaving it.

        Reconnects by itself. Raises UnknownSymbol, UnsupportedKind or ExchangeFailed out of the block when the
        exchange refuses for good.
        """
        watched = Watched(feed, sink, self.admission)
        ways = self._ways(feed)
        watched.parts = [Part(watched, way.name) for way in ways]
        self.router.add(watched)
        for part in watched.parts:
            self.router.resume(part)
        stop = asyncio.Event()
        try:
            async with unwrapped(), asyncio.TaskGroup() as group:
                for way, part in zip(ways, list(watched.parts), strict=True):
                    group.create_task(self._supervise(way, part, stop))
                try:
                    yield
                finally:
                    stop.set()
        finally:
            self.router.remove(watched)
            for part in watched.parts:
                await self._depart(next(way for way in ways if way.name == part.name), part)

    async def _depart(self, way: _Way, part: Part) -> None:
        """Unsubscribe at the exchange; where it cannot be, the subscription goes with its socket."""
        is_open = part.client is not None and part.client in (self.rest.clients or {}).values()
        if is_open and not await self._leave(way):
            self.router.keep(part)
        else:
            self.router.left(part)
        self.idle_sockets.departed()

    async def answers(self, feed: Feed, since: int) -> bool:
        """Whether the sockets of a feed answer what they were asked at or after `since` (see `FeedVenue`).

        Then the sink has all that the exchange said before. Known within a second or so.
        """
        parts = [part for watched in self.router if watched.feed == feed for part in watched.parts]
        if not parts or not all(part.is_up and part.client is not None for part in parts):
            return False
        return all([await self._probe.answers(part.client, since) for part in parts])

    async def guard(self) -> None:
        """Open silent sockets and silent feeds again, until cancelled."""
        await bulkhead(self._guard, asyncio.Event(), failed=self._unguarded)

    def _unguarded(self, error: Exception, failures: int) -> None:
        log.error("the watchdog failed", exchange=self.exchange, failures=failures, exc_info=error)

    async def _guard(self) -> None:
        silence = self._settings.silence_s * 1000
        longest = dict.fromkeys(KINDS, self._settings.feed_silence_s * 1000)
        longest["book"] = self._settings.book_silence_s * 1000
        due = float("inf")
        while True:
            # Nothing that does not exist yet can be due sooner.
            await asyncio.sleep(max(0.05, min(due - monotonic_ms(), silence, *longest.values()) / 1000))
            now, due = monotonic_ms(), float("inf")
            for client in list((self.rest.clients or {}).values()):
                if not client.isConnected or client.error:
                    continue
                last = max(client.last_message_at or 0, client.connectionEstablished or 0)
                if now - last >= silence:
                    # ccxt closes it, and every await on it raises this.
                    client.on_error(errors.RequestTimeout(f"silent for {(now - last) / 1000:.0f} s"))
                else:
                    due = min(due, last + silence)
            for watched in self.router:
                if not all(part.is_up for part in watched.parts):
                    continue
                feed_silence = longest[watched.feed.kind]
                if now - watched.last >= feed_silence:
                    await self._resubscribe(watched, f"silent for {(now - watched.last) / 1000:.0f} s")
                else:
                    due = min(due, watched.last + feed_silence)

    async def resubscribe(self, feed: Feed, reason: str) -> None:
        """Have a feed that is watched subscribed anew; its sink is told that it was disconnected."""
        for watched in self.router:
            if watched.feed == feed:
                await self._resubscribe(watched, reason)

    async def _resubscribe(self, watched: Watched, reason: str) -> None:
        for way, part in zip(self._ways(watched.feed), list(watched.parts), strict=False):
            client = part.client
            part.down(reason)
            # Its parked await raises UnsubscribeError, and is armed again at once.
            if not await self._leave(way) and client in (self.rest.clients or {}).values():
                client.on_error(errors.RequestTimeout(reason))

    async def _supervise(self, way: _Way, part: Part, stop: asyncio.Event) -> None:
        watched = part.watched
        arming.set(part)

        async def arm() -> Any:
            if await self._find(watched.feed.symbol) is None:
                raise errors.BadSymbol(f"{self.exchange} does not list {watched.feed.symbol}")
            self.router.locate(watched)
            self.router.renew(part)
            part.awaited.clear()
            return await way.arm()

        def handle(result: Any) -> None:
            # The cache has more than the answer, where more came meanwhile.
            cache = (self.rest.trades or {}).get(watched.feed.symbol) if watched.feed.kind == "trade" else None
            self.router.awaited(watched, result if cache is None else cache)

        def failed(error: errors.BaseError, wait: float) -> None:
            # Said at the beginning of an outage, not at each turn.
            say = log.debug if part.is_up is False else log.info
            say("watched again", **watched.feed.fields, way=way.name, error=described(error), wait_s=wait)
            part.down(described(error))

        ended = await watch(arm, handle, stop, failed=failed)
        if ended.error is None:
            return
        if part is watched.parts[0]:
            part.down(ended.reason)
            # There is nothing to unsubscribe.
            part.client = None
            raise self._refusal(watched.feed, ended)
        log.warning("part of a feed is not to be had", **watched.feed.fields, way=way.name, reason=ended.reason)
        watched.parts = [each for each in watched.parts if each is not part]
        watched.changed("")

    async def _leave(self, way: _Way) -> bool:
        if way.leave is None:
            return False
        try:
            async with asyncio.timeout(LEAVE_S):
                await guarded_call(way.leave)
        except (errors.BaseError, TimeoutError) as error:
            log.warning("not unsubscribed", exchange=self.exchange, way=way.name, error=described(error))
            return False
        return True

    def _ways(self, feed: Feed) -> list[_Way]:
        """The subscriptions that a feed takes, the one it cannot be without first."""
        rest, has, symbol = self.rest, self.rest.has, feed.symbol
        # Each call gets a table of its own: ccxt writes into its defaults.
        match feed.kind:
            case "trade":
                name = self.router.dialect.stream_params(rest.options, "watchTrades")
                return [
                    self._way("trades", lambda: rest.watch_trades(symbol, params=dict(name)), "unWatchTrades",
                              lambda: rest.un_watch_trades(symbol, dict(name)))
                ]  # fmt: skip
            case "book":
                return [
                    self._way("book", lambda: rest.watch_order_book(symbol, params={}), "unWatchOrderBook",
                              lambda: rest.un_watch_order_book(symbol, {}))
                ]  # fmt: skip
            case "ticker":
                name = self.router.dialect.stream_params(rest.options, "watchTicker")
                ways = [
                    self._way("ticker", lambda: rest.watch_ticker(symbol, dict(name)), "unWatchTicker",
                              lambda: rest.un_watch_ticker(symbol, dict(name)))
                ]  # fmt: skip
                if has.get("watchBidsAsks"):
                    ways.append(
                        self._way(BEST_PRICES, lambda: rest.watch_bids_asks([symbol], params={}), "unWatchBidsAsks",
                                  lambda: rest.un_watch_bids_asks([symbol], {}))
                    )  # fmt: skip
                return ways
            case "candle":
                return [
                    self._way("candles", lambda: rest.watch_ohlcv(symbol, feed.timeframe, params={}), "unWatchOHLCV",
                              lambda: rest.un_watch_ohlcv(symbol, feed.timeframe, {}))
                ]  # fmt: skip

    def _way(self, name: str, arm: Any, un_watch: str, leave: Any) -> _Way:
        return _Way(name, arm, leave if self.rest.has.get(un_watch) else None)

    async def _find(self, symbol: str) -> Any:
        """A market, listed a moment ago perhaps; None where it is not. Raises ccxt's errors."""
        return await self._listing.find(symbol, lambda anew: guarded_call(lambda: self.rest.load_markets(anew)))

    def _unknown(self, symbol: str) -> UnknownSymbol:
        return unknown_symbol(self.exchange, symbol, self.rest.markets)

    def _refusal(self, feed: Feed, ended: Ended) -> TickwireError:
        match ended.error:
            case errors.BadSymbol():
                return self._unknown(feed.symbol)
            case errors.NotSupported():
                return UnsupportedKind(f"{self.exchange}: {feed}: {ended.reason}", offered(self.rest))
            case _:
                return ExchangeFailed(f"{self.exchange}: {feed}: {ended.reason}", "asking again would not help")


@asynccontextmanager
async def open_live_venue(exchange: str, settings: Settings, *, hooks: Hooks | None = None) -> AsyncIterator[LiveVenue]:
    """An exchange opened with ccxt.pro; nothing is connected until something is watched.

    `hooks` are those that work on the installed ccxt, unless others are chosen. Raises UnknownExchange and ConfigError.
    """
    own = settings.of_exchange(exchange)
    table = merged(_defaults(exchange, settings.streamer), own.ccxt)
    opening = open_exchange(
        exchange,
        ExchangeSettings(ccxt=table, gateway=own.gateway, concurrency=own.concurrency),
        credentials(exchange),
        pro=True,
        extended=listening,
    )
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(opening)
        # Nothing is lost by going at once: feeds were left before.
        opened.timeout_on_exit = 0
        router = FrameRouter(opened, hooks or prove(opened), settings.streamer.acknowledge_s)
        if not router.hooks.result and "tradesLimit" not in own.ccxt.get("options", {}):
            opened.options["tradesLimit"] = _TRADES_LIMIT
        opened.router = router
        venue = LiveVenue(opened, router, settings.streamer)
        await stack.enter_async_context(unwrapped())
        group = await stack.enter_async_context(asyncio.TaskGroup())
        beside = [
            group.create_task(venue.guard()),
            group.create_task(venue.doubting()),
            group.create_task(venue.idle_sockets.close()),
        ]
        try:
            yield venue
        finally:
            for task in beside:
                task.cancel()


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
