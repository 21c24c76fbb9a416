"""Recorded changes of books, archived: the book at a moment is the one that ccxt keeps from the same messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ccxt.pro.binance import binance

from archive_files.taped import GENERATION
from pipeline.recorded_messages import recorded_markets
from tickwire.archive_files.book_at import book_at
from tickwire.archive_files.book_parts import BookPartRows
from tickwire.archive_files.book_rows import book_before
from tickwire.archive_files.layout import ArchivedFeed, Through
from tickwire.archive_files.parts import write_part
from tickwire.archive_files.root import FolderRoot
from tickwire.model.feeds import BookDelta, BookDeltas
from tickwire.streamer.books.deltas import snapshot
from tickwire.streamer.books.orderbook import OrderBook
from tickwire.venues.dialect import Diff

pytestmark = pytest.mark.golden

ROUND = 40
"""Messages of a round."""
SAMPLE = 7
"""Of so many moments one is compared."""
FEED = ArchivedFeed("book_delta", "binance", "X/USDT")


def levels(side: list[list[str]]) -> list[tuple[float, float]]:
    return [(float(price), float(amount)) for price, amount in side]


def of_ccxt(side: Any) -> list[tuple[float, float]]:
    return [(level[0], level[1]) for level in side]


@pytest.mark.parametrize(("name", "symbol"), [("BINANCE", "NKNUSDT"), ("BINANCE_FUTURES", "SUSHIUSDT")])
def test_the_archived_book_at_each_moment_is_that_of_ccxt(
    recorded: Path, tmp_path: Path, name: str, symbol: str
) -> None:
    market = recorded_markets(recorded / "wire" / name)[symbol]
    begin = {side: levels(market.snapshot[side]) for side in ("bids", "asks")}
    ours = OrderBook(market.snapshot["lastUpdateId"], begin["bids"], begin["asks"])
    ccxt = binance()
    theirs = ccxt.order_book({side: [list(level) for level in begin[side]] for side in begin})
    taped, expected = list[BookDeltas](), dict[int, Any]()
    for data in market.diffs:
        before, bids, asks = ours.sequence, levels(data["b"]), levels(data["a"])
        if not ours.apply(
            Diff(first=data["U"], last=data["u"], previous=data.get("pu"), timestamp=data["E"], bids=bids, asks=asks)
        ):
            continue
        ccxt.handle_order_book_message(None, data, theirs)
        theirs.limit()
        expected[data["E"]] = (of_ccxt(theirs["bids"]), of_ccxt(theirs["asks"]))
        delta = BookDelta(first=before + 1, last=ours.sequence, timestamp=data["E"], bids=bids, asks=asks)
        # The book begins with the first change that its snapshot does not have.
        deltas = [delta] if taped else snapshot(ours)
        taped.append(BookDeltas(exchange=FEED.exchange, symbol=FEED.symbol, received=data["E"], deltas=deltas))
    root = FolderRoot(tmp_path)
    for done in range(0, len(taped), ROUND):
        rows = BookPartRows(GENERATION, done, lambda *of: book_before(root, *of))
        for sequence, message in enumerate(taped[done : done + ROUND], done + 1):
            rows.append(message, sequence, sequence - 1)
        for part in rows.parts(min(done + ROUND, len(taped))):
            write_part(root, part)
    assert len(expected) > 100
    for time in sorted(expected)[::SAMPLE]:
        found = book_at(root, FEED, time, Through(GENERATION, len(taped)))
        assert found.levels is not None
        assert (found.levels.bids, found.levels.asks) == expected[time]
