"""A trade feed: every trade is on the tape once, in order, or a gap with its bounds is.

| subject | direction | what |
|---|---|---|
| `tape.trade.<p>.<exchange>.<token>` | reads, publishes | its end at the start; then `Trades` |
| `tape.status.trade.<exchange>.<token>` | publishes | `Status`, by `FeedStatus` |

The venue puts frames into the queue. One coroutine takes them from there, requests missing trades by REST, and appends.
While an append is in flight the next batch gathers, so batches grow only as far as they must.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ccxt.base import errors

from tickwire.errors import ExchangeFailed
from tickwire.model import messages
from tickwire.model.feeds import Trade, Trades
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.control.minute_marks import CLOCK_S
from tickwire.streamer.trades.appender import TradeAppender
from tickwire.streamer.trades.by_content import OrderingByContent
from tickwire.streamer.trades.by_id import OrderingById
from tickwire.streamer.trades.completeness import Completeness
from tickwire.streamer.trades.content_identity import Identity
from tickwire.streamer.trades.ordering import Ordering, TradeRun
from tickwire.streamer.trades.queue import TradeQueue
from tickwire.streamer.trades.repair import Repair
from tickwire.streamer.trades.resume import recent_trades
from tickwire.tape.former import fence_former
from tickwire.task_group import TaskGroup
from tickwire.venues.registry import dialect_of

log = logs.get(__name__)

READ_BACK = 1000
"""Trades read back where ids do not count up: as many as a REST page may hold."""


async def run(context: FeedContext) -> None:
    """Follow the feed until `context.stop` is set. Raises Fenced, and what opening the feed at the venue raises."""
    context.status.report("starting")
    writer, last = await context.open_tape(context.feed.public)
    appender = TradeAppender(context, writer)
    if last is None:
        nothing = Trades(exchange=context.feed.exchange, symbol=context.feed.symbol, trades=[], received=now_ms())
        await fence_former(context.bus, context.feed.public, messages.encode(nothing), context.confirm)
    # Fences an earlier writer: what is read back is then all there is.
    end = await appender.append_message([], now_ms())
    past = context.venue.past
    identity = Identity(past.ids_shared, past.resolution_ms, unique=past.facts.ids != "of orders")
    ordering = await _resumed(context, identity, end)
    await _learn_time(context)
    queue = TradeQueue(context.status, ordering, context.settings.held, context.venue.clock)
    feed = TradeFeed(context, appender, queue, identity)
    async with lifecycle.unwrapped(), TaskGroup() as group:
        helpers = [group.create_task(feed.completeness.run()), group.create_task(_wake(context.stop, queue.news))]
        async with context.venue.watching(context.feed, queue):
            await feed.run()
        await feed.finish()
        for helper in helpers:
            helper.cancel()
    context.status.state = "stopped"
    context.status.report("stopped")


class TradeFeed:
    """Moves trades from the queue to the tape."""

    def __init__(self, context: FeedContext, appender: TradeAppender, queue: TradeQueue, identity: Identity) -> None:
        self.completeness = Completeness(context, appender, queue, self._is_parked)
        self._stop = context.stop
        self._appender = appender
        self._queue = queue
        self._repair = Repair(context, appender, queue, identity)
        self._parked = False
        """Whether `run` waits for news."""
        self._ordered: Sequence[TradeRun] = ()
        """What was ordered in the turn in which it arrived, and could not be sent in that turn."""
        queue.straight = self._send_at_once

    async def run(self) -> None:
        """Append what arrives, repair what is missing, until `stop` is set. Raises Fenced.

        What arrives in order while nothing else is to be done is appended without this coroutine.
        """
        queue = self._queue
        while not self._stop.is_set():
            self._parked = True
            try:
                await queue.wait()
            finally:
                self._parked = False
            await self._append_ordered()
            while (queue or queue.repairable) and not self._stop.is_set():
                await self._appender.append(queue.next_runs())
                if queue.repairable:
                    await self._repair.run()

    async def finish(self) -> None:
        """Append what has arrived; no more may arrive. Raises Fenced."""
        await self._append_ordered()
        # Trades that wait for missing ones are fetched by the next owner.
        await self._appender.append(self._queue.all_runs())

    def _is_parked(self) -> bool:
        """Whether the feed waits for news, with nothing left to append."""
        return self._parked and not self._ordered

    def _send_at_once(self, trades: Sequence[Trade], received: int) -> bool:
        """Append trades in the turn in which they arrived; False if they have to go through the queue."""
        queue = self._queue
        if not self._parked or self._ordered or queue.missing or not trades:
            return False
        # Kept until they are sent: a failure here must not lose what is ordered.
        self._ordered = runs = queue.order(trades, received)
        if len(runs) == 1 and self._appender.append_now(runs[0]):
            self._ordered = ()
            if len(runs[0].trades) == len(trades):
                # None is held back, so none is missing.
                return True
        if self._ordered or queue.missing:
            queue.news.set()
        return True

    async def _append_ordered(self) -> None:
        await self._appender.settled()
        ordered, self._ordered = self._ordered, ()
        await self._appender.append(ordered)


async def _resumed(context: FeedContext, identity: Identity, end: int) -> Ordering:
    """The ordering that continues the tape, whose last message has sequence `end`."""
    by_id = context.venue.sequential_ids
    recent = await recent_trades(context.bus, context.feed, end, 1 if by_id else READ_BACK)
    if by_id:
        return OrderingById(*recent)
    drop_aggregated = dialect_of(context.feed.exchange).drop_aggregated
    sides_known = context.venue.past.knows_sides(context.feed.symbol)
    return OrderingByContent(*recent, identity, drop_aggregated, sides_known=sides_known)


async def _learn_time(context: FeedContext) -> None:
    """Ask the exchange for its time; without an answer within 5 s it is unknown for now."""
    try:
        async with asyncio.timeout(CLOCK_S):
            await context.venue.now()
    except (errors.BaseError, ExchangeFailed, TimeoutError) as error:
        log.debug("the exchange's time is not available", **context.feed.fields, error=repr(error))


async def _wake(stop: asyncio.Event, news: asyncio.Event) -> None:
    """Wake the coroutine that waits for news once `stop` is set."""
    await stop.wait()
    news.set()
