"""The body of a feed of trades: every trade on the tape once, in order, or a gap with its bounds.

| subject | |
|---|---|
| `tape.trade.<exchange>.<token>` | read back at first; then appended to: trades, gaps, how far the tape is complete |
| `tape.status.trade.<exchange>.<token>` | what happens to the feed, by `FeedStatus` |

The venue puts frames into the intake; one coroutine takes them from there, asks REST for what is missing, and appends.
While an append is under way the next batch gathers, so batches are as large as they must be and no larger.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from ccxt.base import errors

from tickwire.bus import streams
from tickwire.errors import ExchangeFailed
from tickwire.exchange.ccxt_patches import monotonic_ms
from tickwire.model import messages
from tickwire.model.feeds import Gap, Trade, Trades
from tickwire.model.times import now_ms
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.trades.by_content import OrderingByContent
from tickwire.streamer.trades.by_id import OrderingById
from tickwire.streamer.trades.content_identity import Identity
from tickwire.streamer.trades.ordering import Source, TradeRun
from tickwire.streamer.trades.queue import BATCH_TRADES, TradeQueue
from tickwire.streamer.trades.repair import Repair
from tickwire.streamer.trades.resume import recent_trades
from tickwire.tape.writer import TapeWriter, open_writer
from tickwire.venues.registry import dialect_of
from tickwire.venues.units import stated_in_trades

log = logs.get(__name__)

BATCH_BYTES = 512 * 1024
"""Half of nats-server's default `max_payload`."""
READ_BACK = 1000
"""Trades read back where ids do not count: as many as a page of REST may hold."""
MINUTE_MS = 60_000
RECHECK_S = 1.0
CLOCK_S = 5.0


async def run(context: FeedContext) -> None:
    """Follow the feed until `context.stop` is set. Raises Fenced, and what opening the feed at the venue raises."""
    context.status.report("starting")
    tape, _ = await open_writer(context.bus, streams.TRADES, context.feed.tape, context.confirm)
    past = context.venue.past
    identity = Identity(past.ids_shared, past.resolution_ms)
    body = TradeFeed(context, tape, identity)
    # Shuts an earlier writer out, so that what is read back is all there is.
    end = await body.append_message([], now_ms())
    counted = context.venue.sequential_ids
    recent = await recent_trades(context.bus, context.feed, end, 1 if counted else READ_BACK)
    dialect = dialect_of(context.feed.exchange)
    ordering = OrderingById(*recent) if counted else OrderingByContent(*recent, identity, dialect.drop_aggregated)
    await _told_the_time(context)
    intake = TradeQueue(context.status, ordering, context.settings.held, context.venue.clock)
    async with lifecycle.unwrapped(), asyncio.TaskGroup() as group:
        beside = [group.create_task(body.minutes(intake)), group.create_task(_wake_to_stop(context, intake))]
        async with context.venue.watching(context.feed, intake):
            await body.follow(intake)
        # What waits for something missing, the next owner fetches.
        await body.append(intake.all_ordered())
        for task in beside:
            task.cancel()
    context.status.state = "stopped"
    context.status.report("stopped")


async def _wake_to_stop(context: FeedContext, intake: TradeQueue) -> None:
    await context.stop.wait()
    intake.wake.set()


async def _told_the_time(context: FeedContext) -> None:
    """Have the exchange asked for its time; without an answer it is unknown for the time being."""
    try:
        async with asyncio.timeout(CLOCK_S):
            await context.venue.now()
    except (errors.BaseError, ExchangeFailed, TimeoutError) as error:
        log.debug("the exchange does not tell the time", **context.feed.fields, error=repr(error))


