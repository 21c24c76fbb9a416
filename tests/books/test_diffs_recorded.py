"""Recorded snapshots and changes of binance give the books that a hand-checkable rule in decimals gives.

The recordings also have binance's own best prices (`bookTicker`), each of one update: where a change ends at that very
update, they are the top of the book.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.recorded_messages import recorded_markets
from tickwire.streamer.books.orderbook import OrderBook
from tickwire.venues.dialect import Diff

pytestmark = pytest.mark.golden

LIMIT = 1000


def as_diff(event: dict[str, Any]) -> Diff:
    levels = {side: [(float(price), float(amount)) for price, amount in event[side]] for side in "ba"}
    return Diff(
        first=event["U"],
        last=event["u"],
        timestamp=event["E"],
        bids=levels["b"],
        asks=levels["a"],
        previous=event.get("pu"),
    )


@pytest.mark.parametrize(
    ("name", "applied", "compared"),
    [
        # Counted in the files: changes whose `u` is past the snapshot, and best prices of an update that ends one.
        ("BINANCE", {"NKNUSDT": 149, "BLZETH": 9, "LRCBTC": 13, "RUNEEUR": 1}, 26),
        ("BINANCE_FUTURES", {"SUSHIUSDT": 252, "AKROUSDT": 187, "CTKUSDT": 179, "KEEPUSDT": 131}, 50),
    ],
)
def test_recorded_books_are_those_of_the_exchange(
    recorded: Path, name: str, applied: dict[str, int], compared: int
) -> None:
    """Book after book equals the naive one, update by update, and its top is what binance itself called the best."""
    done: Counter[str] = Counter()
    agreed = 0
    for symbol, market in recorded_markets(recorded / "wire" / name).items():
        naive = market.book()
        book = OrderBook(naive.sequence, *naive.top(), limit=LIMIT)
        best = {
            data["u"]: (float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"])) for data in market.best
        }
        for data in market.diffs:
            past = data["u"] > market.snapshot["lastUpdateId"]
            assert book.apply(as_diff(data)) == past
            if not past:
                continue
            done[symbol] += 1
            naive.apply(data)
            assert book.whole() == naive.top()
            assert book.sequence == data["u"]
            if stated := best.get(data["u"]):
                bids, asks = book.top(1)
                assert (*bids[0], *asks[0]) == stated
                agreed += 1
    assert done == applied
    assert agreed == compared
