"""The simulator as Bybit v5, seen by unmodified ccxt: spot, linear and inverse contracts of one market."""

from __future__ import annotations

import asyncio
import re
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
from ccxt.base.errors import BadRequest, ExchangeError, RateLimitExceeded

from simulator.asking import connected, get, order
from support.simulated import client, simulated
from tickwire.simulator.server import Simulator

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
MINUTE = 60_000
SYMBOLS = ("BTC/USDT", "BTC/USDT:USDT", "BTC/USD:BTC")
CATEGORIES = ("spot", "linear", "inverse")
IDS = {"spot": "BTCUSDT", "linear": "BTCUSDT", "inverse": "BTCUSD"}


def socket(running: Simulator, category: str) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
    return connected(running, f"stream.bybit.com/v5/public/{category}")


async def market(running: Simulator, endpoint: str, **query: Any) -> Any:
    return await get(running, f"api.bybit.com/v5/market/{endpoint}", **query)


async def received(connection: aiohttp.ClientWebSocketResponse, topic: str, count: int = 1) -> list[Any]:
    """The next messages of a topic."""
    found: list[Any] = []
    while len(found) < count:
        message = await connection.receive_json(timeout=60)
        found += [message] if message.get("topic") == topic else []
    return found


async def test_ccxt_loads_the_markets_of_all_categories() -> None:
    async with simulated(now=NOW) as running, client(running.url, "bybit") as venue:
        markets = await venue.load_markets()
        spot, linear, inverse = (markets[symbol] for symbol in SYMBOLS)
        assert (spot["precision"]["price"], spot["precision"]["amount"]) == (0.01, 0.00001)
        assert (linear["linear"], linear["settle"], linear["contractSize"]) == (True, "USDT", 1)
        assert (inverse["inverse"], inverse["settle"], inverse["contractSize"]) == (True, "BTC", 1)
        assert await venue.fetch_time() == NOW


async def test_contracts_are_listed_in_pages() -> None:
    async with simulated(now=NOW, markets=30) as running:
        first = await market(running, "instruments-info", category="linear", limit=20)
        cursor = first["result"]["nextPageCursor"]
        second = await market(running, "instruments-info", category="linear", limit=20, cursor=cursor)
        async with client(running.url, "bybit") as venue:
            loaded = [each["id"] for each in (await venue.load_markets()).values() if each["linear"]]
    pages = [[row["symbol"] for row in page["result"]["list"]] for page in (first, second)]
    assert (len(pages[0]), second["result"]["nextPageCursor"]) == (20, "")
    assert sorted(pages[0] + pages[1]) == sorted(loaded)


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d", "1w"])
async def test_candles_are_those_of_the_market(timeframe: str) -> None:
    async with simulated(now=NOW) as running, client(running.url, "bybit") as venue:
        since = NOW - 30 * 86_400_000
        for symbol in SYMBOLS[:2]:
            ours = await venue.fetch_ohlcv(symbol, timeframe, since=since, limit=1_000)
            truth = await get(running, "_sim/truth/candles", symbol="BTC/USDT", timeframe=timeframe, since=since)
            assert len(truth) > 0
            assert ours[: len(truth)] == [pytest.approx(row) for row in truth[:1_000]]


async def test_volume_of_inverse_candles_is_in_dollars_and_turnover_in_base_currency() -> None:
    async with simulated(now=NOW) as running, client(running.url, "bybit") as venue:
        opened = NOW // MINUTE * MINUTE - MINUTE
        raw = await market(running, "kline", category="inverse", symbol="BTCUSD", interval="1", start=opened, limit=1)
        (row,) = raw["result"]["list"]
        trades = await venue.fetch_trades("BTC/USD:BTC", limit=1_000)
        within = [each for each in trades if opened <= each["timestamp"] < opened + MINUTE]
        assert (await venue.fetch_ohlcv("BTC/USD:BTC", "1m", since=opened, limit=1))[0][5] == float(row[6])
    assert len(within) > 1
    assert float(row[5]) == sum(each["amount"] for each in within)
    assert float(row[6]) == pytest.approx(sum(each["amount"] / each["price"] for each in within), abs=1e-6)


async def test_a_page_begins_with_the_candle_that_contains_the_start() -> None:
    async with simulated(now=NOW) as running:
        start = NOW - 10 * 3_600_000 + 1
        asked = {"category": "spot", "symbol": "BTCUSDT", "interval": "60", "start": start}
        page = (await market(running, "kline", **asked, limit=3))["result"]["list"]
        opened = start // 3_600_000 * 3_600_000
        until = await market(running, "kline", **asked, end=NOW, limit=3)
    assert [int(row[0]) for row in page] == [opened + 2 * 3_600_000, opened + 3_600_000, opened]
    assert int(until["result"]["list"][0][0]) == NOW // 3_600_000 * 3_600_000


