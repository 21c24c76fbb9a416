"""Frames of other venues, in their documented form, through ccxt's own classes into sinks; nothing is connected."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ccxt.pro
import pytest
from aiohttp import WSMessage, WSMsgType

from support.trading import ANY_TIME
from support.venues import Memory
from tickwire.exchange.ccxt_patches.observed_exchange import observed
from tickwire.exchange.ccxt_patches.socket_hooks import Hooks
from tickwire.model.feeds import Feed, Trade
from tickwire.streamer.subscriptions.frame_router import FrameRouter
from tickwire.streamer.subscriptions.subscription import Subscription, WatchedFeed

pytestmark = pytest.mark.pure


class Line:
    """One socket of an exchange, on which frames can be said."""

    def __init__(self, exchange: Any, url: str) -> None:
        self.exchange = exchange
        self.client = exchange.client(url)

    def watch(self, feed: Feed) -> Memory:
        """A sink that watches a feed on this socket."""
        memory = Memory()
        watched = WatchedFeed(feed, memory, ANY_TIME)
        subscription = Subscription(watched, feed.kind)
        subscription.client = self.client
        watched.subscriptions = [subscription]
        self.exchange.observer.add(watched)
        return memory

    def say(self, frame: Any) -> None:
        """What the exchange sends."""
        self.client.handle_message(WSMessage(WSMsgType.TEXT, json.dumps(frame), None))


@asynccontextmanager
async def line(exchange: str, url: str, **ids: str) -> AsyncIterator[Line]:
    """A socket of an exchange that has these markets: symbol parts joined by `_`, and the exchange's ids."""
    opened = observed(getattr(ccxt.pro, exchange))({"timeout_on_exit": 0})
    opened.timeout_on_exit = 0
    # Without dialects: ccxt parses every frame.
    opened.observer = FrameRouter(opened, Hooks(text=False))
    markets = []
    for name, id_ in ids.items():
        base, quote = name.split("_")
        market = {"id": id_, "symbol": f"{base}/{quote}", "base": base, "quote": quote, "baseId": base,
                  "quoteId": quote, "type": "spot", "spot": True, "active": True}  # fmt: skip
        markets.append(opened.safe_market_structure(market))
    opened.set_markets(markets)
    try:
        yield Line(opened, url)
    finally:
        await opened.close()


def okx_trade(number: int, symbol: str = "BTC-USDT") -> dict[str, str]:
    return {"instId": symbol, "tradeId": f"{number}", "px": "42219.9", "sz": "0.12060306", "side": "buy",
            "ts": "1630048897897", "count": "3"}  # fmt: skip


async def test_trades_of_okx_arrive_each_once_and_connect_the_feed() -> None:
    async with line("okx", "wss://ws.okx.com:8443/ws/v5/public", BTC_USDT="BTC-USDT", ETH_USDT="ETH-USDT") as okx:
        memory = okx.watch(Feed("trade", "okx", "BTC/USDT"))
        parked = okx.client.future("trades:BTC-USDT")
        for frame in range(3):
            trades = [okx_trade(frame * 2 + each) for each in range(2)]
            okx.say({"arg": {"channel": "trades", "instId": "BTC-USDT"}, "data": trades})
            okx.say({"arg": {"channel": "trades", "instId": "ETH-USDT"}, "data": [okx_trade(frame, "ETH-USDT")]})
        assert memory.items == [
            Trade(id=str(number), timestamp=1630048897897, side="buy", price=42219.9, amount=0.12060306)
            for number in range(6)
        ]
        assert memory.told == ["connected"]
        assert not parked.done()


async def test_several_trades_in_one_frame_of_bybit_arrive_in_order() -> None:
    async with line("bybit", "wss://stream.bybit.com/v5/public/spot", BTC_USDT="BTCUSDT") as bybit:
        memory = bybit.watch(Feed("trade", "bybit", "BTC/USDT"))
        data = [
            {"T": 1672304486865 + number, "s": "BTCUSDT", "S": "Sell", "v": "0.001", "p": "16578.50",
             "L": "PlusTick", "i": f"{number}", "BT": False}
            for number in range(5)
        ]  # fmt: skip
        bybit.say({"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1672304486868, "data": data})
        assert memory.items == [
            Trade(id=str(number), timestamp=1672304486865 + number, side="sell", price=16578.5, amount=0.001)
            for number in range(5)
        ]


async def test_a_book_of_okx_is_the_one_that_ccxt_keeps() -> None:
    async with line("okx", "wss://ws.okx.com:8443/ws/v5/public", BTC_USDT="BTC-USDT") as okx:
        memory = okx.watch(Feed("book", "okx", "BTC/USDT"))
        # As if it had been subscribed.
        okx.client.subscriptions["books:BTC/USDT"] = True
        argument = {"channel": "books", "instId": "BTC-USDT"}
        snapshot = {"asks": [["8476.98", "415", "0", "13"]], "bids": [["8476.97", "256", "0", "12"]],
                    "ts": "1597026383085", "checksum": 0, "prevSeqId": -1, "seqId": 123456}  # fmt: skip
        change = {"asks": [], "bids": [["8476.5", "1", "0", "1"]], "ts": "1597026383185", "checksum": 0,
                  "prevSeqId": 123456, "seqId": 123457}  # fmt: skip
        okx.say({"arg": argument, "action": "snapshot", "data": [snapshot]})
        okx.say({"arg": argument, "action": "update", "data": [change]})
        assert [view.timestamp for view in memory.items] == [1597026383085, 1597026383185]
        assert [level[:2] for level in memory.items[-1].bids] == [[8476.97, 256.0], [8476.5, 1.0]]


async def test_a_frame_that_ccxt_cannot_read_is_told_and_the_next_one_arrives() -> None:
    async with line("okx", "wss://ws.okx.com:8443/ws/v5/public", BTC_USDT="BTC-USDT") as okx:
        memory = okx.watch(Feed("trade", "okx", "BTC/USDT"))
        argument = {"channel": "trades", "instId": "BTC-USDT"}
        okx.say({"arg": argument, "data": [7]})
        okx.client.handle_message(WSMessage(WSMsgType.TEXT, '{"arg":', None))
        okx.say({"arg": argument, "data": [okx_trade(1)]})
        assert len(memory.items) == 1
        assert "rejected" in memory.told


async def test_the_end_of_a_socket_is_told_once_to_all_of_its_feeds() -> None:
    async with line("okx", "wss://ws.okx.com:8443/ws/v5/public", BTC_USDT="BTC-USDT", ETH_USDT="ETH-USDT") as okx:
        memories = [okx.watch(Feed("trade", "okx", symbol)) for symbol in ("BTC/USDT", "ETH/USDT")]
        okx.client.on_error(ccxt.pro.NetworkError("gone"))
        okx.client.on_close(1006)
        for memory in memories:
            assert memory.told == ["disconnected"]
            assert "gone" in memory.reasons[0]
