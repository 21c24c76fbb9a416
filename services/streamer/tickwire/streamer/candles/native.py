"""Candles as the exchange makes them, for timeframes that are not built from trades."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from tickwire.model.feeds import Candle, Feed, Gap
from tickwire.model.ranges import Range
from tickwire.redaction import redacted
from tickwire.streamer.candles.builder import row_of
from tickwire.streamer.candles.candle_tape import CandleTape
from tickwire.streamer.candles.outbox import CacheOutbox
from tickwire.streamer.candles.publisher import CandlePublisher
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.control.feed_venue import FeedVenue
from tickwire.streamer.throttle import Rejections
from tickwire.venues.registry import grid_of, profile_of
from tickwire.venues.units import row_in_base, stated


class ClockQueue:
    """Runs steps in order, each once the exchange's clock has reached its time; at once if its time is unknown."""

    def __init__(self, venue: FeedVenue) -> None:
        self._venue = venue
        self._steps: deque[tuple[int, Callable[[], None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, due: int, step: Callable[[], None]) -> None:
        """Run `step` at `due` (ms, the exchange's clock), after the steps before it."""
        self._steps.append((due, step))
        self._run_due()

    def clear(self) -> None:
        """Drop the steps that wait."""
        self._steps.clear()
        self._run_due()

    def _run_due(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._steps:
            due, step = self._steps[0]
            now = self._venue.clock()
            if now is not None and now < due:
                self._timer = asyncio.get_running_loop().call_later((due - now) / 1000, self._run_due)
                return
            self._steps.popleft()
            step()


class NativeCandles:
    """One timeframe: the venue puts candles in (a `FeedSink`), `publisher` publishes them, the outbox caches them.

    A candle is closed, once, when the exchange says so or when a later one opens, but not before the exchange's clock
    reaches its end. If that clock is unknown, only the next candle closes one. A closed candle is cached if it is
    complete; the fetcher is asked for it if its last state may have been missed in an interruption, or if the exchange
    may revise it. It is also asked for intervals that the exchange skipped: those are a gap after an interruption;
    otherwise nothing may have been traded in them.
    """

    def __init__(self, context: FeedContext, feed: Feed, tape: CandleTape, outbox: CacheOutbox) -> None:
        assert feed.timeframe is not None
        self._context = context
        self._status = context.status
        self._timeframe = feed.timeframe
        self._grid = grid_of(feed.exchange, feed.timeframe)
        self._is_final = profile_of(feed.exchange).candles.settle_ms == 0
        """Whether the exchange never revises a closed candle."""
        self._outbox = outbox
        self._rejections = Rejections(context.status)
        self._steps = ClockQueue(context.venue)
        last = tape.last
        self._open = last if last is not None and not last.closed else None
        self._closed_ms = last.timestamp if last is not None and last.closed else -1
        """Open time of the last closed candle."""
        self._expected_ms: int | None = None
        """Open time of the next candle, once there was one before it."""
        self._doubtful = True
        """Whether changes of the open candle may have been missed."""
        self._interrupted = True
        self._connections = 0
        self.publisher = CandlePublisher(
            context,
            feed.timeframe,
            tape.writer,
            last,
            newest=lambda: self._open,
            pending=lambda: outbox.pending(self._timeframe),
        )
        if last is not None:
            outbox.inherit(last)
            if last.closed:
                # Its owner may have ended before it filed it.
                self._file(last)

    # ---- called by the venue

    def take(self, items: Sequence[Candle], received: int) -> None:
        """Take candles, in order."""
        self._status.state = "live"
        for candle in items:
            self._steps.add(*self._step(candle))

    def connected(self) -> None:
        """Candles arrive from now on. Until the open one is sent again, it is doubtful."""
        if self._connections:
            self._status.reconnects += 1
        self._connections += 1
        self._status.troubles.pop(self._timeframe, None)
        self._status.state = "live"
        self._status.report("connected", f"{self._timeframe} candles of the exchange")

    def disconnected(self, reason: str) -> None:
        """The open candle may change unseen."""
        self._steps.add(0, self._doubt)
        self._status.state = "disconnected"
        self._status.report("disconnected", f"{self._timeframe} candles of the exchange: {reason}")

    def failed(self, reason: str) -> None:
        """The exchange refuses the subscription for now."""
        self._steps.add(0, self._doubt)
        self._status.troubles[self._timeframe] = redacted(reason)
        self._status.report("failed", f"{self._timeframe} candles of the exchange: {reason}")

    def rejected(self, reason: str) -> None:
        """A message could not be used."""
        self._rejections.add(reason)

    def left_out(self, reason: str) -> None:
        """A candle could not be used: it may have been the last state of the open one."""
        self._steps.add(0, self._doubt)
        self._rejections.add(f"a candle: {reason}")

    def end(self) -> None:
        """Take nothing more. What still waits is sent again to the next owner."""
        self._steps.clear()

    # ---- candles

    def _step(self, candle: Candle) -> tuple[int, Callable[[], None]]:
        """From when on (ms) a candle can be taken, and the step that takes it."""
        if candle.closed and self._context.venue.clock() is None:
            # It is unknown whether its end has come: the next candle closes it.
            candle = msgspec.structs.replace(candle, closed=False)
        if not candle.closed:
            # It closes the one before it.
            return candle.timestamp, partial(self._accept, candle)
        end = self._grid.next_open(candle.timestamp)
        refusal = self._context.venue.admission.refusal(end)
        if refusal is None:
            return end, partial(self._accept, candle)
        self._rejections.add(f"a candle is closed before its end: {refusal}")
        return candle.timestamp, partial(self._accept, msgspec.structs.replace(candle, closed=False))

    def _accept(self, candle: Candle) -> None:
        if candle.timestamp <= self._closed_ms or (self._open and candle.timestamp < self._open.timestamp):
            self._status.duplicates += 1
            return
        if self._open is not None and candle.timestamp > self._open.timestamp:
            self._close(msgspec.structs.replace(self._open, complete=self._open.complete and not self._doubtful))
        if self._expected_ms is not None and candle.timestamp > self._expected_ms:
            self._passed_over(Range(self._expected_ms, candle.timestamp))
        self._expected_ms = candle.timestamp
        self._doubtful = self._interrupted = False
        measured = self._in_base(candle)
        if candle.closed:
            self._close(measured)
        else:
            self._open = msgspec.structs.replace(measured, sequence=0)
            self.publisher.change()

    def _in_base(self, candle: Candle) -> Candle:
        """The candle with its volume in base currency where that is known; venues' own decoders have converted it."""
        if candle.volume_unit is not None:
            return candle
        units = self._context.units
        volume = row_in_base(row_of(candle), units.live)[5]
        return msgspec.structs.replace(candle, volume=volume, volume_unit=units.watches)

    def _close(self, candle: Candle) -> None:
        self._open = None
        self._closed_ms = candle.timestamp
        candle = msgspec.structs.replace(candle, closed=True, sequence=0, repeated=False, owed=None, outdated=None)
        self.publisher.close(candle)
        self._file(candle)

    def _file(self, candle: Candle) -> None:
        """Have a closed candle cached as it is, or fetched."""
        end = self._expected_ms = self._grid.next_open(candle.timestamp)
        if not self._grid.opens(candle.timestamp):
            # The cache has no place for a week that begins on another day.
            return
        interval = Range(candle.timestamp, end)
        if not candle.complete:
            self._status.gaps += 1
            self._outbox.missed(self._timeframe, interval)
        elif stated(candle.symbol, candle.volume_unit) == "base" == self._context.units.fetches:
            row = row_of(candle)
            self._outbox.observed(self._timeframe, *interval, row, final=self._is_final, origin="exchange")
            if not self._is_final:
                # The exchange may revise it: fetch its final state once it has settled.
                self._outbox.missed(self._timeframe, interval)
        else:
            self._outbox.missed(self._timeframe, interval)

    def _passed_over(self, missing: Range) -> None:
        self._outbox.missed(self._timeframe, missing)
        if not self._interrupted:
            return
        self._status.gaps += 1
        reason = "the exchange sent none of them before it was connected again"
        gap = Gap(since=missing.since - 1, until=missing.until, reason=reason)
        self._status.report("gap", f"{self._timeframe} candles: {reason}", gap=gap)

    def _doubt(self) -> None:
        self._doubtful = self._interrupted = True