@pytest.mark.parametrize(("category", "most"), [("spot", 60), ("linear", 1_000), ("inverse", 1_000)])
async def test_recent_trades_are_the_newest_alone_with_opaque_ids_of_contracts(category: str, most: int) -> None:
    async with simulated(now=NOW) as running:
        answer = await market(running, "recent-trade", category=category, symbol=IDS[category], limit=2_000)
        truth = await get(running, "_sim/truth/trades", symbol="BTC/USDT", since=NOW - 3 * 3_600_000)
    rows = answer["result"]["list"]
    assert len(rows) == most
    assert [(int(row["time"]), float(row["price"]), row["side"].lower()) for row in rows] == [
        (each["timestamp"], each["price"], each["side"]) for each in reversed(truth[-most:])
    ]
    assert len({row["execId"] for row in rows}) == most
    counts = [row["execId"] for row in rows] == sorted((row["execId"] for row in rows), reverse=True)
    assert counts is (category == "spot")


async def test_forgotten_trades_and_other_faults_hit_this_venue() -> None:
    async with simulated(now=NOW) as running:
        asked = {"category": "linear", "symbol": "BTCUSDT", "limit": 30}
        before = (await market(running, "recent-trade", **asked))["result"]["list"]
        truth = await get(running, "_sim/truth/trades", symbol="BTC/USDT", since=int(before[-1]["time"]))
        ids = [each["id"] for each in truth][-10:-5]
        await order(
            running, kind="rest_forgets", symbol="BTC/USDT", from_id=ids[0], to_id=ids[-1], match="recent-trade"
        )
        after = (await market(running, "recent-trade", **asked))["result"]["list"]
        assert after[:25] == before[:5] + before[10:]
        candles = {"category": "linear", "symbol": "BTCUSDT", "interval": "1", "start": NOW - 3 * MINUTE}
        for kind, rows in (("short", 1), ("empty", 0)):
            await order(running, kind=kind, match="kline", count=1)
            assert len((await market(running, "kline", **candles))["result"]["list"]) == rows
        await order(running, kind="listing", match="kline", since=NOW - MINUTE, count=2)
        listed = (await market(running, "kline", **candles))["result"]["list"]
        assert [int(row[0]) for row in listed] == [NOW // MINUTE * MINUTE, NOW // MINUTE * MINUTE - MINUTE]
        old = await market(running, "kline", **candles | {"start": NOW - 9_000 * MINUTE, "limit": 10})
        assert (old["retCode"], old["result"]["list"]) == (0, [])


async def test_refusals_have_its_codes() -> None:
    async with simulated(now=NOW, weight_limit=20) as running, client(running.url, "bybit") as venue:
        await venue.load_markets()
        for path in ("kline?interval=1&", "recent-trade?", "orderbook?"):
            answer = await get(running, f"api.bybit.com/v5/market/{path}category=spot&symbol=FOOUSDT")
            assert (answer["retCode"], answer["result"]) == (10001, {})
        with pytest.raises(BadRequest):
            await venue.public_get_v5_market_kline({"category": "spot", "symbol": "BTCUSDT", "interval": "7"})
        with pytest.raises(RateLimitExceeded):
            for _ in range(20):
                await venue.fetch_time()


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_ccxt_watches_everything(symbol: str) -> None:
    async with (
        simulated(now=NOW, speed=1, live_rate=50) as running,
        client(running.url, "bybit", pro=True, newUpdates=True) as venue,
        asyncio.timeout(200),
    ):
        trades: list[Any] = []
        while len(trades) < 50:
            trades += await venue.watch_trades(symbol)
        again = {each["id"]: each for each in await venue.fetch_trades(symbol, limit=1_000)}
        tickers = [await venue.watch_ticker(symbol) for _ in range(3)]
        books = [await venue.watch_order_book(symbol) for _ in range(5)]
        await venue.watch_ohlcv(symbol, "1m")
        running.exchange.clock.set(NOW + MINUTE, 1)
        while len(candles := list(venue.ohlcvs[symbol]["1m"])) < 2:
            await venue.watch_ohlcv(symbol, "1m")
        opened = candles[0][0]
        fetched = (await venue.fetch_ohlcv(symbol, "1m", since=opened, limit=1))[0]
        truth = await get(running, "_sim/truth/trades", symbol="BTC/USDT", since=trades[0]["timestamp"])
        assert (await venue.fetch_order_book(symbol))["bids"]
        assert (await venue.fetch_ticker(symbol))["last"] > 0
    assert [(each["timestamp"], each["price"], each["side"]) for each in trades] == [
        (each["timestamp"], each["price"], each["side"]) for each in truth[: len(trades)]
    ]
    same = [each for each in trades if each["id"] in again]
    assert len(same) == len(trades) if symbol != "BTC/USDT" else same
    assert all(each["amount"] == again[each["id"]]["amount"] for each in same)
    assert all(each["last"] > 0 for each in tickers)
    assert all(book["bids"][0][0] < book["asks"][0][0] for book in books)
    assert candles[0] == pytest.approx(fetched)


@pytest.mark.parametrize("category", CATEGORIES)
async def test_a_book_is_a_snapshot_and_deltas_that_count_up_to_the_book_of_the_market(category: str) -> None:
    topic = f"orderbook.50.{IDS[category]}"
    async with simulated(now=NOW, live_rate=20) as running, socket(running, category) as connection:
        await connection.send_json({"op": "subscribe", "args": [topic], "req_id": "a"})
        assert await connection.receive_json(timeout=60) == {
            "success": True, "ret_msg": "", "conn_id": "cejreaspqfm9se7usbrg-2xh", "req_id": "a", "op": "subscribe",
        }  # fmt: skip
        book: dict[str, dict[str, str]] = {"b": {}, "a": {}}
        updates = []
        for turn in range(20):
            (message,) = await received(connection, topic)
            assert message["type"] == ("delta" if turn else "snapshot")
            updates.append(message["data"]["u"])
            for side, known in book.items():
                known |= dict(message["data"][side])
                book[side] = {price: size for price, size in known.items() if size != "0"}
            running.exchange.clock.set(NOW + 100 * (turn + 1))
        running.exchange.clock.set(NOW + 1_900)
        rest = (await market(running, "orderbook", category=category, symbol=IDS[category], limit=50))["result"]
    assert updates == list(range(updates[0], updates[0] + 20))
    assert book == {"b": dict(rest["b"]), "a": dict(rest["a"])}


async def test_topics_that_do_not_exist_refuse_the_whole_request_and_pings_are_answered() -> None:
    async with simulated(now=NOW) as running, socket(running, "spot") as connection:
        many = [f"publicTrade.{name}USDT" for name in ("BTC", "ETH", "SOL")] * 4
        for sent in (
            {"op": "ping", "req_id": "7"},
            {"op": "subscribe", "args": ["publicTrade.BTCUSDT", "publicTrade.FOOUSDT"]},
            {"op": "subscribe", "args": many},
            {"op": "dance"},
        ):
            await connection.send_json(sent)
        answers = [await connection.receive_json(timeout=60) for _ in range(4)]
        assert running.journal.since(0)[-1].event == "connect"
    assert [(each["success"], each["ret_msg"], each.get("req_id")) for each in answers] == [
        (True, "pong", "7"),
        (False, "Invalid topic: publicTrade.FOOUSDT", None),
        (False, "args size >10", None),
        (False, "error:invalid op", None),
    ]


async def test_ccxt_is_told_of_a_subscription_that_is_refused() -> None:
    async with simulated(now=NOW, speed=1) as running, client(running.url, "bybit", pro=True) as venue:
        await venue.load_markets()
        running.exchange.list_("BTC/USDT", listed=False)
        with pytest.raises(ExchangeError, match=re.escape("Invalid topic: publicTrade.BTCUSDT")):
            await asyncio.wait_for(venue.watch_trades("BTC/USDT"), 60)


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_the_truth_of_a_market_is_in_its_own_units(symbol: str) -> None:
    async with simulated(now=NOW) as running, client(running.url, "bybit") as venue:
        of = {"exchange": "bybit", "symbol": symbol}
        described = (await venue.load_markets())[symbol]
        true = await get(running, "_sim/truth/market", **of)
        traded = await get(running, "_sim/truth/trades", **of, since=NOW - 10 * MINUTE)
        ours = await venue.fetch_trades(symbol, limit=20)
        unlisted = await get(running, "_sim/truth/market", exchange="bybit", symbol="NOSUCH/USD:NOSUCH")
    assert (true["tick"], true["lot"]) == (described["precision"]["price"], described["precision"]["amount"])
    assert (true["unit"], true["inverse"]) == (described["contractSize"] or 1, bool(described["inverse"]))
    assert len(ours) == 20
    # ccxt sorts trades of one millisecond by their ids.
    names = ("timestamp", "side", "price", "amount")
    assert sorted(tuple(each[name] for name in names) for each in ours) == sorted(
        tuple(each[name] for name in names) for each in traded[-20:]
    )
    assert "NOSUCH" in str(unlisted)
