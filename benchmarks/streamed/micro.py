"""Costs of pure functions, without processes and sockets: microseconds of CPU an item, medians of rounds."""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator

import ccxt.pro

from streamed import dialects, venue
from tickwire.model import messages
from tickwire.model.feeds import Book, Trade, Trades
from tickwire.streamer.books.orderbook import OrderBook
from tickwire.streamer.candles.builder import CandleBuilder, fold
from tickwire.streamer.candles.partial_candles import grain_of
from tickwire.streamer.trades.by_content import OrderingByContent
from tickwire.streamer.trades.by_id import OrderingById
from tickwire.venues import binance
from tickwire.venues.dialect import Diff

COUNT = 20_000
ROUNDS = 7
BATCH = 2000
SINGLE = 1
AT = 1_700_000_000_000


def median_us(items: int, call: Callable[[], object]) -> float:
    """Return microseconds of CPU an item, the median of rounds.

    As in the services, what was imported is not collected again and again: ccxt's modules alone are 10 times the items.
    """
    gc.collect()
    gc.freeze()
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return statistics.median(taken) / items * 1e6


Row = tuple[str, float, str, float | None]
"""What is measured, microseconds an item, the baseline's name, its microseconds an item."""


def rows() -> Iterator[Row]:
    """Yield the rows of trades, candles and books."""
    frames = [venue.trade_event("BTCUSDT", number, AT + number // 10).decode() for number in range(1, COUNT + 1)]
    trades: list[Trade] = [found[0].items[0] for found in map(binance.decode, frames) if found is not None]
    yield from decoding(frames)
    yield from dialects.rows()
    yield from ordering(trades)
    yield from encoding(trades)
    yield from books()


def decoding(frames: list[str]) -> Iterator[Row]:
    """Yield rows of frames to trades."""
    combined = [f'{{"stream":"btcusdt@aggTrade","data":{text}}}' for text in frames]
    plain = ccxt.pro.binance({"options": {"crossMarginPairsData": [], "isolatedMarginPairsData": []}})
    market = plain.parse_market(venue.market("BTC"))
    plain.set_markets([market])

    def by_ccxt() -> None:
        for text in frames[:2000]:
            plain.parse_ws_trade(json.loads(text), market)

    ccxt_us = median_us(2000, by_ccxt)
    yield (
        "aggTrade frame to Trade",
        median_us(COUNT, lambda: list(map(binance.decode, frames))),
        "ccxt's parse",
        ccxt_us,
    )
    yield "the same, combined frame", median_us(COUNT, lambda: list(map(binance.decode, combined))), "", None


def ordering(trades: list[Trade]) -> Iterator[Row]:
    """Yield rows of ordering."""

    def accept(ordering: OrderingById | OrderingByContent, size: int) -> None:
        for start in range(0, len(trades), size):
            ordering.offer(trades[start : start + size], AT)

    yield f"sequence accepted, {BATCH:,} at once", median_us(COUNT, lambda: accept(OrderingById(), BATCH)), "", None
    yield "sequence accepted, one by one", median_us(COUNT, lambda: accept(OrderingById(), SINGLE)), "", None
    yield "the same where ids do not count", median_us(COUNT, lambda: accept(OrderingByContent(), SINGLE)), "", None


def encoding(trades: list[Trade]) -> Iterator[Row]:
    """Yield rows of JSON, and of candles built from messages."""

    def message(part: list[Trade]) -> Trades:
        return Trades(exchange="binance", symbol="BTC/USDT", trades=part, received=AT, until=AT)

    batches = [message(trades[start : start + BATCH]) for start in range(0, COUNT, BATCH)]
    singles = [message([trade]) for trade in trades]
    as_dicts = [
        {"id": t.id, "timestamp": t.timestamp, "side": t.side, "price": t.price, "amount": t.amount} for t in trades
    ]
    dumped = median_us(COUNT, lambda: [json.dumps(each) for each in as_dicts])
    encoded = [messages.encode(batch) for batch in batches]
    yield (
        f"batch of {BATCH:,} to JSON",
        median_us(COUNT, lambda: list(map(messages.encode, batches))),
        "json.dumps",
        dumped,
    )
    yield (
        "message of one trade to JSON",
        median_us(COUNT, lambda: list(map(messages.encode, singles))),
        "json.dumps",
        dumped,
    )
    yield (
        f"JSON of {BATCH:,} to Trades",
        median_us(COUNT, lambda: [messages.decode(data, Trades) for data in encoded]),
        "",
        None,
    )

    def folded(parts: list[Trades]) -> None:
        buildings = {name: CandleBuilder.begin(name, 0, 0) for name in ("1m", "5m", "1h", "1d")}
        grain = grain_of(buildings)
        for sequence, part in enumerate(parts, 1):
            fold(buildings, grain, sequence, part)

    yield f"folded into 4 timeframes, {BATCH:,} at once", median_us(COUNT, lambda: folded(batches)), "", None
    yield "folded into 4 timeframes, one by one", median_us(COUNT, lambda: folded(singles)), "", None


def books() -> Iterator[Row]:
    """Yield rows of order books, with changes of 20 levels."""
    source = venue.Venue(1)
    frames = [source.event("depth", "BTC", AT).decode() for _ in range(5000)]
    diffs: list[Diff] = [found[0].items[0] for found in map(binance.decode, frames) if found is not None]
    snapshot = source.book("BTCUSDT")
    sides = [[(float(price), float(amount)) for price, amount in snapshot[side]] for side in ("bids", "asks")]

    def apply() -> OrderBook:
        book = OrderBook(0, sides[0], sides[1], limit=1000)
        for diff in diffs:
            book.apply(diff)
        return book

    def apply_ccxt() -> None:
        book = plain.order_book({"bids": sides[0], "asks": sides[1], "nonce": 0})
        book["symbol"] = "BTC/USDT"
        for text in frames[:1000]:
            plain.handle_order_book_message(None, json.loads(text), book)

    plain = ccxt.pro.binance()
    count = len(frames)
    by_ccxt = median_us(1000, apply_ccxt)
    yield "depth frame to Diff", median_us(count, lambda: list(map(binance.decode, frames))), "", None
    yield "Diff applied to the book", median_us(count, apply), "ccxt's, from its frame", by_ccxt
    book = apply()
    yield "top 20 of both sides", median_us(count, lambda: [book.top(20) for _ in range(count)]), "", None
    bids, asks = book.top(20)
    top = Book(
        exchange="binance", symbol="BTC/USDT", state="live", timestamp=AT, received=AT, bids=bids, asks=asks, depth=20
    )
    yield "book of 20 levels to JSON", median_us(count, lambda: [messages.encode(top) for _ in range(count)]), "", None


async def all_rows() -> list[tuple[str, float, str, float | None]]:
    """Return all rows. ccxt needs a running event loop."""
    return list(rows())


if __name__ == "__main__":
    for each in asyncio.run(all_rows()):
        print(each)
