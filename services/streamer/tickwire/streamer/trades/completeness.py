"""Declares the tape of a trade feed complete up to each UTC minute, by the exchange's clock."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from ccxt.base import errors

from tickwire.errors import ExchangeFailed
from tickwire.exchange.ccxt_patches.monotonic_time import monotonic_ms
from tickwire.observe import logs
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.trades.appender import TradeAppender
from tickwire.streamer.trades.queue import TradeQueue

log = logs.get(__name__)

MINUTE_MS = 60_000
RECHECK_S = 1.0
CLOCK_S = 5.0
"""Wait before the exchange is asked for its time again if that is unknown."""


class Minute(NamedTuple):
    """The last full minute: when it ended (ms), and how many ms ago its trades had settled."""

    end: int
    settled_ms_ago: int


def last_minute(now: int, settle_ms: int) -> Minute:
    """The last minute whose trades have had `settle_ms` to arrive, at exchange time `now` (ms)."""
    end = (now - settle_ms) // MINUTE_MS * MINUTE_MS
    return Minute(end, now - settle_ms - end)


class Completeness:
    """Finds the minutes up to which the tape is complete. `run` finds them, `declare` appends the newest."""

    def __init__(self, context: FeedContext, appender: TradeAppender, queue: TradeQueue) -> None:
        self._context = context
        self._appender = appender
        self._queue = queue
        self._settle_ms = context.settings.settle_ms
        self._due: int | None = None
        """The end of a minute (ms) whose trades have all been received, to be declared once they are appended."""

    async def run(self) -> None:
        """Find each minute's end, until cancelled. It counts once the feed's sockets answer a later ping."""
        done: int | None = None
        while True:
            try:
                now = await self._context.venue.now()
            except (errors.BaseError, ExchangeFailed) as error:
                log.debug("the exchange's time is not available", **self._context.feed.fields, error=repr(error))
                await asyncio.sleep(RECHECK_S)
                continue
            if now is None:
                await asyncio.sleep(CLOCK_S)
                continue
            minute = last_minute(now, self._settle_ms)
            next_at = time.monotonic() + (MINUTE_MS - minute.settled_ms_ago) / 1000
            done = minute.end if done is None else done
            # What the exchange sent before the minute's end has arrived when it answers a later ping.
            since = monotonic_ms() - minute.settled_ms_ago
            if done < minute.end and await self._context.venue.answers(self._context.feed, since):
                self._due = done = minute.end
            if self._due is not None:
                self._queue.news.set()
            is_idle = self._due is None and done == minute.end
            until_next = next_at - time.monotonic()
            await asyncio.sleep(until_next if is_idle else min(until_next, RECHECK_S))

    async def declare(self) -> None:
        """Append the minute that is due, unless trades are queued or missing. Raises Fenced."""
        queue, ordering = self._queue, self._queue.ordering
        if self._due is None or queue or queue.missing:
            return
        if queue.connected_for_s * 1000 < max(1, self._settle_ms):
            return
        until, self._due = self._due, None
        if ordering.last is None or ordering.last.timestamp < until:
            await self._appender.declare_complete(until, ordering.pending_gap(until))
            ordering.declare_complete(until)
