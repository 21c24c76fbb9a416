"""The candle feed of one market, in all demanded timeframes.

| subject | direction | what |
|---|---|---|
| `tape.trade.<p>.<exchange>.<token>` | reads | `Trades`, from their stream: what candles are built from |
| `tape.candle.<exchange>.<token>.<timeframe>` | publishes | `Candle`; public as `md.candle.…` |
| `tape.ohlcv.<exchange>.<token>.<timeframe>` | publishes | `CandlePage`: complete candles, to be cached |
| `fetcher.fetch` | requests | `FetchRequest` for what was not observed wholly |
| `md.job.<id>` | subscribes | `Job`: whether that was fetched |
| `tape.status.candle.<exchange>.<token>` | publishes | `Status`, by `FeedStatus`; public as `md.status.candle.…` |

Candles of a timeframe that divides a day are built from the trades on the tape, whichever instance publishes those
(`built_feeds`); a new owner continues with the last published candle, from the message that it was built from. Other
timeframes are the exchange's own candles (`native_feeds`).

Volumes are in base currency. A candle is cached only if its volume equals, to the last digit, that of the exchange's
own row; otherwise the fetcher is asked for that row. An interval without a trade has a closed candle of volume 0 if the
exchange's history has one, and none if it has none.
"""

from __future__ import annotations

import asyncio

from tickwire.exchange import opening
from tickwire.model import timeframes
from tickwire.process import lifecycle
from tickwire.streamer.candles.built_feeds import BuiltFeeds
from tickwire.streamer.candles.native_feeds import NativeFeeds
from tickwire.streamer.candles.outbox import CacheOutbox
from tickwire.streamer.candles.partial_candles import divides_a_day
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.task_group import TaskGroup
from tickwire.venues.registry import grid_of, profile_of

PENDING_S = 1.0
"""How long something may be pending before a candle is repeated to state it, if none is published anyway."""


async def run(context: FeedContext) -> None:
    """Publish the candles of `context.demand` until `context.stop` is set; raises as `FeedContext` describes."""
    context.status.state = "starting"
    context.status.report("starting")
    facts = profile_of(context.feed.exchange).candles
    settle_ms = max(context.settings.settle_ms, facts.settled_after_ms)
    offered = facts.offered(opening.timeframes(context.feed.exchange), context.units.kind)
    outbox = CacheOutbox(context.bus, context.feed, context.status, settle_ms, offered)
    async with lifecycle.unwrapped(), TaskGroup() as group:
        group.create_task(outbox.send())
        group.create_task(outbox.refetch())
        async with lifecycle.unwrapped(), TaskGroup() as tasks:
            feed = CandleFeed(context, outbox, tasks)
            reminding = tasks.create_task(feed.remind())
            await feed.run()
            reminding.cancel()
        outbox.finish()
    context.status.state = "stopped"
    context.status.report("stopped")


class CandleFeed:
    """Runs the demanded timeframes, as the demand changes."""

    def __init__(self, context: FeedContext, outbox: CacheOutbox, tasks: TaskGroup) -> None:
        self._context = context
        self._outbox = outbox
        self._built = BuiltFeeds(context, outbox, tasks)
        self._native = NativeFeeds(context, outbox, tasks)

    async def run(self) -> None:
        """Follow the demand until `stop` is set; the publishers then publish what is left. Raises Fenced."""
        stop, demand = self._context.stop, self._context.demand
        try:
            while not stop.is_set():
                changed = demand.changed
                await self._meet(demand.timeframes)
                await lifecycle.first_of(None, stop.wait(), changed.wait())
        finally:
            self._built.close()
            await self._native.close()
        self._built.finish()

    async def remind(self) -> None:
        """Have each tape state what has been pending for PENDING_S, until cancelled."""
        while True:
            await self._outbox.added.wait()
            self._outbox.added.clear()
            await asyncio.sleep(PENDING_S)
            for publisher in [*self._built.publishers, *self._native.publishers]:
                publisher.remind()

    async def _meet(self, demanded: frozenset[str]) -> None:
        """Run exactly the demanded timeframes."""
        for timeframe in set(self._native.timeframes) - demanded:
            await self._native.remove(timeframe)
        for timeframe in set(self._built.timeframes) - demanded:
            await self._built.remove(timeframe)
        added = demanded - set(self._native.timeframes) - set(self._built.timeframes)
        by_length = sorted(added, key=timeframes.duration_ms)
        for timeframe in by_length:
            if not self._is_built(timeframe):
                await self._native.add(timeframe)
        await self._built.add(timeframe for timeframe in by_length if self._is_built(timeframe))

    def _is_built(self, timeframe: str) -> bool:
        """Whether a timeframe is built from trades: it divides a day that opens at midnight, and trades are offered."""
        opens_at_midnight = grid_of(self._context.feed.exchange, timeframe).opens_at is None
        has_trades = self._context.venue.rest.has.get("watchTrades")
        return opens_at_midnight and divides_a_day(timeframe) and bool(has_trades)
