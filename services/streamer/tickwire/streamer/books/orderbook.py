"""An order book kept from a snapshot and the changes after it. Pure: no I/O, no clock.

The rules are Binance's, "How to manage a local order book correctly":
spot: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
usd-m: https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/How-to-manage-a-local-order-book-correctly

In their words, with `lastUpdateId` of the snapshot: an event whose `u` is not past it is dropped; the first that is
applied spans it (spot: U <= lastUpdateId + 1 <= u; usd-m: U <= lastUpdateId <= u); each one after follows the one
before without a hole (spot: U == previous u + 1; usd-m: pu == previous u).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence

from tickwire.model.feeds import Level
from tickwire.venues.dialect import Diff

REPEATS = 10
"""So many changes in a row that the book already has are repetitions; more mean that the numbers went back."""


class OutOfStep(Exception):
    """The book is not what the exchange has any more; `str()` says why."""


class OrderBook:
    """A book as of update `sequence`: every level that is known.

    A snapshot that is cut off at `limit` levels leaves unknown what lies behind its last one. That level bounds what
    `top` gives: prices that were never seen are not said to be empty.
    """

    __slots__ = (
        "_ask_bound",
        "_ask_prices",
        "_asks",
        "_bid_bound",
        "_bid_prices",
        "_bids",
        "_in_line",
        "_repeats",
        "sequence",
        "timestamp",
    )

    def __init__(
        self,
        sequence: int,
        bids: Iterable[Level],
        asks: Iterable[Level],
        *,
        timestamp: int | None = None,
        limit: int | None = None,
    ) -> None:
        # A level is found by its price; the prices are sorted, ascending on both sides: the best ask is the first,
        # the best bid the last.
        self._bids = {level[0]: level for level in bids if level[1]}
        self._asks = {level[0]: level for level in asks if level[1]}
        self._bid_prices = sorted(self._bids)
        self._ask_prices = sorted(self._asks)
        self._bid_bound = self._bid_prices[0] if limit and len(self._bids) >= limit else 0.0
        self._ask_bound = self._ask_prices[-1] if limit and len(self._asks) >= limit else float("inf")
        self._in_line = False
        self._repeats = 0
        self.sequence = sequence
        self.timestamp = timestamp
        self._refuse_crossed()

    def apply(self, diff: Diff) -> bool:
        """Make a change; False when the book has it already.

        Raises OutOfStep when a change before it is missing, and when it leaves the book crossed (best bid not below
        the best ask); the book is void then.
        """
        if diff.last <= self.sequence:
            self._repeats += self._in_line
            if self._repeats > REPEATS:
                raise OutOfStep(f"updates went back from {self.sequence} to {diff.last}")
            return False
        # usd-m events leave out the numbers of other symbols: there `pu`, not `U - 1`, is what the event builds upon.
        # An event that begins before the snapshot brings levels up to date that already are.
        before = diff.first - 1 if diff.previous is None else diff.previous
        if before != self.sequence and (self._in_line or before > self.sequence):
            raise OutOfStep(f"update {diff.first} follows {before}, not {self.sequence}")
        _change(self._bids, self._bid_prices, diff.bids)
        _change(self._asks, self._ask_prices, diff.asks)
        self.sequence = diff.last
        self.timestamp = diff.timestamp
        self._in_line = True
        self._repeats = 0
        self._refuse_crossed()
        return True

    def top(self, depth: int) -> tuple[list[Level], list[Level]]:
        """Bids and asks, best first: the best `depth` of each side, fewer where no more are known."""
        bid_prices, ask_prices = self._bid_prices, self._ask_prices
        best_bids = bid_prices[-depth:] if depth else []
        best_asks = ask_prices[:depth]
        if best_bids and best_bids[0] < self._bid_bound:
            del best_bids[: bisect_left(best_bids, self._bid_bound)]
        if best_asks and best_asks[-1] > self._ask_bound:
            del best_asks[bisect_right(best_asks, self._ask_bound) :]
        best_bids.reverse()
        bids, asks = self._bids, self._asks
        return [bids[price] for price in best_bids], [asks[price] for price in best_asks]

    def whole(self) -> tuple[list[Level], list[Level]]:
        """Bids and asks, best first: all levels, also those behind what the snapshot covered."""
        bids, asks = self._bids, self._asks
        return [bids[price] for price in reversed(self._bid_prices)], [asks[price] for price in self._ask_prices]

    def covers(self, depth: int) -> bool:
        """Whether `top(depth)` is all that the exchange has, and not cut short by what the snapshot covered."""
        bids, asks = self._bid_prices, self._ask_prices
        all_bids = not self._bid_bound or (len(bids) >= depth and bids[-depth] >= self._bid_bound)
        all_asks = self._ask_bound == float("inf") or (len(asks) >= depth and asks[depth - 1] <= self._ask_bound)
        return all_bids and all_asks

    def _refuse_crossed(self) -> None:
        if self._bid_prices and self._ask_prices and self._bid_prices[-1] >= self._ask_prices[0]:
            raise OutOfStep(f"the best bid {self._bid_prices[-1]} is not below the best ask {self._ask_prices[0]}")


def _change(side: dict[float, Level], prices: list[float], levels: Sequence[Level]) -> None:
    for level in levels:
        price, amount = level
        if amount:
            if price not in side:
                insort(prices, price)
            side[price] = level
        elif side.pop(price, None) is not None:
            del prices[bisect_left(prices, price)]
