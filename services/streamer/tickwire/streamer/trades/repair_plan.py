"""What to ask REST for what is missing from a feed of trades, and how long. No I/O; `past` does the asking.

Where ids count: from the next id on, until what has arrived live is reached. Elsewhere: from the time of the last
trade on, one millisecond more so that pages overlap what is known whether the exchange means `since` inclusively or
not. Where no trade is known: from the time on up to which the tape is complete.
"""

from __future__ import annotations

import math
import random
from typing import NamedTuple

from tickwire.streamer.trades.ordering import Ordering, known_until

PAGE = 1000
"""Trades of a page where ccxt does not say how many there may be: many exchanges give a tenth unless asked."""
BY_TIME_MS = 3_600_000
"""How far back trades are asked for by time where none is known: ccxt's pages of binance end an hour after `since`."""
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
CONFIRMATIONS = 4
"""How often REST is asked before its word is taken that it lacks a trade though it has later ones: in about 0.7 s."""


class Ask(NamedTuple):
    """The next call of `fetch_trades`. `cut`: what is missing before its answer is not to be asked for.

    Without a `limit`, the largest page that is to be had.
    `floor`: no trade is known that the answer could overlap, but what happened before this time is not missing.
    """

    since: int | None
    limit: int | None
    first_id: int | None = None
    cut: bool = False
    floor: int | None = None


def next_ask(ordering: Ordering, oldest: int, resolution_ms: int = 1) -> Ask:
    """What to ask next; nothing that happened before `oldest` (ms) is asked for. See `Ordering.forgo`.

    `resolution_ms` is that of REST's timestamps: what it tells of a trade may be so much earlier.
    """
    last = ordering.last

    def coarse(timestamp: int) -> int:
        return timestamp // resolution_ms * resolution_ms

    if ordering.next_id is not None:
        if known_until(ordering) < oldest:
            return Ask(oldest, PAGE, cut=True)
        return Ask(None, PAGE, ordering.next_id)
    if last is not None and last.timestamp >= oldest:
        return Ask(coarse(last.timestamp) - 1, None)
    if ordering.until is not None:
        return Ask(coarse(ordering.until) - 1, None, floor=ordering.until)
    return Ask(oldest, None, cut=True)


class Patience:
    """How long to go on asking. Times are of the monotonic clock, seconds."""

    def __init__(self, repair_s: float) -> None:
        self._repair_s = repair_s
        self._since: float | None = None
        self._tries = 0
        self._absent = 0

    def waiting(self, now: float, trades: int) -> None:
        """So many trades wait for those that are missing."""
        if not trades:
            self._since = None
        elif self._since is None:
            self._since = now

    def progressed(self, now: float) -> None:
        """Some of what is missing came: those that wait do so for the next from now on."""
        if self._since is not None:
            self._since = now
        self._tries = self._absent = 0

    def left_s(self, now: float) -> float:
        """For how long those that wait go on waiting; without end while none wait."""
        return math.inf if self._since is None else self._since + self._repair_s - now

    def absent(self) -> bool:
        """REST says that it lacks a trade: whether it has said so often enough."""
        self._absent += 1
        return self._absent >= CONFIRMATIONS

    def delay_s(self) -> float:
        """How long to wait before asking again: exponential, with jitter."""
        longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return longest * random.uniform(0.5, 1.0)
