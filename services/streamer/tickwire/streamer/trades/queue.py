"""Queues the trades that a venue pushes, and passes them to the ordering in batches."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tickwire.model.feeds import Trade
from tickwire.observe import logs
from tickwire.process import lifecycle
from tickwire.streamer.control.feed_status import FeedStatus
from tickwire.streamer.throttle import Rejections
from tickwire.streamer.trades.ordering import Ordering, TradeRun

log = logs.get(__name__)

BATCH_TRADES = 2000


class _Interrupted(NamedTuple):
    """In the queue: trades after this may not adjoin those before.

    `connected_ms`: since when the feed is connected again; None while it is not, or if the exchange's time is unknown.
    """

    connected_ms: int | None


class _LeftOut(NamedTuple):
    """In the queue: a trade could not be used, for this reason."""

    reason: str


class TradeQueue:
    """The sink of a trade feed. Holds up to `held` trades; if more arrive, all are dropped and count as missing.

    `clock` returns the exchange's time (ms), None while it is unknown. The venue calls `take`, `connected`,
    `disconnected`, `rejected` and `left_out`; the feed's one coroutine calls the others.
    """

    def __init__(self, status: FeedStatus, ordering: Ordering, held: int, clock: Callable[[], int | None]) -> None:
        self.ordering = ordering
        self.news = asyncio.Event()
        """Set when something was put into the queue; cleared by the feed's coroutine."""
        self.is_connected = False
        self.connected_ms: int | None = None
        """Since when the trades that were ordered last arrived without interruption (the exchange's clock)."""
        self.interruptions = 0
        """Number of interruptions among what was ordered."""
        self.newest: Trade | None = None
        """The last live trade that was ordered since an interruption."""
        self.straight: Callable[[Sequence[Trade], int], bool] = lambda items, received: False
        """Takes trades past the empty queue; returns whether it did."""
        self._status = status
        status.waiting = lambda: self._queued + self.ordering.waiting
        self._rejections = Rejections(status)
        self._held = held
        self._clock = clock
        self._entries: deque[tuple[Sequence[Trade], int] | _Interrupted | _LeftOut] = deque()
        self._queued = 0
        """Number of trades in the queue."""
        self._connected_at: float | None = None
        """When the feed was connected last (monotonic, s)."""
        self._unverified = False
        """Whether the feed is connected again and its trades were not compared with those before."""

    def __bool__(self) -> bool:
        """Whether anything is in the queue."""
        return bool(self._entries)

    # ---- called by the venue

    def take(self, items: Sequence[Trade], received: int) -> None:
        count = len(items)
        if not self._entries and count <= self._held and self.straight(items, received):
            return
        if self._queued + self.ordering.waiting + count > self._held:
            self._overflow()
        self._entries.append((items, received))
        self._queued += count
        self.news.set()

    def connected(self) -> None:
        self._status.reconnects += self._connected_at is not None
        self.is_connected, self._connected_at = True, time.monotonic()
        self._interrupt()
        self._status.report("connected")

    def disconnected(self, reason: str) -> None:
        self.is_connected = False
        self._interrupt()
        self._status.report("disconnected", reason)

    def rejected(self, reason: str) -> None:
        self._rejections.add(reason)

    def left_out(self, reason: str) -> None:
        self._rejections.add(f"a trade: {reason}")
        # The first reason of a series is the one that the gap states.
        if not self._entries or not isinstance(self._entries[-1], _LeftOut):
            self._entries.append(_LeftOut(f"a trade was left out: {reason}"))
        self.news.set()

    def left_out_of_page(self, reason: str) -> None:
        """A trade of a REST page could not be used: one is missing after the last ordered trade."""
        self._rejections.add(f"a trade of REST: {reason}")
        self.ordering.left_out(f"a trade was left out: {reason}")

    def _interrupt(self) -> None:
        self._entries.append(_Interrupted(self._clock() if self.is_connected else None))
        self._unverified = self.is_connected and self._has_past
        self.show_state()
        self.news.set()

    @property
    def _has_past(self) -> bool:
        """Whether anything is known after which trades may be missing."""
        return self.ordering.last is not None or self.ordering.until is not None

    def _overflow(self) -> None:
        """Drop the queued trades, to be fetched by REST."""
        dropped = self._queued + self.ordering.drop_waiting()
        log.warning("too many trades wait; they are fetched later", **self._status.feed.fields, dropped=dropped)
        self._status.conflated += dropped
        self._entries.clear()
        self._queued = 0
        self._interrupt()

    # ---- called by the feed's coroutine

    @property
    def missing(self) -> bool:
        """Whether trades are, or may be, missing between the tape and those that arrive."""
        return self._unverified or self.ordering.missing

    @property
    def caught_up(self) -> bool:
        """Whether the last live trade since an interruption was released: nothing is missing before it."""
        return not self.ordering.missing and self.newest is not None and self.ordering.last == self.newest

    @property
    def repairable(self) -> bool:
        """Whether trades are missing and it is time to request them from REST."""
        return self.missing and (self.is_connected or self.ordering.waiting > 0)

    @property
    def connected_for_s(self) -> float:
        """How long the feed has been connected."""
        return time.monotonic() - self._connected_at if self.is_connected and self._connected_at is not None else 0.0

    def show_state(self) -> None:
        """Set the state in the feed's status."""
        if self.is_connected:
            self._status.state = "repairing" if self.missing else "live"
        else:
            self._status.state = "starting" if self._connected_at is None else "disconnected"

    async def wait(self, seconds: float | None = None) -> None:
        """Wait for news, at most this long."""
        if await lifecycle.pause(self.news, seconds):
            self.news.clear()

    def next_runs(self) -> list[TradeRun]:
        """Order the next batch of the queue; returns what can be appended."""
        batch, received = self._next_batch()
        return self.order(batch, received) if batch else []

    def order(self, batch: Sequence[Trade], received: int) -> list[TradeRun]:
        """Order live trades, at least one; returns what can be appended."""
        runs = self.ordering.offer(batch, received)
        self._status.duplicates = self.ordering.duplicates
        if self.ordering.refused:
            self._report_refused()
        self.newest = batch[-1]
        if self._unverified and runs and self.caught_up:
            self._unverified = False
        return runs

    def all_runs(self) -> list[TradeRun]:
        """Order everything in the queue; returns what can be appended."""
        runs: list[TradeRun] = []
        while self._entries:
            runs += self.next_runs()
        return runs

    def _next_batch(self) -> tuple[list[Trade], int]:
        """Trades up to the next interruption or left-out trade, and when the last of them was received (ms)."""
        ordering, entries = self.ordering, self._entries
        batch: list[Trade] = []
        received = 0
        while entries and len(batch) < BATCH_TRADES:
            entry = entries[0]
            if isinstance(entry, _Interrupted | _LeftOut):
                if batch:
                    break
                self._note(entry)
            else:
                items, received = entry
                batch += items
            entries.popleft()
            if batch and ordering.missing:
                # The first trades after an interruption are compared by themselves.
                break
        self._queued -= len(batch)
        return batch, received

    def _note(self, entry: _Interrupted | _LeftOut) -> None:
        ordering = self.ordering
        if isinstance(entry, _LeftOut):
            ordering.left_out(entry.reason)
            return
        self.interruptions += 1
        self.connected_ms = entry.connected_ms
        self.newest = None
        self._status.conflated += ordering.interrupted()
        self._unverified = self.is_connected and self._has_past
        if not self._has_past and entry.connected_ms is not None:
            # Nothing is missing from here on, though it may be long until the first trade.
            ordering.declare_complete(entry.connected_ms)

    def resume(self) -> list[TradeRun]:
        """Nothing is missing, as REST proved; returns what can be appended."""
        self._unverified = False
        return self.ordering.resume() if self.ordering.missing and not self.ordering.waiting else []

    def give_up(self, reason: str) -> list[TradeRun]:
        """Record a gap and release the held trades. Requires at least one."""
        self._unverified = False
        runs = self.ordering.give_up(reason)
        self._report_refused()
        return runs

    def _report_refused(self) -> None:
        if refused := self.ordering.refused:
            for reason in refused:
                self._rejections.add(reason)
            refused.clear()
