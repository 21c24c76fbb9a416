"""The way of one timeframe's candles onto its tape: every closed one, and of the open one the newest state."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import msgspec

from tickwire.model import messages
from tickwire.model.feeds import Candle
from tickwire.streamer.candles.outbox import Debts
from tickwire.streamer.control.feed_status import Counters, FeedStatus
from tickwire.tape.writer import TapeWriter

ROOM = 1000
"""Closed candles that may wait for the broker before the reading of trades waits too."""


class CandlePublisher:
    """The one publisher of a tape of candles. `newest` gives the open candle as it is when it is asked.

    Each message says what is owed to the cache at that moment, by the word of `owes`. `last` is what the tape ends
    with.
    """

    def __init__(
        self,
        timeframe: str,
        tape: TapeWriter,
        status: FeedStatus,
        newest: Callable[[], Candle | None],
        owes: Callable[[], Debts],
        last: Candle | None,
        candle_ms: int,
    ) -> None:
        self._tape = tape
        self._status = status
        self._timeframe = timeframe
        self._tally = Counters()
        self._newest = newest
        self._owes = owes
        self._last = last
        self._cadence_s = candle_ms / 1000
        self._closed: deque[Candle] = deque()
        self._changes = 0
        self._said = float("-inf")
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._timer: asyncio.TimerHandle | None = None
        self._reminded = False
        self._ending = False

    def close(self, candle: Candle) -> None:
        """Publish a closed candle, after those before it."""
        self._closed.append(candle)
        # What the open candle was before is part of this one now.
        self._conflated(self._changes)
        self._changes = 0
        if len(self._closed) >= ROOM:
            self._room.clear()
        self._wake.set()

    def change(self) -> None:
        """The open candle has changed: publish its newest state in due course."""
        self._changes += 1
        if self._timer is None:
            self._wake.set()

    def remind(self) -> None:
        """Have the tape say what is owed, if that is not what it says."""
        self._reminded = True
        self._wake.set()

    async def room(self) -> None:
        """Wait while very many closed candles wait for the broker."""
        await self._room.wait()

    def end(self) -> None:
        """Have `run` return after what is to be said."""
        self._ending = True
        self._wake.set()

    async def run(self) -> None:
        """Publish, until `end`. Raises Fenced."""
        self._status.of_timeframe[self._timeframe] = self._tally
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._closed:
                    await self._append(self._closed[0])
                    self._closed.popleft()
                    if len(self._closed) < ROOM:
                        self._room.set()
                if self._changes and self._is_due():
                    await self._say()
                    continue
                if self._reminded or self._ending:
                    self._reminded = False
                    await self._admit()
                if self._ending and not self._closed:
                    return
        finally:
            del self._status.of_timeframe[self._timeframe]
            self._room.set()
            if self._timer is not None:
                self._timer.cancel()

    def _is_due(self) -> bool:
        pause = self._said + self._cadence_s - time.monotonic()
        if pause <= 0 or self._ending:
            return True
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(pause, self._ring)
        return False

    def _ring(self) -> None:
        self._timer = None
        self._wake.set()

    async def _say(self) -> None:
        changes, self._changes = self._changes, 0
        candle = self._newest()
        if candle is not None:
            self._said = time.monotonic()
            self._conflated(changes - 1)
            await self._append(candle)
        # Meanwhile more may have come; only the waiting for a wake-up is guarded by the event.
        self._wake.set()

    async def _admit(self) -> None:
        """Publish once more what was published last, as it is now, where it keeps quiet about a debt."""
        if self._last is None or Debts(self._last.owed, self._last.outdated).cover(self._owes()):
            return
        await self._append(self._newest() or msgspec.structs.replace(self._last, repeated=True))

    async def _append(self, candle: Candle) -> None:
        owed, outdated = self._owes()
        self._last = msgspec.structs.replace(candle, owed=owed, outdated=outdated)
        await self._tape.append(messages.encode(self._last))
        for tally in (self._status, self._tally):
            tally.appended(1)

    def _conflated(self, changes: int) -> None:
        for tally in (self._status, self._tally):
            tally.conflated += changes
