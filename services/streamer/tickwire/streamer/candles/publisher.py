"""Publishes the candles of one timeframe: every closed one, and the newest state of the open one at a bounded rate."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from tickwire.model import messages
from tickwire.model.feeds import Candle
from tickwire.streamer.control.feed_context import FeedContext
from tickwire.streamer.control.feed_status import Counters
from tickwire.tape.writer import TapeWriter

ROOM = 1000
"""Closed candles that may wait for the broker before the reading of trades waits, too."""


class Pending(NamedTuple):
    """Where the intervals begin that neither stream nor fetcher has accepted yet (ms).

    `owed` are to be cached, `outdated` to be fetched again.
    """

    owed: int | None = None
    outdated: int | None = None

    def cover(self, others: Pending) -> bool:
        """Whether a successor that knows of these takes care of the others, too."""
        return all(
            theirs is None or (ours is not None and ours <= theirs) for ours, theirs in zip(self, others, strict=True)
        )


class CandlePublisher:
    """The one publisher of a tape of candles.

    `newest` returns the present open candle; `pending` what is pending, which each message carries.
    """

    def __init__(
        self,
        context: FeedContext,
        timeframe: str,
        writer: TapeWriter,
        last: Candle | None,
        newest: Callable[[], Candle | None],
        pending: Callable[[], Pending],
    ) -> None:
        self._writer = writer
        self._status = context.status
        self._timeframe = timeframe
        self._counters = Counters()
        self._newest = newest
        self._pending = pending
        self._last = last
        """The last candle on the tape."""
        self._cadence_s = context.settings.candle_ms / 1000
        self._closed: deque[Candle] = deque()
        self._changes = 0
        """Changes of the open candle since it was published."""
        self._published_at = float("-inf")
        self._wake = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._timer: asyncio.TimerHandle | None = None
        self._reminded = False
        self._finishing = False

    def close(self, candle: Candle) -> None:
        """Publish a closed candle after those before it."""
        self._closed.append(candle)
        # The closed candle contains the unpublished changes of the open one.
        self._count_conflated(self._changes)
        self._changes = 0
        if len(self._closed) >= ROOM:
            self._has_room.clear()
        self._wake.set()

    def change(self) -> None:
        """The open candle has changed: publish its newest state when the cadence allows."""
        self._changes += 1
        if self._timer is None:
            self._wake.set()

    def remind(self) -> None:
        """Publish what is pending, unless the last candle on the tape states it."""
        self._reminded = True
        self._wake.set()

    async def room(self) -> None:
        """Wait while very many closed candles wait for the broker."""
        await self._has_room.wait()

    def finish(self) -> None:
        """Have `run` publish what is left, and return."""
        self._finishing = True
        self._wake.set()

    async def run(self) -> None:
        """Publish until `finish`. Raises Fenced."""
        self._status.of_timeframe[self._timeframe] = self._counters
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._publish_closed()
                if self._changes and self._is_due():
                    await self._publish_open()
                    continue
                if self._reminded or self._finishing:
                    self._reminded = False
                    await self._publish_pending()
                if self._finishing and not self._closed:
                    return
        finally:
            del self._status.of_timeframe[self._timeframe]
            self._has_room.set()
            if self._timer is not None:
                self._timer.cancel()

    async def _publish_closed(self) -> None:
        while self._closed:
            await self._append(self._closed[0])
            self._closed.popleft()
            if len(self._closed) < ROOM:
                self._has_room.set()

    def _is_due(self) -> bool:
        pause_s = self._published_at + self._cadence_s - time.monotonic()
        if pause_s <= 0 or self._finishing:
            return True
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(pause_s, self._on_timer)
        return False

    def _on_timer(self) -> None:
        self._timer = None
        self._wake.set()

    async def _publish_open(self) -> None:
        changes, self._changes = self._changes, 0
        candle = self._newest()
        if candle is not None:
            self._published_at = time.monotonic()
            self._count_conflated(changes - 1)
            await self._append(candle)
        # More may have happened during the append.
        self._wake.set()

    async def _publish_pending(self) -> None:
        """Repeat the last candle if it does not state what is pending now."""
        if self._last is None or Pending(self._last.owed, self._last.outdated).cover(self._pending()):
            return
        await self._append(self._newest() or msgspec.structs.replace(self._last, repeated=True))

    async def _append(self, candle: Candle) -> None:
        owed, outdated = self._pending()
        self._last = msgspec.structs.replace(candle, owed=owed, outdated=outdated)
        await self._writer.append(messages.encode(self._last))
        for counters in (self._status, self._counters):
            counters.appended(1)

    def _count_conflated(self, changes: int) -> None:
        for counters in (self._status, self._counters):
            counters.conflated += changes