class TradeFeed:
    def __init__(self, context: FeedContext, tape: TapeWriter, identity: Identity) -> None:
        self._context = context
        self._status = context.status
        self._tape = tape
        self._repair = Repair(context, self.append, identity)
        self._boundary: int | None = None
        """The minute up to which the tape is to be declared complete: nothing of it is on its way any more."""
        self._units = stated_in_trades(context.units)

    async def follow(self, intake: TradeQueue) -> None:
        """Append what arrives, until stopped."""
        stop = self._context.stop
        while not stop.is_set():
            await intake.wake.wait()
            intake.wake.clear()
            while (intake or intake.repairable) and not stop.is_set():
                await self.append(intake.ordered())
                if intake.repairable:
                    await self._repair.run(intake)
            await self._mark(intake)

    # ---- the tape

    async def append(self, runs: Sequence[TradeRun]) -> None:
        """Append them in messages of bounded size."""
        for run in runs:
            # A gap may be all there is.
            for start in range(0, max(1, len(run.trades)), BATCH_TRADES):
                await self.append_message(
                    run.trades[start : start + BATCH_TRADES],
                    run.received or now_ms(),
                    source=run.source,
                    gap=None if start else run.gap,
                )
            if run.source == "rest":
                self._status.repaired += len(run.trades)
            self._said_gap(run.gap)

    def _said_gap(self, gap: Gap | None) -> None:
        if gap is not None:
            self._status.gaps += 1
            self._status.report("gap", gap.reason, gap=gap)

    async def append_message(
        self,
        trades: list[Trade],
        received: int,
        *,
        source: Source = "live",
        gap: Gap | None = None,
        until: int | None = None,
    ) -> int:
        """Append one message, or several where its trades take too many bytes; the sequence of the last."""
        if trades and self._context.venue.sequential_ids:
            # Where ids count, nothing can come before a trade that is on the tape: as far as the time has come.
            now = self._context.venue.clock()
            until = None if now is None else min(now, trades[-1].timestamp)
        message = Trades(
            exchange=self._context.feed.exchange,
            symbol=self._context.feed.symbol,
            trades=trades,
            received=received,
            source=source,
            gap=gap,
            until=until,
            **self._units,
        )
        data = messages.encode(message)
        if len(data) > BATCH_BYTES and len(trades) > 1:
            half = len(trades) // 2
            await self.append_message(trades[:half], received, source=source, gap=gap)
            return await self.append_message(trades[half:], received, source=source)
        sequence = await self._tape.append(data)
        if trades and source == "live":
            self._status.published(len(trades), received=received, timestamp=trades[-1].timestamp)
        else:
            self._status.published(len(trades))
        return sequence

    # ---- how far the tape is complete

    async def minutes(self, intake: TradeQueue) -> None:
        """After each UTC minute, by the exchange's clock, have the tape say that it is complete up to there."""
        settle_ms = self._context.settings.settle_ms
        passed: int | None = None
        while True:
            try:
                now = await self._context.venue.now()
            except (errors.BaseError, ExchangeFailed) as error:
                log.debug("the exchange does not tell the time", **self._context.feed.fields, error=repr(error))
                await asyncio.sleep(RECHECK_S)
                continue
            if now is None:
                # Nothing is complete up to a time that nobody knows.
                await asyncio.sleep(CLOCK_S)
                continue
            boundary = (now - settle_ms) // MINUTE_MS * MINUTE_MS
            settled = now - settle_ms - boundary
            next_at = time.monotonic() + (MINUTE_MS - settled) / 1000
            passed = boundary if passed is None else passed
            # What was before the boundary is here when what was asked after it is answered.
            if passed < boundary and await self._context.venue.answers(self._context.feed, monotonic_ms() - settled):
                self._boundary = passed = boundary
            if self._boundary is not None:
                intake.wake.set()
            until_next = next_at - time.monotonic()
            done = self._boundary is None and passed == boundary
            await asyncio.sleep(until_next if done else min(until_next, RECHECK_S))

    async def _mark(self, intake: TradeQueue) -> None:
        boundary, last = self._boundary, intake.ordering.last
        if boundary is None or intake or intake.missing:
            return
        if intake.connected_for_s * 1000 < max(1, self._context.settings.settle_ms):
            return
        self._boundary = None
        if last is None or last.timestamp < boundary:
            gap = intake.ordering.pending_gap(boundary)
            await self.append_message([], now_ms(), until=boundary, gap=gap)
            self._said_gap(gap)
            intake.ordering.declare_complete(boundary)
