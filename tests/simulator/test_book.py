"""The generated order book: snapshots and differences are the same book."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.simulator.config import checked
from tickwire.simulator.market.book import FRAME_MS, Side, book_at, changes, frame_of
from tickwire.simulator.market.exchange import Exchange

pytestmark = pytest.mark.pure

NOW = 1_750_000_000_000
EXCHANGE = Exchange(checked({"now": NOW, "live_rate": 20, "symbols": ["BTC/USDT", "XRP/ETH"]}))


def levels(side: Side) -> dict[int, int]:
    return dict(zip(side[0].tolist(), side[1].tolist(), strict=True))


@given(st.sampled_from(["BTCUSDT", "XRPETH"]), st.integers(0, 5_000), st.integers(0, 300))
def test_a_snapshot_and_the_differences_after_it_give_every_later_book(symbol: str, start: int, ahead: int) -> None:
    instrument = EXCHANGE.instruments[symbol]
    first = frame_of(NOW) + start
    before, after = book_at(instrument, first), book_at(instrument, first + ahead)
    for old, new in ((before.bids, after.bids), (before.asks, after.asks)):
        merged = levels(old) | levels(changes(old, new))
        assert {price: size for price, size in merged.items() if size} == levels(new)


@given(st.integers(0, 5_000))
def test_the_best_prices_are_around_the_last_trade(start: int) -> None:
    instrument = EXCHANGE.instruments["BTCUSDT"]
    frame = frame_of(NOW) + start
    book = book_at(instrument, frame)
    assert instrument.history is not None
    end = instrument.history.id_at(frame * FRAME_MS)
    last = instrument.history.by_id(end - 1, end)
    touched = book.bids if last.sell[0] else book.asks
    assert touched[0][0] == last.price[0]
    assert book.asks[0][0] - book.bids[0][0] == instrument.units.price_step
    assert sorted(book.bids[0].tolist(), reverse=True) == book.bids[0].tolist()
    assert sorted(book.asks[0].tolist()) == book.asks[0].tolist()


def test_the_book_changes_in_every_frame() -> None:
    instrument = EXCHANGE.instruments["BTCUSDT"]
    books = [book_at(instrument, frame_of(NOW) + step) for step in range(50)]
    assert all(len(changes(a.bids, b.bids)[0]) for a, b in pairwise(books))
