"""Finds each minute's end by a venue's clock, and when all its trades have arrived: one timer for all trade feeds.

A feed that is quiet costs nothing between two minutes, and a call without a task of its own at the end of each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import NamedTuple, Protocol

from ccxt.base import errors

from tickwire.errors import ExchangeFailed
from tickwire.exchange.ccxt_patches.monotonic_time import monotonic_ms
from tickwire.model.feeds import Feed
from tickwire.observe import logs
from tickwire.process.loop_yield import LoopYield

log = logs.get(__name__)

MINUTE_MS = 60_000
RECHECK_S = 1.0
CLOCK_S = 5.0
"""Wait before the exchange is asked for its time again if that is unknown."""
TURN_S = 0.002
"""Longest turn of the event loop in which feeds are called."""
ROUNDING_MS = 2
"""Of a difference of two times that are whole ms."""


class Minute(NamedTuple):
    """The last full minute: when it ended (ms), and how many ms ago its trades had settled."""

    end: int
    settled_ms_ago: int


def last_minute(now: int, settle_ms: int) -> Minute:
    """The last minute whose trades have had `settle_ms` to arrive, at exchange time `now` (ms)."""
    end = (now - settle_ms) // MINUTE_MS * MINUTE_MS
    return Minute(end, now - settle_ms - end)


class MarkedFeed(Protocol):
    """A feed whose tape is declared complete up to each minute."""

    @property
    def feed(self) -> Feed:
        """Its name."""

    def declare(self, until: int) -> bool:
        """Everything before `until` (ms) has been received: declare it; False to be called again in a second."""


class MarkedVenue(Protocol):
    """What is asked of the venue."""

    async def now(self) -> int | None:
        """See `FeedVenue`."""

    async def answering(self, feeds: Collection[Feed], since: int) -> Collection[Feed]:
        """See `FeedVenue`."""


class _Followed:
    """A feed, since when it is followed (monotonic, ms), and the end of the last minute that it has declared."""

    def __init__(self, marked: MarkedFeed) -> None:
        self.marked = marked
        self.since = monotonic_ms()
        self.done: int | None = None

    def lacks(self, end: int, settled: int) -> bool:
        """Whether it has not declared the minute that ended at `end`, and was followed before `settled` (monotonic)."""
        if self.done is None and self.since >= settled:
            self.done = end
        return self.done is None or self.done < end


class MinuteMarks:
    """The trade feeds of one venue. One of them keeps the time for all; when it ends, another one does."""

    def __init__(self) -> None:
        self._followed: set[_Followed] = set()
        self._keeping = asyncio.Lock()

    async def follow(self, venue: MarkedVenue, settle_ms: int, marked: MarkedFeed) -> None:
        """Have each minute that ends from now on declared, until cancelled.

        A minute counts once the feed's sockets answer a ping that was sent `settle_ms` after its end.
        """
        followed = _Followed(marked)
        self._followed.add(followed)
        try:
            async with self._keeping:
                while True:
                    pause_s = await self._sweep(venue, settle_ms)
                    await asyncio.sleep(pause_s)
        finally:
            self._followed.discard(followed)

    async def _sweep(self, venue: MarkedVenue, settle_ms: int) -> float:
        """Have the last minute declared by all who can; return the seconds until the next sweep."""
        before = monotonic_ms()
        try:
            now = await venue.now()
        except (errors.BaseError, ExchangeFailed) as error:
            log.debug("the exchange's time is not available", error=repr(error))
            now, pause_s = None, RECHECK_S
        else:
            pause_s = CLOCK_S
        if now is None:
            for each in self._followed:
                if each.done is None:
                    # It is unknown which minute it began in.
                    each.since = monotonic_ms()
            return pause_s
        minute = last_minute(now, settle_ms)
        next_at = time.monotonic() + (MINUTE_MS - minute.settled_ms_ago) / 1000
        # The venue's time was `now` at some moment of the call: the minute settled between these two.
        earliest = before - minute.settled_ms_ago - ROUNDING_MS
        latest = monotonic_ms() - minute.settled_ms_ago + ROUNDING_MS
        waiting = {each.marked.feed: each for each in self._followed if each.lacks(minute.end, earliest)}
        if waiting:
            # What the exchange sent before the minute's end has arrived when it answers a later ping.
            await self._declare(waiting, minute.end, await venue.answering(waiting.keys(), latest))
        is_idle = all(each.done == minute.end for each in waiting.values())
        until_next = next_at - time.monotonic()
        return until_next if is_idle else min(until_next, RECHECK_S)

    async def _declare(self, waiting: dict[Feed, _Followed], end: int, answering: Collection[Feed]) -> None:
        pacing = LoopYield(TURN_S)
        for feed in answering:
            followed = waiting[feed]
            try:
                is_declared = followed in self._followed and followed.marked.declare(end)
            except Exception as error:
                # One feed's failure must not end the one that keeps the time.
                log.exception("a minute could not be declared complete", **feed.fields, error=repr(error))
                is_declared = True
            if is_declared:
                followed.done = end
            await pacing.after_step()
