"""Candles as the exchange makes them, for timeframes that are not built here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from tickwire.model.feeds import Candle, Feed, Gap
from tickwire.model.ranges import Range
from tickwire.redaction import redacted
from tickwire.streamer.candles.builder import row_of
from tickwire.streamer.candles.outbox import CacheOutbox
from tickwire.streamer.candles.publisher import CandlePublisher
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.throttle import Rejections
from tickwire.tape.writer import TapeWriter
from tickwire.venues.registry import grid_of, profile_of
from tickwire.venues.units import Units, row_in_base, stated


class NativeCandles:
    """One timeframe: the venue puts candles in (`FeedSink`), `line` publishes them.

    A candle is closed when the exchange says so, or when a later one opens; each once. Complete ones are cached. One
    whose last state may have been missed, because the connection broke, is not complete then, and is fetched; so is
    what the exchange passed over, and what it may revise after its end. After an interruption that is a gap, otherwise
    nothing may have been traded.

    None is closed before the exchange's clock has come to its end: what is told before that waits. Where its time is
    unknown, the next candle is what closes one.
    """

    def __init__(
        self,
        feed: Feed,
        units: Units,
        tape: TapeWriter,
        context: FeedContext,
        last: Candle | None,
        caching: CacheOutbox,
    ) -> None:
        assert feed.timeframe is not None
        status = context.status
        self._units = units
        self._timeframe = feed.timeframe
        self._grid = grid_of(feed.exchange, feed.timeframe)
        self._final = profile_of(feed.exchange).candles.settle_ms == 0
        """Whether what is told as closed is never revised."""
        self.line = CandlePublisher(
            self._timeframe,
            tape,
            status,
            lambda: self._open,
            lambda: caching.debts(self._timeframe),
            last,
            context.settings.candle_ms,
        )
        self._venue = context.venue
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        """What is to be done next, each once the exchange's clock has come so far (ms)."""
        self._timer: asyncio.TimerHandle | None = None
        self._status = status
        self._caching = caching
        self._complaints = Rejections(status)
        self._open = last if last is not None and not last.closed else None
        self._closed = last.timestamp if last is not None and last.closed else -1
        self._expected: int | None = None
        """The open time of what is told next, once there was one before it."""
        self._doubtful = True
        self._interrupted = True
        self._connections = 0
        if last is not None:
            caching.inherit(last)
            if last.closed:
                # Its owner may not have come to this any more.
                self._file(last)

    def take(self, items: Sequence[Any], received: int) -> None:
        """Candles, in order."""
        self._status.state = "live"
        for candle in items:
            self._in_turn(*self._step(candle))

    def _step(self, candle: Candle) -> tuple[int, Callable[[], None]]:
        """From when on (ms) a candle can be taken, and taking it."""
        if candle.closed and self._venue.clock() is None:
            # Nobody can say whether its time has come: the next one closes it.
            candle = msgspec.structs.replace(candle, closed=False)
        if not candle.closed:
            # It closes the one before it.
            return candle.timestamp, partial(self._take, candle)
        end = self._grid.next_open(candle.timestamp)
        wrong = self._venue.admission.refusal(end)
        if wrong is None:
            return end, partial(self._take, candle)
        self._complaints.add(f"a candle is told as closed before its end: {wrong}")
        return candle.timestamp, partial(self._take, msgspec.structs.replace(candle, closed=False))

    def _in_turn(self, due: int, step: Callable[[], None]) -> None:
        self._waiting.append((due, step))
        self._go_on()

    def _go_on(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            due, step = self._waiting[0]
            now = self._venue.clock()
            if now is not None and now < due:
                self._timer = asyncio.get_running_loop().call_later((due - now) / 1000, self._go_on)
                return
            self._waiting.popleft()
            step()

    def end(self) -> None:
        """Take nothing more: what waits is told again to the next owner."""
        self._waiting.clear()
        self._go_on()

    def _take(self, candle: Candle) -> None:
        if candle.timestamp <= self._closed or (self._open and candle.timestamp < self._open.timestamp):
            self._status.duplicates += 1
            return
        if self._open is not None and candle.timestamp > self._open.timestamp:
            self._close(msgspec.structs.replace(self._open, complete=self._open.complete and not self._doubtful))
        if self._expected is not None and candle.timestamp > self._expected:
            self._passed_over(Range(self._expected, candle.timestamp))
        self._expected = candle.timestamp
        self._doubtful = self._interrupted = False
        measured = self._measured(candle)
        if candle.closed:
            self._close(measured)
        else:
            self._open = msgspec.structs.replace(measured, sequence=0)
            self.line.change()

    def _measured(self, candle: Candle) -> Candle:
        """With its volume in base currency, where that is known; a venue's own decoder has done it already."""
        if candle.volume_unit is not None:
            return candle
        volume = row_in_base(row_of(candle), self._units.live)[5]
        return msgspec.structs.replace(candle, volume=volume, volume_unit=self._units.watches)

    def _close(self, candle: Candle) -> None:
        self._open = None
        self._closed = candle.timestamp
        candle = msgspec.structs.replace(candle, closed=True, sequence=0, repeated=False, owed=None, outdated=None)
        self.line.close(candle)
        self._file(candle)

    def _file(self, candle: Candle) -> None:
        """Have a closed candle cached, as it is or as the exchange has it."""
        ending = self._expected = self._grid.next_open(candle.timestamp)
        if not self._grid.opens(candle.timestamp):
            # A week that begins on another day has no place in the cache.
            return
        if not candle.complete:
            self._status.gaps += 1
            self._caching.missed(self._timeframe, Range(candle.timestamp, ending))
        elif stated(candle.symbol, candle.volume_unit) == "base" == self._units.fetches:
            self._caching.observed(self._timeframe, candle.timestamp, ending, row_of(candle), final=self._final)
            if not self._final:
                # The exchange may revise it: what it is in the end is asked for once it has settled.
                self._caching.missed(self._timeframe, Range(candle.timestamp, ending))
        else:
            self._caching.missed(self._timeframe, Range(candle.timestamp, ending))

    def _passed_over(self, missing: Range) -> None:
        self._caching.missed(self._timeframe, missing)
        if not self._interrupted:
            return
        self._status.gaps += 1
        reason = "the exchange told nothing of them before it was connected again"
        gap = Gap(since=missing.since - 1, until=missing.until, reason=reason)
        self._status.report("gap", f"{self._timeframe} candles: {reason}", gap=gap)

    def connected(self) -> None:
        """What happened before may be missing: until the open candle is told again, it is in doubt."""
        if self._connections:
            self._status.reconnects += 1
        self._connections += 1
        self._status.troubles.pop(self._timeframe, None)
        self._status.state = "live"
        self._status.report("connected", f"{self._timeframe} candles of the exchange")

    def disconnected(self, reason: str) -> None:
        """The open candle may change unseen."""
        self._in_turn(0, self._doubt)
        self._status.state = "disconnected"
        self._status.report("disconnected", f"{self._timeframe} candles of the exchange: {reason}")

    def failed(self, reason: str) -> None:
        """The exchange refuses them for now."""
        self._in_turn(0, self._doubt)
        self._status.troubles[self._timeframe] = redacted(reason)
        self._status.report("failed", f"{self._timeframe} candles of the exchange: {reason}")

    def _doubt(self) -> None:
        self._doubtful = self._interrupted = True

    def rejected(self, reason: str) -> None:
        """Say so."""
        self._complaints.add(reason)

    def left_out(self, reason: str) -> None:
        """It may have been the last state of the open candle."""
        self._in_turn(0, self._doubt)
        self._complaints.add(f"a candle: {reason}")
