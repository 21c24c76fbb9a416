"""Plans a repair of a trade feed: which REST page to request next, and how long to keep requesting. No I/O.

Where ids count up: from the next id on, until the live trades are reached. Elsewhere: from the time of the last trade
on, minus one millisecond, so that pages overlap known trades whether the exchange takes `since` inclusively or not.
Without a known trade: from the time on up to which the tape is complete.
"""

from __future__ import annotations

import math
from enum import Enum, auto

from tickwire.exchange.past_trades import PAGE, PageRequest
from tickwire.process.backoff import Backoff
from tickwire.streamer.trades.ordering import Ordering, PageResult, known_until

BY_TIME_MS = 3_600_000
"""How far back trades are requested by time if none is known: ccxt's pages of binance end an hour after `since`."""
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
CONFIRMATIONS = 4
"""Number of answers without a trade, though with later ones, until it counts as absent: takes about 0.7 s."""


def next_request(ordering: Ordering, oldest: int, resolution_ms: int = 1) -> PageRequest:
    """The page to request next; nothing before `oldest` (ms) is requested. See `Ordering.skip_to`.

    `resolution_ms` is that of REST's timestamps: a trade may be stamped that much earlier there.
    """
    last = ordering.last

    def rounded_down(timestamp: int) -> int:
        return timestamp // resolution_ms * resolution_ms

    if ordering.next_id is not None:
        if known_until(ordering) < oldest:
            return PageRequest(oldest, PAGE, cut=True)
        return PageRequest(None, PAGE, ordering.next_id)
    if last is not None and last.timestamp >= oldest:
        return PageRequest(rounded_down(last.timestamp) - 1, None)
    if ordering.until is not None:
        return PageRequest(rounded_down(ordering.until) - 1, None, floor=ordering.until)
    return PageRequest(oldest, None, cut=True)


class RetryPolicy:
    """Decides how long a repair goes on. Times are of the monotonic clock, in seconds."""

    def __init__(self, repair_s: float) -> None:
        self._repair_s = repair_s
        self._waiting_since: float | None = None
        self._backoff = Backoff(FIRST_DELAY_S, LONGEST_DELAY_S, at_once=False)
        self._absent = 0

    def set_waiting(self, now: float, trades: int) -> None:
        """The number of live trades that are held back for the missing ones."""
        if not trades:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now

    def progressed(self, now: float) -> None:
        """Some missing trades came: restart the time limit and the delays."""
        if self._waiting_since is not None:
            self._waiting_since = now
        self._backoff.worked()
        self._absent = 0

    def left_s(self, now: float) -> float:
        """Seconds until held trades are released with a gap; infinite while none is held."""
        return math.inf if self._waiting_since is None else self._waiting_since + self._repair_s - now

    def confirm_absent(self) -> bool:
        """Count an answer that lacks the missing trade; whether there were enough of them."""
        self._absent += 1
        return self._absent >= CONFIRMATIONS

    def delay_s(self) -> float:
        """Seconds to wait before the next request: exponential, with jitter."""
        return self._backoff.next()


class Step(Enum):
    """What a repair does after a page."""

    VERIFY = auto()
    """The page proves that nothing is missing: check whether its proof holds for what arrived meanwhile."""
    REQUEST = auto()
    """Request the next page at once."""
    RELEASE = auto()
    """What is still missing is too old to request: release the held trades after a gap."""
    COUNT_ABSENT = auto()
    """REST lacks the missing trades; a few more answers confirm it."""
    WAIT = auto()
    """REST may have the missing trades later."""


def step_after(result: PageResult, request: PageRequest, *, has_trades: bool, waiting: int) -> Step:
    """What follows a page. `has_trades`: the page was not empty; `waiting`: number of live trades held back."""
    if result is PageResult.COMPLETE:
        return Step.VERIFY
    if result is PageResult.MORE:
        return Step.REQUEST
    if request.cut and has_trades and waiting:
        return Step.RELEASE
    return Step.COUNT_ABSENT if result is PageResult.ABSENT or request.cut else Step.WAIT
