"""An order book, kept from a snapshot and the deltas after it. No I/O, no clock.

The rules are Binance's, "How to manage a local order book correctly":
spot: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
usd-m: https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/How-to-manage-a-local-order-book-correctly

In their terms, with `lastUpdateId` of the snapshot: an event whose `u` is not greater is dropped; the first one applied
spans it (spot: U <= lastUpdateId + 1 <= u; usd-m: U <= lastUpdateId <= u); each later one follows the one before
without a gap (spot: U == previous u + 1; usd-m: pu == previous u).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import msgspec

from tickwire.model.feeds import Level
from tickwire.model.feeds.levels import change
from tickwire.streamer.books.checksum import BookChecksum
from tickwire.streamer.books.out_of_step import OutOfStep
from tickwire.streamer.books.sequencing import Sequencing
from tickwire.venues.dialect import BookSnapshot, Diff
from tickwire.venues.profile import BookFacts

DEFAULT = BookFacts()


class OrderBook:
    """A book as of update `sequence`, with all known levels, by the rules of a venue's `BookFacts`.

    Beyond the last level of a snapshot that is cut off at `limit` levels, the book is unknown. That level bounds what
    `top` returns: a price that was never seen is not presented as empty.
    """

    __slots__ = (
        "_ask_bound",
        "_ask_prices",
        "_asks",
        "_bid_bound",
        "_bid_prices",
        "_bids",
        "_checksum",
        "_depth",
        "_dropped",
        "_sequencing",
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
        facts: BookFacts = DEFAULT,
    ) -> None:
        # Levels by price; prices ascending on both sides: the best ask is the first, the best bid the last.
        self._bids = {level[0]: level for level in bids if level[1]}
        self._asks = {level[0]: level for level in asks if level[1]}
        self._bid_prices = sorted(self._bids)
        self._ask_prices = sorted(self._asks)
        self._bid_bound = self._bid_prices[0] if limit and len(self._bids) >= limit else 0.0
        self._ask_bound = self._ask_prices[-1] if limit and len(self._asks) >= limit else float("inf")
        self._depth = facts.depth
        self._checksum: BookChecksum | None = None
        self._sequencing = Sequencing(facts, sequence)
        self.timestamp = timestamp
        self._dropped: tuple[list[Level], list[Level]] = ([], [])
        self._cut()
        self._check_crossed()

    @classmethod
    def sent(
        cls, snapshot: BookSnapshot, facts: BookFacts, checksum: BookChecksum | None = None, *, count: int = 0
    ) -> OrderBook:
        """A book that the venue sent whole; `count` is its number where the venue has none. Raises OutOfStep."""
        number = snapshot.sequence
        if facts.sequence is None or (number is None and facts.snapshot == "every message"):
            number = count
        if number is None:
            raise OutOfStep("a snapshot without a number")
        bids, asks = snapshot.bids, snapshot.asks
        book = cls(number, bids, asks, timestamp=snapshot.timestamp, facts=facts)
        book._checksum = checksum
        if checksum is not None:
            checksum.note(snapshot.texts, bids, asks)
            checksum.verify(snapshot.checksum, book._bid_prices, book._ask_prices)
        return book

    @property
    def sequence(self) -> int:
        """The venue's number of the last update; a count where it has none."""
        return self._sequencing.last

    def apply(self, diff: Diff) -> bool:
        """Apply a delta; False if the book already has it.

        Raises OutOfStep if a delta before it is missing, if the venue's checksum is another, or if it leaves the book
        crossed (best bid not below the best ask). The book is unusable then.
        """
        if not self._sequencing.advance(diff):
            return False
        change(self._bids, self._bid_prices, diff.bids)
        change(self._asks, self._ask_prices, diff.asks)
        self.timestamp = diff.timestamp
        if self._depth is not None:
            self._cut()
        if self._checksum is not None:
            self._checksum.note(diff.texts, diff.bids, diff.asks)
            self._checksum.verify(diff.checksum, self._bid_prices, self._ask_prices)
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

    def with_dropped(self, diff: Diff) -> Diff:
        """The delta that was applied last, with the removal of the levels that it moved out of the venue's depth.

        The venue does not send that: without it, whoever follows the deltas would have these levels for good.
        """
        bids, asks = self._dropped
        if not bids and not asks:
            return diff
        return msgspec.structs.replace(diff, bids=diff.bids + bids, asks=diff.asks + asks)

    def covers(self, depth: int) -> bool:
        """Whether `top(depth)` is all that the exchange has, not cut short by the end of the snapshot."""
        bids, asks = self._bid_prices, self._ask_prices
        all_bids = not self._bid_bound or (len(bids) >= depth and bids[-depth] >= self._bid_bound)
        all_asks = self._ask_bound == float("inf") or (len(asks) >= depth and asks[depth - 1] <= self._ask_bound)
        return all_bids and all_asks

    def _cut(self) -> None:
        """Drop the levels beyond those that the venue keeps current."""
        if self._depth is None:
            return
        bids, asks = self._dropped = ([], [])
        while len(self._bid_prices) > self._depth:
            bids.append((price := self._bid_prices.pop(0), 0.0))
            del self._bids[price]
        while len(self._ask_prices) > self._depth:
            asks.append((price := self._ask_prices.pop(), 0.0))
            del self._asks[price]

    def _check_crossed(self) -> None:
        if self._bid_prices and self._ask_prices and self._bid_prices[-1] >= self._ask_prices[0]:
            raise OutOfStep(f"the best bid {self._bid_prices[-1]} is not below the best ask {self._ask_prices[0]}")


def difference(before: OrderBook, after: OrderBook) -> Diff:
    """The change between two whole books, numbered from one to the other."""
    sides = zip(before.whole(), after.whole(), strict=True)
    bids, asks = [_changed(dict(old), dict(new)) for old, new in sides]
    return Diff(first=before.sequence + 1, last=after.sequence, timestamp=after.timestamp, bids=bids, asks=asks)


def _changed(old: dict[float, float], new: dict[float, float]) -> list[Level]:
    gone: list[Level] = [(price, 0.0) for price in old if price not in new]
    return gone + [(price, amount) for price, amount in new.items() if old.get(price) != amount]
