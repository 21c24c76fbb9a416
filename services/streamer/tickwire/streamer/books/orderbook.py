"""An order book, kept from a snapshot and the deltas after it. No I/O, no clock.

The rules are Binance's, "How to manage a local order book correctly":
spot: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
usd-m: https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/How-to-manage-a-local-order-book-correctly

In their terms, with `lastUpdateId` of the snapshot: an event whose `u` is not greater is dropped; the first one applied
spans it (spot: U <= lastUpdateId + 1 <= u; usd-m: U <= lastUpdateId <= u); each later one follows the one before
without a gap (spot: U == previous u + 1; usd-m: pu == previous u).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence

from tickwire.model.feeds import Level
from tickwire.venues.dialect import Diff

REPEATS = 10
"""Up to this many deltas in a row that the book already has are repetitions; more mean that the numbering went back."""


class OutOfStep(Exception):
    """The book differs from the exchange's; `str()` is the reason."""


class OrderBook:
    """A book as of update `sequence`, with all known levels.

    Beyond the last level of a snapshot that is cut off at `limit` levels, the book is unknown. That level bounds what
    `top` returns: a price that was never seen is not presented as empty.
    """

    __slots__ = (
        "_applied",
        "_ask_bound",
        "_ask_prices",
        "_asks",
        "_bid_bound",
        "_bid_prices",
        "_bids",
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
        # Levels by price; prices ascending on both sides: the best ask is the first, the best bid the last.
        self._bids = {level[0]: level for level in bids if level[1]}
        self._asks = {level[0]: level for level in asks if level[1]}
        self._bid_prices = sorted(self._bids)
        self._ask_prices = sorted(self._asks)
        self._bid_bound = self._bid_prices[0] if limit and len(self._bids) >= limit else 0.0
        self._ask_bound = self._ask_prices[-1] if limit and len(self._asks) >= limit else float("inf")
        self._applied = False
        self._repeats = 0
        self.sequence = sequence
        self.timestamp = timestamp
        self._check_crossed()

    def apply(self, diff: Diff) -> bool:
        """Apply a delta; False if the book already has it.

        Raises OutOfStep if a delta before it is missing, or if it leaves the book crossed (best bid not below the best
        ask). The book is unusable then.
        """
        assert diff.first is not None
        assert diff.last is not None
        if diff.last <= self.sequence:
            self._repeats += self._applied
            if self._repeats > REPEATS:
                raise OutOfStep(f"updates went back from {self.sequence} to {diff.last}")
            return False
        # usd-m events skip the numbers of other symbols: they continue `pu`, not `U - 1`.
        # An event that begins before the snapshot repeats levels that the snapshot has.
        before = diff.first - 1 if diff.previous is None else diff.previous
        if before != self.sequence and (self._applied or before > self.sequence):
            raise OutOfStep(f"update {diff.first} follows {before}, not {self.sequence}")
        _change(self._bids, self._bid_prices, diff.bids)
        _change(self._asks, self._ask_prices, diff.asks)
        self.sequence = diff.last
        self.timestamp = diff.timestamp
        self._applied = True
        self._repeats = 0
        self._check_crossed()
        return True

    def top(self, depth: int) -> tuple[list[Level], list[Level]]:
        """Bids and asks, best first: the best `depth` levels of each side, fewer if no more are known."""
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
        """Bids and asks, best first: all levels, also those beyond the end of the snapshot."""
        bids, asks = self._bids, self._asks
        return [bids[price] for price in reversed(self._bid_prices)], [asks[price] for price in self._ask_prices]

    def covers(self, depth: int) -> bool:
        """Whether `top(depth)` is all that the exchange has, not cut short by the end of the snapshot."""
        bids, asks = self._bid_prices, self._ask_prices
        all_bids = not self._bid_bound or (len(bids) >= depth and bids[-depth] >= self._bid_bound)
        all_asks = self._ask_bound == float("inf") or (len(asks) >= depth and asks[depth - 1] <= self._ask_bound)
        return all_bids and all_asks

    def _check_crossed(self) -> None:
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
