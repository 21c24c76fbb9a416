"""The current book, and the messages that are made of it."""

from __future__ import annotations

from typing import Any

import pytest

from tickwire.streamer.books.orderbook import OrderBook
from tickwire.streamer.books.present import PresentBook, copied
from tickwire.streamer.control.feed_venue import BookView

pytestmark = pytest.mark.pure


def view(bids: Any, asks: Any) -> BookView:
    return BookView(timestamp=5, nonce=7, bids=bids, asks=asks)


def test_a_copy_does_not_change_with_ccxts_lists() -> None:
    bids = [[10.0, 1.0], [9.0, 2.0]]
    top = copied(view(bids, [[11.0, 1.0]]), 20, "BTC/USDT")
    bids.clear()
    assert (top.bids, top.asks, top.timestamp, top.sequence) == ([(10.0, 1.0), (9.0, 2.0)], [(11.0, 1.0)], 5, 7)


@pytest.mark.parametrize(
    ("bids", "asks", "reason"),
    [
        ([], [], "no level"),
        ([[10.0, 1.0]], [[10.0, 1.0]], "not below"),
        ([[float("nan"), 1.0]], [], "cannot be read"),
        ([["ten"]], [], "cannot be read"),
        (None, [], "cannot be read"),
    ],
)
def test_an_impossible_book_is_refused_with_its_reason(bids: Any, asks: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        copied(view(bids, asks), 20, "BTC/USDT")


def test_the_kept_book_comes_before_the_copied_one_and_clearing_drops_both() -> None:
    present = PresentBook()
    assert not present
    present.copied = copied(view([[1.0, 1.0]], []), 20, "BTC/USDT")
    assert present.top(20).sequence == 7
    present.kept = OrderBook(9, [(2.0, 1.0), (1.0, 1.0)], [], timestamp=3)
    assert present.top(1) == ([(2.0, 1.0)], [], 3, 9)
    present.clear()
    assert not present
