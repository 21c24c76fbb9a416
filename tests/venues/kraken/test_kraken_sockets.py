"""The sockets of the simulated Kraken: subscriptions, books with their checksum, and unmodified ccxt on them."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import pytest

from simulator.asking import connected, get
from support.simulated import client, simulated
from venues.kraken.asking import MINUTE, NOW, SOCKET, SYMBOL, asked, said

pytestmark = pytest.mark.golden


async def test_each_symbol_of_a_request_is_acknowledged_or_refused_by_itself() -> None:
    async with simulated(now=NOW) as running, connected(running, SOCKET) as connection:
        status = await connection.receive_json(timeout=60)
        assert (status["channel"], status["data"][0]["api_version"]) == ("status", "v2")
        symbols = ["BTC/USD", "XBT/USD", "ETH/USD"]
        answers = await asked(connection, "subscribe", 3, channel="trade", symbol=symbols)
        assert [(each["success"], each.get("result", each).get("symbol")) for each in answers] == [
            (True, "BTC/USD"), (False, "XBT/USD"), (True, "ETH/USD"),
        ]  # fmt: skip
        assert answers[1]["error"] == "Currency pair not supported XBT/USD"
        assert answers[0]["result"] == {"channel": "trade", "snapshot": False, "symbol": "BTC/USD"}
        (again,) = await asked(connection, "subscribe", channel="trade", symbol=[SYMBOL])
        assert again["error"] == "Already subscribed"
        (left,) = await asked(connection, "unsubscribe", channel="trade", symbol=[SYMBOL])
        assert left["success"]
        (back,) = await asked(connection, "subscribe", channel="trade", symbol=[SYMBOL], snapshot=True)
        assert back["result"]["snapshot"]


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"channel": "book", "depth": 20}, "Subscription depth not supported"),
        ({"channel": "book", "depth": "10"}, "Subscription depth must be an integer"),
        ({"channel": "ohlc", "interval": 3}, "Subscription ohlc interval not supported"),
        ({"channel": "ohlc", "interval": 5}, "Already subscribed to one ohlc interval on this symbol"),
        ({"channel": "nosuch"}, "Subscription name invalid"),
    ],
)
async def test_what_is_wrong_with_a_subscription_is_said(params: dict[str, Any], error: str) -> None:
    async with simulated(now=NOW) as running, connected(running, SOCKET) as connection:
        await asked(connection, "subscribe", channel="ohlc", symbol=[SYMBOL], interval=1)
        (answer,) = await asked(connection, "subscribe", symbol=[SYMBOL], **params)
    assert (answer["success"], answer["error"]) == (False, error)


async def test_a_heartbeat_comes_with_any_subscription() -> None:
    async with simulated(now=NOW, speed=1) as running, connected(running, SOCKET) as connection:
        await asked(connection, "subscribe", channel="trade", symbol=[SYMBOL])
        while await connection.receive_json(timeout=60) != {"channel": "heartbeat"}:
            pass


def crc(book: dict[str, dict[str, str]]) -> int:
    """Kraken's guide "Book checksum (WebSocket v2)": over the ten best asks, then the ten best bids."""
    text = ""
    for side, sign in (("asks", 1), ("bids", -1)):
        best = sorted(book[side].items(), key=lambda level: sign * float(level[0]))[:10]
        text += "".join(number.replace(".", "").lstrip("0") for level in best for number in level)
    return zlib.crc32(text.encode())


@pytest.mark.parametrize("depth", [10, 25])
async def test_a_book_of_texts_that_is_cut_to_its_depth_has_the_checksum_of_each_message(depth: int) -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, connected(running, SOCKET) as connection:
        await asked(connection, "subscribe", 0, channel="book", symbol=[SYMBOL], depth=depth)
        message = await said(connection, "book", "snapshot")
        book: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}
        removed = 0
        for _ in range(40):
            (row,) = message["data"]
            for side, sign in (("bids", -1), ("asks", 1)):
                for level in row[side]:
                    gone = float(level["qty"]) == 0
                    removed += gone
                    # Only what the client has is removed: what left the depth is not named.
                    assert not gone or level["price"] in book[side]
                    book[side].pop(level["price"], None)
                    book[side] |= {} if gone else {level["price"]: level["qty"]}
                kept = sorted(book[side], key=lambda price, sign=sign: sign * float(price))[:depth]  # type: ignore[misc]
                book[side] = {price: book[side][price] for price in kept}
                assert len(kept) == depth
            assert row["checksum"] == crc(book)
            message = await said(connection, "book", "update")
    assert removed > 0


# ---- unmodified ccxt


async def test_ccxt_loads_the_markets_with_their_steps() -> None:
    async with simulated(now=NOW) as running, client(running.url, "kraken") as venue:
        markets = await venue.load_markets()
        assert (markets[SYMBOL]["id"], markets["BTC/USDT"]["id"]) == ("XXBTZUSD", "XBTUSDT")
        assert (markets["ETH/USD"]["id"], markets["DOGE/USD"]["id"]) == ("XETHZUSD", "XDGUSD")
        assert markets[SYMBOL]["precision"] == {"price": 0.01, "amount": 1e-8}
        assert markets[SYMBOL]["active"]
        assert await venue.fetch_time() == NOW // 1000 * 1000


async def test_ccxt_watches_everything_and_fetches_the_same() -> None:
    async with (
        simulated(now=NOW, speed=1, live_rate=50) as running,
        client(running.url, "kraken", pro=True, newUpdates=True) as venue,
        asyncio.timeout(200),
    ):
        trades: list[Any] = []
        while len(trades) < 50:
            trades += await venue.watch_trades(SYMBOL)
        since = trades[0]["timestamp"] - 1000
        again = {each["id"]: each for each in await venue.fetch_trades(SYMBOL, since=since, limit=1000)}
        tickers = [await venue.watch_ticker(SYMBOL) for _ in range(3)]
        books = [await venue.watch_order_book(SYMBOL) for _ in range(5)]
        await venue.watch_ohlcv(SYMBOL, "1m")
        running.exchange.clock.set(NOW + MINUTE, 1)
        while len(candles := list(venue.ohlcvs[SYMBOL]["1m"])) < 2:
            await venue.watch_ohlcv(SYMBOL, "1m")
        truth = await get(running, "_sim/truth/trades", exchange="kraken", symbol=SYMBOL, since=trades[0]["timestamp"])
        assert (await venue.fetch_order_book(SYMBOL, 10))["bids"]
        assert (await venue.fetch_ticker(SYMBOL))["last"] > 0
    of_market = [(str(each["id"]), each["timestamp"], each["price"], each["side"]) for each in truth]
    ours = [(each["id"], each["timestamp"], each["price"], each["side"]) for each in trades]
    start = of_market.index(ours[0])
    assert ours == of_market[start : start + len(ours)]
    same = [each for each in trades if each["id"] in again]
    assert len(same) >= 20
    names = ("timestamp", "price", "amount", "side", "type")
    assert all(each[name] == again[each["id"]][name] for each in same for name in names)
    assert all(each["last"] > 0 for each in tickers)
    assert all(book["bids"][0][0] < book["asks"][0][0] for book in books)
    assert len(candles) > 1
