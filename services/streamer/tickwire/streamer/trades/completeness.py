"""Declares the tape of a trade feed complete up to each UTC minute, by the exchange's clock."""

from __future__ import annotations

from collections.abc import Callable

from tickwire.model.feeds import Feed
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.trades.appender import TradeAppender
from tickwire.streamer.trades.queue import TradeQueue


class Completeness:
    """Appends a minute's end when all trades before it are appended, in the turn in which `MinuteMarks` calls.

    `parked`: whether the feed's coroutine waits, with nothing left to append.
    """

    def __init__(
        self, context: FeedContext, appender: TradeAppender, queue: TradeQueue, parked: Callable[[], bool]
    ) -> None:
        self._context = context
        self._appender = appender
        self._queue = queue
        self._parked = parked

    @property
    def feed(self) -> Feed:
        """The feed of this tape."""
        return self._context.feed

    async def run(self) -> None:
        """Declare each minute, until cancelled."""
        context = self._context
        await context.venue.minutes.follow(context.venue, context.settings.settle_ms, self)

    def declare(self, until: int) -> bool:
        """Append that nothing is missing before `until` (ms); False while trades are queued, missing or in doubt."""
        queue, ordering = self._queue, self._queue.ordering
        if queue or queue.missing or not self._parked():
            return False
        if queue.connected_for_s * 1000 < max(1, self._context.settings.settle_ms):
            return False
        if ordering.last is not None and ordering.last.timestamp >= until:
            return True
        if not (self._appender.free() and self._context.bus.client.is_connected):
            return False
        gap = ordering.pending_gap(until)
        if not self._appender.declare_now(until, gap):
            if gap is not None:
                ordering.left_out(gap.reason)
            return False
        ordering.declare_complete(until)
        return True
