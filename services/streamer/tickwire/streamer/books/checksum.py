"""Compares a book with the checksum that the venue sends, from the levels as the venue wrote them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tickwire.model.feeds import Level
from tickwire.streamer.books.out_of_step import OutOfStep
from tickwire.venues.dialect import Dialect, Texts
from tickwire.venues.profile import BookFacts

Text = tuple[str, str]
Compute = Callable[[Sequence[Text], Sequence[Text]], int]


class BookChecksum:
    """The texts of a book's levels, by price, and the venue's checksum of the best ones."""

    def __init__(self, compute: Compute, levels: int) -> None:
        self._compute = compute
        self._levels = levels
        self._texts: tuple[dict[float, Text], dict[float, Text]] = ({}, {})

    def note(self, texts: Texts | None, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Remember the texts of levels. Raises OutOfStep if there are none."""
        if texts is None:
            raise OutOfStep("levels without the texts that the checksum is made of")
        for kept, side, written in zip(self._texts, (bids, asks), texts, strict=True):
            for (price, _), text in zip(side, written, strict=True):
                kept[price] = text

    def verify(self, checksum: int | None, bid_prices: Sequence[float], ask_prices: Sequence[float]) -> None:
        """Raise OutOfStep if the venue's checksum is another. Prices are ascending on both sides; also forgets texts
        of levels that are gone. Without a checksum in the message nothing is compared."""
        bids, asks = self._texts
        for kept, prices in ((bids, bid_prices), (asks, ask_prices)):
            if len(kept) > 2 * len(prices) + self._levels:
                _keep(kept, prices)
        if checksum is None:
            return
        best_bids = [bids[price] for price in reversed(bid_prices[-self._levels :])]
        best_asks = [asks[price] for price in ask_prices[: self._levels]]
        found = self._compute(best_bids, best_asks)
        if found != checksum:
            raise OutOfStep(f"the checksum of the book is {found}, not {checksum}")


def _keep(kept: dict[float, Text], prices: Iterable[float]) -> None:
    remaining = {price: kept[price] for price in prices}
    kept.clear()
    kept.update(remaining)


def checksum_of(facts: BookFacts, dialect: Dialect) -> BookChecksum | None:
    """The checksum of a new book of a venue; None if the venue has none."""
    if facts.checksum_levels is None or dialect.checksum is None:
        return None
    return BookChecksum(dialect.checksum, facts.checksum_levels)
