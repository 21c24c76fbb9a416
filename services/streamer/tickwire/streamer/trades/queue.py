"""Where a venue puts the trades of a feed, and the order in which they leave."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tickwire.model.feeds import Trade
from tickwire.observe import logs
from tickwire.streamer.control.feed_status import FeedStatus
from tickwire.streamer.trades.ordering import Ordering, TradeRun

log = logs.get(__name__)

BATCH_TRADES = 2000
REJECTED_EVERY_S = 1.0


class _Interrupted(NamedTuple):
    """In the inbox: what follows may not adjoin what came before.

    `connected`: since when (ms) it arrives again; absent while it does not, and where the exchange's time is unknown.
    """

    connected: int | None


class _LeftOut(NamedTuple):
    """In the inbox: a trade that could not be used, for this reason."""

    reason: str


class TradeQueue:
    """The sink of a feed of trades. Holds up to `held` trades; what is too much is dropped, as missing.

    `clock` tells the exchange's time, ms; None while it is unknown.
    """

    def __init__(self, status: FeedStatus, ordering: Ordering, held: int, clock: Callable[[], int | None]) -> None:
        self.ordering = ordering
        self.wake = asyncio.Event()
        """Set when there is something new."""
        self.is_connected = False
        self.connected_at: int | None = None
        """Since when (ms, the exchange's clock) it has been connected without an interruption; None where unknown."""
        self.interruptions = 0
        """How many have been met among what was ordered."""
        self._status = status
        status.waiting = lambda: self._queued + self.ordering.waiting
        self._held = held
        self._clock = clock
        self._inbox: deque[tuple[Sequence[Trade], int] | _Interrupted | _LeftOut] = deque()
        self._queued = 0
        self._connected_at: float | None = None
        self._unsure = False
        """Connected anew, and not compared with what was before."""
        self._newest: Trade | None = None
        """What arrived last since then."""
        self._said = float("-inf")
        self._unsaid = 0

    def __bool__(self) -> bool:
        """Whether anything is in the inbox."""
        return bool(self._inbox)

    # ---- what the venue calls

    def take(self, items: Sequence[Trade], received: int) -> None:
        count = len(items)
        if self._queued + self.ordering.waiting + count > self._held:
            self._overflow()
        self._inbox.append((items, received))
        self._queued += count
        self.wake.set()

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
        self._reject(1, reason)

    def left_out(self, reason: str) -> None:
        self._reject(1, f"a trade: {reason}")
        self._inbox.append(_LeftOut(f"a trade was left out: {reason}"))
        self.wake.set()

    def left_out_of_page(self, reason: str) -> None:
        """A trade that REST gave could not be used: one is missing after the last that is in order."""
        self._reject(1, f"a trade of REST: {reason}")
        self.ordering.left_out(f"a trade was left out: {reason}")

    def _interrupt(self) -> None:
        self._inbox.append(_Interrupted(self._clock() if self.is_connected else None))
        self._unsure = self.is_connected and self._known
        self.show()
        self.wake.set()

    @property
    def _known(self) -> bool:
        """Whether anything is that may be missing after it."""
        return self.ordering.last is not None or self.ordering.until is not None

    def _reject(self, count: int, reason: str) -> None:
        self._status.rejected += count
        self._unsaid += count
        now = time.monotonic()
        if now - self._said >= REJECTED_EVERY_S:
            more = f" ({self._unsaid} since this was last said)" if self._unsaid > 1 else ""
            self._status.report("rejected", reason + more)
            self._said, self._unsaid = now, 0

    def _overflow(self) -> None:
        """Too many wait. REST has them, too."""
        dropped = self._queued + self.ordering.drop_waiting()
        log.warning("too many trades wait, to be fetched later", **self._status.feed.fields, dropped=dropped)
        self._status.conflated += dropped
        self._inbox.clear()
        self._queued = 0
        self._interrupt()

    # ---- what the feed's one coroutine calls

    @property
    def missing(self) -> bool:
        """Whether something is, or may be, missing between what is on the tape and what arrives."""
        return self._unsure or self.ordering.missing

    @property
    def newest(self) -> Trade | None:
        """What arrived last since an interruption, among what was ordered."""
        return self._newest

    @property
    def arrived(self) -> bool:
        """Whether the order has come to what arrived last since an interruption: then nothing is missing before it."""
        return not self.ordering.missing and self._newest is not None and self.ordering.last == self._newest

    @property
    def repairable(self) -> bool:
        """Whether it is time to ask REST for it."""
        return self.missing and (self.is_connected or self.ordering.waiting > 0)

    @property
    def connected_for_s(self) -> float:
        """How long it has been connected."""
        return time.monotonic() - self._connected_at if self.is_connected and self._connected_at is not None else 0.0

    def show(self) -> None:
        """Have the status show the state."""
        if self.is_connected:
            self._status.state = "repairing" if self.missing else "live"
        else:
            self._status.state = "starting" if self._connected_at is None else "disconnected"

    def ordered(self) -> list[TradeRun]:
        """The next batch of the inbox, in order, without what was there before."""
        ordering, inbox = self.ordering, self._inbox
        batch: list[Trade] = []
        received = 0
        while inbox and len(batch) < BATCH_TRADES:
            entry = inbox[0]
            if isinstance(entry, _Interrupted):
                if batch:
                    break
                self.interruptions += 1
                self.connected_at = entry.connected
                self._newest = None
                self._status.conflated += ordering.interrupted()
                self._unsure = self.is_connected and self._known
                if not self._known and entry.connected is not None:
                    # From here on nothing is missing, though nothing may happen for long.
                    ordering.declare_complete(entry.connected)
            elif isinstance(entry, _LeftOut):
                if batch:
                    break
                ordering.left_out(entry.reason)
            else:
                items, received = entry
                batch += items
            inbox.popleft()
            if batch and ordering.missing:
                # What came first after an interruption is looked at by itself.
                break
        self._queued -= len(batch)
        if not batch:
            return []
        runs = ordering.offer(batch, received)
        self._status.duplicates = ordering.duplicates
        self._tell_refused()
        self._newest = batch[-1]
        if runs and self.arrived:
            self._unsure = False
        return runs

    def _tell_refused(self) -> None:
        for reason in self.ordering.refused:
            self._reject(1, reason)
        self.ordering.refused.clear()

    def all_ordered(self) -> list[TradeRun]:
        """Everything of the inbox likewise."""
        runs: list[TradeRun] = []
        while self._inbox:
            runs += self.ordered()
        return runs

    def resumed(self) -> list[TradeRun]:
        """Nothing is missing, by REST's word."""
        self._unsure = False
        return self.ordering.resume() if self.ordering.missing and not self.ordering.waiting else []

    def gave_up(self, reason: str) -> list[TradeRun]:
        """Go on after a gap, with those that wait: there must be some."""
        self._unsure = False
        runs = self.ordering.give_up(reason)
        self._tell_refused()
        return runs
