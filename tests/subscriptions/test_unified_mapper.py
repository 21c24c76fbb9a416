"""What ccxt made of the exchange's messages, in our words: with ccxt's own caches, filled as its classes fill them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ccxt.async_support.base.ws.cache import (
    ArrayCache,
    ArrayCacheBySymbolById,
    ArrayCacheBySymbolBySide,
    ArrayCacheByTimestamp,
)
from ccxt.async_support.base.ws.order_book import OrderBook
from hypothesis import given
from hypothesis import strategies as st

from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.streamer.subscriptions.unified_mapper import Mapper, Subject, subject

pytestmark = pytest.mark.pure

TRADES = Feed("trade", "okx", "BTC/USDT")
BOOK = Feed("book", "okx", "BTC/USDT")
TICKER = Feed("ticker", "okx", "BTC/USDT")
CANDLES = Feed("candle", "okx", "BTC/USDT", "1m")
NOTHING = SimpleNamespace(orderbooks={}, ohlcvs={})


def raw(number: int, symbol: str = "BTC/USDT", **more: Any) -> dict[str, Any]:
    """A trade as ccxt describes it."""
    return {"id": str(number), "timestamp": 1_000 + number, "symbol": symbol, "side": "buy", "price": 2.5,
            "amount": number / 4, "takerOrMaker": None, "fee": None} | more  # fmt: skip


def ours(number: int) -> Trade:
    return Trade(id=str(number), timestamp=1_000 + number, side="buy", price=2.5, amount=number / 4)


CACHES = [ArrayCache, ArrayCacheBySymbolById]


@pytest.mark.parametrize("kind", CACHES)
@given(batches=st.lists(st.integers(0, 30), max_size=30), times=st.integers(1, 3))
def test_each_trade_is_taken_once_however_many_come_and_however_often_they_repeat(
    kind: Any, batches: list[int], times: int
) -> None:
    taken: list[Any] = []
    cache, mapper, number = kind(1_000), Mapper(TRADES), 0
    for batch in batches:
        for _ in range(batch):
            cache.append(raw(number))
            number += 1
        for _ in range(times):
            taken += mapper.new(cache)
    assert taken == [ours(each) for each in range(number)]


@pytest.mark.parametrize(("exchange", "taker"), [("okx", "buy"), ("coinbase", "sell"), ("coinbaseexchange", "sell")])
def test_the_side_of_a_trade_is_the_taker_s_where_ccxt_passes_the_maker_s_on(exchange: str, taker: str) -> None:
    cache, mapper = ArrayCache(10), Mapper(Feed("trade", exchange, "BTC/USDT"))
    cache.append(raw(1))
    cache.append(raw(2, side=None))
    assert [each.side for each in mapper.new(cache)] == [taker, None]


@given(st.lists(st.lists(st.integers(0, 40), max_size=8), max_size=30), st.integers(8, 50))
def test_each_trade_is_taken_once_where_repeated_ones_take_the_place_of_the_first(
    batches: list[list[int]], size: int
) -> None:
    """ccxt moves a repeated one to the end, in place: what came with it must be taken, it must not."""
    taken: list[Any] = []
    cache, mapper = ArrayCacheBySymbolById(size), Mapper(TRADES)
    kept: list[int] = []
    expected: list[int] = []
    for batch in batches:
        for number in batch:
            cache.append(raw(number))
            if number in kept:
                kept.remove(number)
            else:
                expected.append(number)
            kept = [*kept, number][-size:]
        taken += mapper.new(cache)
    assert sorted(taken, key=_id) == sorted((ours(each) for each in expected), key=_id)


def _id(trade: Trade) -> int:
    return int(trade.id or 0)


def test_what_came_before_a_repeated_trade_is_taken() -> None:
    cache, mapper = ArrayCacheBySymbolById(10), Mapper(TRADES)
    cache.append(raw(1))
    assert mapper.new(cache) == [ours(1)]
    cache.append(raw(2))
    cache.append(raw(1))
    assert mapper.new(cache) == [ours(2)]


@pytest.mark.parametrize("kind", CACHES)
def test_trades_that_a_cache_let_go_of_unseen_are_told_as_lost(kind: Any) -> None:
    told: list[str] = []
    cache, mapper = kind(10), Mapper(TRADES, lost=told.append)
    for number in range(10):
        cache.append(raw(number))
    assert len(mapper.new(cache)) == 10
    for number in range(10, 19):
        cache.append(raw(number))
    assert len(mapper.new(cache)) == 9
    assert told == []
    for number in range(19, 30):
        cache.append(raw(number))
    assert mapper.new(cache) == [ours(each) for each in range(20, 30)]
    assert len(told) == 1


@pytest.mark.parametrize("kind", CACHES)
def test_trades_are_taken_though_the_cache_is_full(kind: Any) -> None:
    taken: list[Any] = []
    cache, mapper = kind(10), Mapper(TRADES)
    for number in range(100):
        cache.append(raw(number))
        if number % 7 == 6:
            taken += mapper.new(cache)
    taken += mapper.new(cache)
    assert taken == [ours(each) for each in range(100)]


def test_a_new_cache_after_a_reconnect_is_taken_from_its_beginning() -> None:
    mapper = Mapper(TRADES)
    first, second = ArrayCache(10), ArrayCache(10)
    first.append(raw(1))
    second.append(raw(2))
    second.append(raw(3))
    assert mapper.new(first) == [ours(1)]
    assert mapper.new(second) == [ours(2), ours(3)]


def test_equal_trades_that_are_two_are_two() -> None:
    cache, mapper = ArrayCache(10), Mapper(TRADES)
    cache.append(raw(1, id=None))
    cache.append(raw(1, id=None))
    assert len(mapper.new(cache)) == 2


def test_a_trade_without_side_and_id_is_one_all_the_same() -> None:
    (trade,) = Mapper(TRADES).new([raw(1, id=None, side=None)])
    assert (trade.id, trade.side) == (None, None)


def test_a_trade_that_cannot_be_read_is_told_once_and_the_others_are_taken() -> None:
    told: list[str] = []
    cache, mapper = ArrayCache(10), Mapper(TRADES, told.append)
    for trade in (raw(1), raw(2, price=None), raw(3)):
        cache.append(trade)
    assert mapper.new(cache) == [ours(1), ours(3)]
    cache.append(raw(4))
    assert mapper.new(cache) == [ours(4)]
    assert len(told) == 1


def test_a_book_is_taken_once_per_change() -> None:
    mapper = Mapper(BOOK)
    book = OrderBook({"bids": [[1.0, 2.0]], "asks": [[3.0, 4.0]], "nonce": 5, "timestamp": 1_000, "symbol": "BTC/USDT"})
    (view,) = mapper.new(book)
    assert (view.nonce, view.timestamp, view.bids[0], view.asks[0]) == (5, 1_000, [1.0, 2.0], [3.0, 4.0])
    assert mapper.new(book) == []
    book["bids"].store(1.5, 1.0)
    book["nonce"] = 6
    (view,) = mapper.new(book)
    assert list(view.bids) == [[1.5, 1.0], [1.0, 2.0]]


def changed(book: OrderBook, amount: float, **said: int) -> OrderBook:
    book["bids"].store(1.0, amount)
    for name, value in said.items():
        book[name] = value
    return book


def test_changes_in_one_millisecond_are_taken_where_the_nonce_is_the_time() -> None:
    mapper, book = Mapper(BOOK), OrderBook({"bids": [[1.0, 2.0]], "asks": [], "symbol": "BTC/USDT"})
    for amount, now in ((3.0, 1_000), (4.0, 1_000), (5.0, 1_001), (6.0, 1_001)):
        assert len(mapper.new(changed(book, amount, nonce=now, timestamp=now))) == 1
        assert mapper.new(book) == []


def test_changes_in_one_millisecond_are_taken_if_the_nonce_is_that_of_the_snapshot() -> None:
    mapper, book = Mapper(BOOK), OrderBook({"bids": [[1.0, 2.0]], "asks": [], "symbol": "BTC/USDT"})
    for nonce in (7, 8, 9):
        for amount, now in ((3.0, 1_000), (4.0, 1_000), (5.0, 1_001), (6.0, 1_001)):
            assert len(mapper.new(changed(book, amount, nonce=nonce, timestamp=now + nonce))) == 1
            assert mapper.new(book) == []


def test_a_nonce_that_counts_tells_a_repeated_book_by_itself() -> None:
    mapper, book = Mapper(BOOK), OrderBook({"bids": [[1.0, 2.0]], "asks": [], "symbol": "BTC/USDT"})
    for nonce in (5, 6, 7):
        assert len(mapper.new(changed(book, float(nonce), nonce=nonce, timestamp=1_000))) == 1
        assert mapper.new(book) == []


def test_a_book_that_is_not_numbered_is_taken_whenever_it_is_told() -> None:
    mapper, book = Mapper(BOOK), OrderBook({"bids": [], "asks": [], "symbol": "BTC/USDT"})
    assert len(mapper.new(book)) == len(mapper.new(book)) == 1


@pytest.mark.parametrize(
    ("exchange", "expected"),
    [
        ("okx", {"last": 74021.5, "bid": 74020.0, "ask": 74022.0, "quote_volume": 6.5}),
        # Its tickers have the mid price and prices of an order of some size: ccxt calls them last, bid and ask.
        ("hyperliquid", {"quote_volume": 6.5}),
    ],
)
def test_a_ticker_has_no_price_that_the_venue_does_not_send(exchange: str, expected: dict[str, float]) -> None:
    found = {"symbol": "BTC/USDC", "last": 74021.5, "bid": 74020.0, "ask": 74022.0, "quoteVolume": 6.5}
    assert Mapper(Feed("ticker", exchange, "BTC/USDC")).new(found) == [expected]


def test_a_ticker_says_what_it_knows_and_once() -> None:
    mapper = Mapper(TICKER)
    found = {"symbol": "BTC/USDT", "timestamp": 1, "last": 2.0, "bid": 1.5, "bidVolume": 3.0, "ask": None, "open": 1.0,
             "high": 4.0, "low": 0.5, "baseVolume": 10.0, "quoteVolume": 20.0, "info": {}}  # fmt: skip
    said = {"timestamp": 1, "last": 2.0, "bid": 1.5, "bid_amount": 3.0, "open": 1.0, "high": 4.0, "low": 0.5,
            "volume": 10.0, "quote_volume": 20.0}  # fmt: skip
    assert mapper.new(found) == [said]
    assert mapper.new({"BTC/USDT": found, "ETH/USDT": {}}) == []
    assert mapper.new(dict(found)) == [said]
    found["last"] = 3.0
    assert mapper.new(found) == [said | {"last": 3.0}]


def test_candles_are_open_until_the_next_one_comes() -> None:
    cache, mapper = ArrayCacheByTimestamp(100), Mapper(CANDLES)

    def candle(at: int, close: float, closed: bool) -> Candle:
        return Candle(exchange="okx", symbol="BTC/USDT", timeframe="1m", timestamp=at, open=1.0, high=9.0, low=0.5,
                      close=close, volume=7.0, trades=0, closed=closed, complete=True)  # fmt: skip

    for at, close in ((0, 2.0), (60_000, 3.0)):
        cache.append([at, 1.0, 9.0, 0.5, close, 7.0])
    assert mapper.new(["BTC/USDT", "1m", cache]) == [candle(60_000, 3.0, False)]
    cache.append([60_000, 1.0, 9.0, 0.5, 4.0, 7.0])
    assert mapper.new(cache) == [candle(60_000, 4.0, False)]
    cache.append([120_000, 1.0, 9.0, 0.5, 5.0, 7.0])
    cache.append([180_000, 1.0, 9.0, 0.5, 6.0, 7.0])
    assert mapper.new(cache) == [candle(60_000, 4.0, True), candle(120_000, 5.0, True), candle(180_000, 6.0, False)]


def test_results_are_told_apart_by_what_they_are() -> None:
    trades, mine, candles = ArrayCache(10), ArrayCacheBySymbolById(10), ArrayCacheByTimestamp(10)
    trades.append(raw(1))
    mine.append(raw(1))
    book, nameless = OrderBook({"symbol": "BTC/USDT"}), OrderBook({})
    ticker = {"symbol": "BTC/USDT", "bid": 1, "ask": 2, "last": None}
    sides, order = ArrayCacheBySymbolBySide(), ArrayCacheBySymbolById(10)
    sides.append(raw(1))
    order.append(raw(1, status="open", remaining=1.0))
    exchange = SimpleNamespace(orderbooks={"ETH/USDT": nameless}, ohlcvs={"BTC/USDT": {"1m": candles}}, myTrades=mine)
    by_id = ArrayCacheBySymbolById(10)
    by_id.append(raw(1))
    for container in (by_id, sides):
        assert subject(container, exchange) == [Subject("trade", "BTC/USDT")]
    several = [raw(1, symbol="ETH/USDT"), raw(2), raw(3, symbol="ETH/USDT")]
    assert subject(several, exchange) == [Subject("trade", "ETH/USDT"), Subject("trade", "BTC/USDT")]
    assert subject(mine, exchange) == subject(order, exchange) == []
    assert subject(trades, exchange) == subject([raw(1)], exchange) == [Subject("trade", "BTC/USDT")]
    assert subject(book, exchange) == [Subject("book", "BTC/USDT")]
    assert subject(nameless, exchange) == [Subject("book", "ETH/USDT")]
    assert subject(candles, exchange) == [Subject("candle", "BTC/USDT", "1m")]
    assert subject(["BTC/USDT", "1m", candles], exchange) == [Subject("candle", "BTC/USDT", "1m")]
    assert subject(ticker, exchange) == subject({"BTC/USDT": ticker}, exchange) == [Subject("ticker", "BTC/USDT")]
    for other in (order, ArrayCache(10), True, None, {}, [], {"id": 1}, "text", [1, 2, 3], {"BTC/USDT": 1}):
        assert subject(other, NOTHING) == []
