"""Runs the timeframes whose candles are built from the trade tape."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tickwire.model import timeframes
from tickwire.model.feeds import Candle, Feed, Trades
from tickwire.model.ranges import Range
from tickwire.streamer.candles.builder import CandleBuilder, fold
from tickwire.streamer.candles.candle_tape import open_candle_tape
from tickwire.streamer.candles.clock_gate import admitted, in_time
from tickwire.streamer.candles.intervals import Intervals
from tickwire.streamer.candles.outbox import CacheOutbox
from tickwire.streamer.candles.publisher import CandlePublisher
from tickwire.streamer.candles.trade_followers import BuildGroup, TradeFollowers
from tickwire.streamer.candles.trade_tape import position, stream_info
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.task_group import TaskGroup
from tickwire.venues.units import BASE, stated


class BuiltFeeds:
    """The built timeframes of one market. Tasks run in `tasks`."""

    def __init__(self, context: FeedContext, outbox: CacheOutbox, tasks: TaskGroup) -> None:
        self._context = context
        self._status = context.status
        self._outbox = outbox
        self._tasks = tasks
        self._trades = Feed("trade", context.feed.exchange, context.feed.symbol)
        self._publishers: dict[str, CandlePublisher] = {}
        self._publishing: dict[str, asyncio.Task[None]] = {}
        self._intervals = Intervals(context, outbox, self._publishers)
        self._followers = TradeFollowers(context.slot_tape, self._trades, tasks, self._take, self._unreadable)

    @property
    def timeframes(self) -> Iterable[str]:
        """Those that run."""
        return self._publishers.keys()

    @property
    def publishers(self) -> list[CandlePublisher]:
        """One for each timeframe that runs."""
        return list(self._publishers.values())

    async def add(self, names: Iterable[str]) -> None:
        """Build these timeframes and publish them. Raises Fenced."""
        builders: dict[str, CandleBuilder] = {}
        for timeframe in names:
            self._status.built.add(timeframe)
            builders[timeframe] = await self._open(timeframe)
        if builders:
            self._followers.add(builders)

    async def remove(self, timeframe: str) -> None:
        """Build a timeframe no more, and end its publisher."""
        self._status.built.discard(timeframe)
        publisher = self._publishers.pop(timeframe)
        self._followers.remove(timeframe)
        publisher.finish()
        # If it is demanded again, there must be one writer only.
        await self._publishing.pop(timeframe)

    def close(self) -> None:
        """Stop reading; the publishers go on until `finish`."""
        self._followers.close()

    def finish(self) -> None:
        """Have the publishers publish what is left, and end."""
        for publisher in self._publishers.values():
            publisher.finish()

    async def _open(self, timeframe: str) -> CandleBuilder:
        """Continue where the tape of the candles ends, or begin."""
        context = self._context
        info = await stream_info(context.bus, self._trades)
        writer, last = await open_candle_tape(context, context.feed._replace(timeframe=timeframe), info)
        unit = None if last is None else stated(last.symbol, last.volume_unit)
        # A candle that an earlier version began in contracts cannot be continued.
        if last is not None and last.sequence and unit == context.units.builds:
            builder = CandleBuilder.resume(last)
        else:
            now = await context.venue.now()
            # If the exchange's time is unknown, building starts at the end of the tape.
            target = 0 if now is None else now - now % timeframes.duration_ms(timeframe)
            back_ms = 0 if now is None else now - target
            start = await position(context.bus, self._trades, back_ms, info)
            builder = CandleBuilder.begin(timeframe, start, target)
            if last is not None and now is not None:
                oldest = now - int(context.settings.repair_span_s * 1000)
                self._fetch_after(last, Range(oldest, target))
        if last is not None:
            self._outbox.inherit(last)
            if last.closed:
                # Its owner may have ended before it filed it.
                self._intervals.file(last, last.timestamp + builder.duration)
        publisher = CandlePublisher(
            context,
            timeframe,
            writer,
            last,
            newest=lambda: self._intervals.open_candle(builder),
            pending=lambda: self._outbox.pending(timeframe),
        )
        self._publishers[timeframe] = publisher
        self._publishing[timeframe] = self._tasks.create_task(publisher.run())
        return builder

    def _fetch_after(self, last: Candle, reach: Range) -> None:
        """Have fetched what followed the last candle within `reach`: its trades are no longer on the tape."""
        duration = timeframes.duration_ms(last.timeframe)
        since = max(last.timestamp + duration * last.closed, reach.since - reach.since % duration)
        if since < reach.until:
            self._intervals.missed(last.timeframe, Range(since, reach.until))

    async def _take(self, group: BuildGroup, sequence: int, trades: Trades) -> None:
        """Take a message of the trade tape for a group of builders."""
        trades = admitted(trades, self._context.venue.admission, self._unreadable)
        if not await in_time(trades, group.builders.values(), self._context.venue, self._context.stop):
            return
        # If there are native timeframes, too, those decide what is live.
        if self._status.state == "starting":
            self._status.state = "live"
            self._status.report("connected")
        results = fold(group.builders, group.grain, sequence, trades, self._context.units.trades or BASE)
        for timeframe, result in results:
            self._intervals.take(timeframe, result, sequence)
        publishers = [self._publishers[timeframe] for timeframe in group.builders]
        if trades.trades:
            for publisher, builder in zip(publishers, group.builders.values(), strict=True):
                if builder.bar is not None:
                    publisher.change()
        if results:
            for publisher in publishers:
                await publisher.room()

    def _unreadable(self, reason: str) -> None:
        self._status.rejected += 1
        self._status.report("rejected", reason)
