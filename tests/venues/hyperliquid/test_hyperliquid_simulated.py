"""The simulator as Hyperliquid: seen by unmodified ccxt, its limits and its errors."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from ccxt.base.errors import ArgumentsRequired, ExchangeError, RateLimitExceeded

from simulator.asking import get, order
from support.simulated import client, simulated
from tickwire.venues.registry import profile_of
from venues.hyperliquid.simulated_messages import (
    BTC,
    DAY,
    MINUTE,
    NOW,
    SYMBOLS,
    candles,
    info,
    received,
    socket,
    subscribe,
)

pytestmark = pytest.mark.actors


async def test_ccxt_loads_perpetual_contracts_and_spot_markets() -> None:
    async with simulated(now=NOW, **BTC) as running, client(running.url, "hyperliquid") as venue:
        markets = await venue.load_markets()
        swap, spot = (markets[symbol] for symbol in SYMBOLS)
        assert await venue.fetch_time() == NOW
    assert (swap["linear"], swap["settle"], swap["contractSize"], swap["baseName"]) == (True, "USDC", 1, "BTC")
    assert (spot["id"], spot["baseName"]) == ("@0", "UBTC")
    # 60,000 has five figures already.
    assert {each["precision"]["price"] for each in (swap, spot)} == {1.0}
    assert {each["precision"]["amount"] for each in (swap, spot)} == {0.001}


@pytest.mark.parametrize(
    ("price", "tick", "lot", "decimals"),
    [(60_000, "0.01", "0.001", 0), (3_000, "0.01", "0.01", 1), (20, "0.0001", "0.1", 3), (0.5, "0.000001", "1", 5),
     (20, "0.0001", "0.00001", 1), (150_000, "0.1", "0.001", 0), (20, "0.5", "0.1", 1)],
)  # fmt: skip
async def test_prices_have_five_figures_and_no_more_decimals_than_sizes_leave(
    price: float, tick: str, lot: str, decimals: int
) -> None:
    symbol = {"symbol": "ABC/USDT", "price": price, "tick": tick, "lot": lot, "amount": 1}
    async with simulated(now=NOW, symbols=[symbol]) as running:
        _, trades = await info(running, "recentTrades", coin="ABC")
        (_, book), truth = await info(running, "l2Book", coin="ABC"), "_sim/truth/trades"
        plain = await get(running, truth, symbol="ABC/USDT", since=trades[-1]["time"])
        ours = await get(running, truth, symbol="ABC/USDC:USDC", exchange="hyperliquid", since=trades[-1]["time"])
    prices = [each["px"] for each in (*trades, *book["levels"][0], *book["levels"][1])]
    assert max(len(each.partition(".")[2].rstrip("0")) for each in prices) <= decimals
    step = Decimal(1).scaleb(-decimals)
    down = [Decimal(str(each["price"])) // step * step for each in plain]
    assert [Decimal(str(each["price"])) for each in ours] == down
    assert [Decimal(each["px"]) for each in reversed(trades)] == down[-len(trades) :]


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d"])
@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_candles_are_those_of_the_trades(symbol: str, timeframe: str) -> None:
    async with simulated(now=NOW, **BTC) as running, client(running.url, "hyperliquid") as venue:
        since = NOW - 3 * DAY
        found = await venue.fetch_ohlcv(symbol, timeframe, since=since)
        query = {"exchange": "hyperliquid", "symbol": symbol}
        truth = await get(running, "_sim/truth/candles", timeframe=timeframe, since=since, **query)
        trades = await get(running, "_sim/truth/trades", since=found[-2][0], until=found[-1][0], **query)
    assert len(truth) > 1
    assert found[: len(truth)] == [pytest.approx(row) for row in truth]
    prices = [each["price"] for each in trades]
    assert found[-2][1:5] == [prices[0], max(prices), min(prices), prices[-1]]
    assert found[-2][5] == pytest.approx(sum(each["amount"] for each in trades))


async def test_weeks_open_on_thursday_by_rest_and_live() -> None:
    """The times that rainbow-me/rainbow, pull request 6920, names: Thu, 30 Oct 2025 00:00:00 GMT, not Mon, 27 Oct."""
    received_week = 1_761_782_400_000
    assert profile_of("hyperliquid").candles.opens_at["1w"] % (7 * DAY) == received_week % (7 * DAY)
    async with simulated(now=NOW, speed=1, **BTC) as running, socket(running) as connection:
        rows = await candles(running, "1w", NOW - 30 * DAY, NOW)
        await subscribe(connection, type="candle", coin="BTC", interval="1w")
        (live,) = await received(connection, "candle")
    assert len(rows) > 3
    assert {(row["t"] - received_week) % (7 * DAY) for row in (*rows, live["data"])} == {0}
    assert (live["data"]["t"], live["data"]["T"]) == (rows[-1]["t"], rows[-1]["T"])


async def test_only_the_newest_5000_candles_are_available_within_the_times_asked_for() -> None:
    async with simulated(now=NOW, history_rate=1, **BTC) as running:
        everything = await candles(running, "1m", 0, NOW)
        opened = NOW // MINUTE * MINUTE
        some = await candles(running, "1m", opened - 10 * MINUTE, opened - 5 * MINUTE)
        older = await candles(running, "1m", 0, opened - 5_000 * MINUTE)
        status, days = await info(running, "candleSnapshot", req={"coin": "BTC", "interval": "1d", "startTime": 0})
    assert (len(everything), everything[-1]["t"]) == (5_000, opened)
    assert [row["t"] for row in some] == [opened - minutes * MINUTE for minutes in range(10, 4, -1)]
    assert (older, status) == ([], 200)
    assert days[-1]["t"] == NOW // DAY * DAY


async def test_faults_hit_the_requests_by_their_type() -> None:
    async with simulated(now=NOW, **BTC) as running:
        before = (await info(running, "recentTrades", coin="BTC"))[1]
        truth = await get(running, "_sim/truth/trades", symbol="BTC/USDT", since=before[-1]["time"])
        ids = [each["id"] for each in truth][-5:-2]
        forgets = {"symbol": "BTC/USDC:USDC", "from_id": ids[0], "to_id": ids[-1], "match": "recentTrades"}
        await order(running, kind="rest_forgets", **forgets)
        after = (await info(running, "recentTrades", coin="BTC"))[1]
        assert after[:7] == before[:2] + before[5:]
        await order(running, kind="short", match="candleSnapshot", rows=1, count=1)
        assert len(await candles(running, "1m", NOW - 9 * MINUTE, NOW)) == 1
        await order(running, kind="listing", match="candleSnapshot", since=NOW - MINUTE, count=1)
        assert len(await candles(running, "1m", NOW - 9 * MINUTE, NOW)) == 2


async def test_refusals_are_those_of_the_venue() -> None:
    async with simulated(now=NOW, weight_limit=200, **BTC) as running, client(running.url, "hyperliquid") as venue:
        assert await info(running, "l2Book", coin="NOSUCH") == (200, None)
        asked = {"coin": "NOSUCH", "interval": "1m", "startTime": 0, "endTime": NOW}
        assert await info(running, "candleSnapshot", req=asked) == (500, None)
        bodies: list[dict[str, Any]] = [{"req": asked | {"coin": "BTC", "interval": "7m"}}, {"req": {}}, {}]
        for body in bodies:
            status, text = await info(running, "candleSnapshot", **body)
            assert (status, text[:21]) == (422, "Failed to deserialize")
        assert (await info(running, "nosuch"))[0] == 422
        await venue.load_markets()
        with pytest.raises(ExchangeError):
            await venue.fetch_ohlcv("BTC/USDC:USDC", "7m")
        with pytest.raises(ArgumentsRequired):
            await venue.fetch_trades("BTC/USDC:USDC")
        with pytest.raises(RateLimitExceeded):
            for _ in range(20):
                await venue.fetch_ohlcv("BTC/USDC:USDC", "1h", limit=10)


# ---- socket


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_ccxt_watches_everything(symbol: str) -> None:
    async with (
        simulated(now=NOW, speed=1, live_rate=50, **BTC) as running,
        client(running.url, "hyperliquid", pro=True, newUpdates=True) as venue,
        asyncio.timeout(200),
    ):
        trades: list[Any] = []
        while len(trades) < 50:
            trades += await venue.watch_trades(symbol)
        tickers = [await venue.watch_ticker(symbol) for _ in range(3)]
        books = [dict(await venue.watch_order_book(symbol)) for _ in range(5)]
        await venue.watch_ohlcv(symbol, "1m")
        running.exchange.clock.set(NOW + MINUTE, 1)
        while len(made := list(venue.ohlcvs[symbol]["1m"])) < 2:
            await venue.watch_ohlcv(symbol, "1m")
        fetched = (await venue.fetch_ohlcv(symbol, "1m", since=made[0][0], limit=1))[0]
        query = {"exchange": "hyperliquid", "symbol": symbol}
        truth = await get(running, "_sim/truth/trades", since=min(each["timestamp"] for each in trades), **query)
        for method in (venue.un_watch_trades, venue.un_watch_order_book, venue.un_watch_ticker):
            await method(symbol)
    # ccxt leaves the past trades, the first ten, in the order in which they come.
    first = trades[9]["timestamp"]
    found, true = (
        [(each["timestamp"], each["price"], each["side"], each["amount"]) for each in rows if each["timestamp"] > first]
        for rows in (trades[:10][::-1] + trades[10:], truth)
    )
    assert len(found) > 40
    assert found == true[: len(found)]
    assert len({each["id"] for each in trades}) == len(trades)
    assert all(each["close"] > 0 for each in tickers)
    assert all(len(book["bids"]) == len(book["asks"]) == 20 for book in books)
    assert all(later["timestamp"] - book["timestamp"] >= 500 for book, later in pairwise(books))
    assert made[0] == pytest.approx(fetched)


async def test_a_subscription_begins_with_past_trades_newest_first() -> None:
    async with simulated(now=NOW, **BTC) as running, socket(running) as connection:
        _, recent = await info(running, "recentTrades", coin="BTC")
        await subscribe(connection, type="trades", coin="BTC")
        (message,) = await received(connection, "trades")
        assert message["data"] == recent
        assert [row["time"] for row in recent] == sorted((row["time"] for row in recent), reverse=True)
        running.exchange.clock.set(NOW + MINUTE)
        (message,) = await received(connection, "trades")
    assert [row["time"] for row in message["data"]] == sorted(row["time"] for row in message["data"])
    assert message["data"][0]["time"] > NOW
    assert all(0 <= row["tid"] < 2**50 for row in (*recent, *message["data"]))


async def test_each_message_of_a_book_is_the_whole_book_half_a_second_later() -> None:
    async with simulated(now=NOW, live_rate=20, **BTC) as running, socket(running) as connection:
        await subscribe(connection, type="l2Book", coin="BTC")
        times = []
        for turn in range(6):
            (message,) = await received(connection, "l2Book")
            assert message["data"] == (await info(running, "l2Book", coin="BTC"))[1]
            times.append(message["data"]["time"])
            running.exchange.clock.set(NOW // 500 * 500 + 500 * (turn + 1))
    assert times == [NOW // 500 * 500 + 500 * turn for turn in range(6)]


async def test_orders_are_acknowledged_repeated_or_refused() -> None:
    trades, book = {"type": "trades", "coin": "BTC"}, {"type": "l2Book", "coin": "BTC"}
    async with simulated(now=NOW, **BTC) as running, socket(running) as connection:

        async def said(method: str, subscription: Any) -> Any:
            await connection.send_json({"method": method, "subscription": subscription})
            while (message := await connection.receive_json(timeout=60))["channel"] in ("trades", "l2Book"):
                pass
            return message

        for method in ("subscribe", "unsubscribe"):
            answer = await said(method, trades)
            assert answer == {"channel": "subscriptionResponse", "data": {"method": method, "subscription": trades}}
            again = await said(method, trades)
            text = f'Already {method}d: {{"type":"trades","coin":"BTC"}}'
            assert again == {"channel": "error", "data": text}
        # Fields that were left out are named.
        answer = await said("subscribe", book)
        assert answer["data"]["subscription"] == book | {"nSigFigs": None, "mantissa": None}
        for subscription, words in (
            ({"type": "trades", "coin": "NOSUCH"}, "Invalid subscription"),
            ({"type": "candle", "coin": "BTC", "interval": "7m"}, "Invalid subscription"),
            ({"type": "nosuch", "coin": "BTC"}, "Error parsing JSON into valid websocket request"),
            ({"type": "trades"}, "Error parsing JSON into valid websocket request"),
        ):
            answer = await said("subscribe", subscription)
            assert answer["channel"] == "error"
            assert answer["data"].startswith(words)
        await connection.send_json({"method": "ping"})
        assert await received(connection, "pong") == [{"channel": "pong"}]


async def test_a_socket_has_at_most_as_many_subscriptions_as_documented() -> None:
    async with simulated(now=NOW, rules={"hyperliquid": {"subscriptions": 1}}) as running, socket(running) as venue:
        await subscribe(venue, type="trades", coin="BTC")
        await received(venue, "subscriptionResponse")
        await subscribe(venue, type="trades", coin="ETH")
        assert len(await received(venue, "error")) == 1


# ---- recorded messages
