"""The simulator as Coinbase Advanced Trade, seen by unmodified ccxt and by tickwire: the market, and its quirks."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
from ccxt.base.errors import BadRequest, ExchangeError, RateLimitExceeded

from simulator.asking import connected, get, order
from support.simulated import client, simulated
from support.venues import Memory, venue_at
from tickwire.model.feeds import Feed
from tickwire.simulator.server import Simulator
from tickwire.venues.dialect import BookSnapshot

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
MINUTE = 60_000
HOUR = 60 * MINUTE
SOCKET = "advanced-trade-ws.coinbase.com"
MARKET = "api.coinbase.com/api/v3/brokerage/market"


def socket(running: Simulator) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
    return connected(running, SOCKET)


async def asked(running: Simulator, path: str, **query: Any) -> Any:
    return await get(running, f"{MARKET}/{path}", **query)


def said(kind: str, channel: str, *products: str) -> dict[str, Any]:
    return {"type": kind, "channel": channel, "product_ids": list(products)}


async def test_ccxt_loads_products_in_dollars_and_those_that_have_their_books() -> None:
    async with simulated(now=NOW) as running, client(running.url, "coinbase") as venue:
        markets = await venue.load_markets()
        found = markets["BTC/USD"]
        assert (found["id"], found["spot"], found["active"]) == ("BTC-USD", True, True)
        assert (found["precision"]["price"], found["precision"]["amount"]) == (0.01, 0.00001)
        assert markets["BTC/USDC"]["info"]["alias"] == "BTC-USD"
        assert found["info"]["alias_to"] == ["BTC-USDC"]
        assert await venue.fetch_time() == NOW // 1000 * 1000
        ticker = await venue.fetch_ticker("BTC/USD")
        book = await venue.fetch_order_book("BTC/USD", 2_000)
        assert (ticker["bid"], ticker["ask"]) == (book["bids"][0][0], book["asks"][0][0])
        assert len(book["bids"]) == 500


@pytest.mark.parametrize("timeframe", ["1m", "5m", "15m", "30m", "1h", "2h", "6h", "1d"])
async def test_candles_are_those_of_the_market(timeframe: str) -> None:
    async with simulated(now=NOW) as running, client(running.url, "coinbase") as venue:
        width = venue.parse_timeframe(timeframe) * 1000
        since = (NOW // width - 20) * width
        ours = await venue.fetch_ohlcv("BTC/USD", timeframe, since=since, limit=300)
        truth = await get(running, "_sim/truth/candles", exchange="coinbase", symbol="BTC/USD", timeframe=timeframe,
                          since=since)  # fmt: skip
    assert len(truth) == 20
    assert ours[:20] == truth
    assert len(ours) == 21, "the open candle, too"


async def test_candles_are_the_newest_first_between_both_ends_and_none_of_quiet_minutes() -> None:
    quiet = (NOW - 60 * MINUTE, NOW - 20 * MINUTE)
    symbols = [{"symbol": "BTC/USDT", "price": 60_000, "tick": "0.01", "lot": "0.001", "amount": 0.05,
                "history_rate": 3, "quiet": list(quiet)}]  # fmt: skip
    async with simulated(now=NOW, symbols=symbols, listed=NOW - 10 * 86_400_000) as running:
        start, end = (NOW // MINUTE - 90) * 60, (NOW // MINUTE - 5) * 60
        page = await asked(running, "products/BTC-USD/candles", granularity="ONE_MINUTE", start=start, end=end)
        opens = [int(row["start"]) for row in page["candles"]]
        before = (NOW - 30 * 86_400_000) // 1000
        unlisted = await asked(
            running, "products/BTC-USD/candles", granularity="ONE_MINUTE", start=before, end=before + 6000
        )
    assert opens == sorted(opens, reverse=True)
    assert (opens[-1], opens[0]) == (start, end)
    inner = [each for each in opens if quiet[0] < each * 1000 < quiet[1] - MINUTE]
    assert len(inner) <= 1
    assert unlisted == {"candles": []}


async def test_a_range_of_more_than_350_candles_is_refused_and_none_is_cut() -> None:
    async with simulated(now=NOW) as running, client(running.url, "coinbase") as venue:
        end = NOW // MINUTE * 60
        request = {"product_id": "BTC-USD", "granularity": "ONE_MINUTE", "end": end}
        page = await venue.v3_public_get_brokerage_market_products_product_id_candles(
            request | {"start": end - 349 * 60}
        )
        assert len(page["candles"]) == 350
        with pytest.raises(BadRequest, match="less than 350"):
            await venue.v3_public_get_brokerage_market_products_product_id_candles(request | {"start": end - 350 * 60})
        with pytest.raises(BadRequest, match="granularity"):
            await venue.v3_public_get_brokerage_market_products_product_id_candles(
                request | {"start": end - 60, "granularity": "THREE_MINUTE"}
            )


async def test_trades_are_the_newest_100_of_a_range_with_the_maker_s_side() -> None:
    async with simulated(now=NOW, live_rate=20, live_from=NOW - HOUR) as running:
        end = NOW // 1000 - 60
        page = await asked(running, "products/BTC-USD/ticker", limit=1000, start=end - 600, end=end)
        truth = await get(running, "_sim/truth/trades", symbol="BTC/USDT", since=(end - 600) * 1000, until=end * 1000)
        alias = await asked(running, "products/BTC-USDC/ticker", limit=3)
        too_many = await asked(running, "products/BTC-USD/ticker", limit=1001)
    assert len(truth) > 1_000
    assert [(row["trade_id"], float(row["price"]), float(row["size"])) for row in page["trades"]] == [
        (str(each["id"]), each["price"], each["amount"]) for each in reversed(truth[-100:])
    ]
    makers = {"buy": "SELL", "sell": "BUY"}
    assert [row["side"] for row in page["trades"]] == [makers[each["side"]] for each in reversed(truth[-100:])]
    assert {row["product_id"] for row in alias["trades"]} == {"BTC-USDC"}
    assert too_many["error"] == "INTERNAL"


async def test_forgotten_trades_and_other_faults_hit_this_venue() -> None:
    async with simulated(now=NOW) as running:
        before = (await asked(running, "products/BTC-USD/ticker", limit=30))["trades"]
        ids = [int(row["trade_id"]) for row in before]
        await order(running, kind="rest_forgets", symbol="BTC/USDT", from_id=ids[9], to_id=ids[5], match="ticker")
        after = (await asked(running, "products/BTC-USD/ticker", limit=25))["trades"]
        assert [int(row["trade_id"]) for row in after] == ids[:5] + ids[10:]
        query = {"granularity": "ONE_MINUTE", "start": NOW // 1000 - 180, "end": NOW // 1000}
        for kind, rows in (("short", 1), ("empty", 0)):
            await order(running, kind=kind, match="candles", count=1)
            assert len((await asked(running, "products/BTC-USD/candles", **query))["candles"]) == rows


async def test_refusals_have_its_codes() -> None:
    async with simulated(now=NOW, weight_limit=20) as running, client(running.url, "coinbase") as venue:
        refused = await asked(running, "products/NOPE-USD")
        assert (refused["error"], refused["message"]) == ("NOT_FOUND", "Product NOPE-USD not supported")
        with pytest.raises(ExchangeError, match="NOT_FOUND"):
            await venue.v3_public_get_brokerage_market_products_product_id({"product_id": "NOPE-USD"})
        with pytest.raises(RateLimitExceeded):
            for _ in range(20):
                await venue.fetch_time()


async def test_frames_of_a_socket_are_numbered_and_a_dropped_one_leaves_its_number_out() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, socket(running) as connection:
        await connection.send_json(said("subscribe", "heartbeats"))
        await connection.send_json(said("subscribe", "level2", "BTC-USD"))
        numbers = [(await connection.receive_json(timeout=60))["sequence_num"] for _ in range(20)]
        assert numbers == list(range(20))
        await order(running, kind="ws_skip", match="level2:BTC-USD", count=1)
        numbers += [(await connection.receive_json(timeout=60))["sequence_num"] for _ in range(20)]
    assert len(set(range(numbers[-1])) - set(numbers)) == 1


async def test_trades_of_a_quarter_second_are_one_frame_and_the_last_hundred_first() -> None:
    async with simulated(now=NOW, speed=1, live_rate=200, live_from=NOW - HOUR) as running, socket(running) as its:
        await its.send_json(said("subscribe", "market_trades", "BTC-USD"))
        snapshot, _, first, second = [await its.receive_json(timeout=60) for _ in range(4)]
    (event,) = snapshot["events"]
    ids = [int(row["trade_id"]) for row in event["trades"]]
    assert (event["type"], len(ids)) == ("snapshot", 100)
    for frame in (first, second):
        (event,) = frame["events"]
        assert event["type"] == "update"
        assert len(event["trades"]) > 1
        ids = [int(row["trade_id"]) for row in event["trades"]] + ids
    assert ids == list(range(ids[0], ids[0] - len(ids), -1)), "the newest first, without a gap"


async def test_each_answer_lists_what_the_socket_is_subscribed_to() -> None:
    async with simulated(now=NOW) as running, socket(running) as connection:
        answers = []
        for request in (
            said("subscribe", "ticker_batch", "BTC-USD"),
            said("subscribe", "ticker_batch", "ETH-USD"),
            said("unsubscribe", "ticker_batch", "BTC-USD"),
            said("unsubscribe", "ticker_batch", "ETH-USD"),
        ):
            await connection.send_json(request)
            while (answer := await connection.receive_json(timeout=60))["channel"] != "subscriptions":
                assert answer["channel"] == "ticker_batch"
                assert "best_bid" not in answer["events"][0]["tickers"][0]
            answers.append(answer["events"][0]["subscriptions"])
        assert answers == [{"ticker_batch": ["BTC-USD"]}, {"ticker_batch": ["BTC-USD", "ETH-USD"]},
                           {"ticker_batch": ["ETH-USD"]}, {}]  # fmt: skip
        for wrong in (said("subscribe", "level2", "NOPE-USD"), said("subscribe", "level5", "BTC-USD"), {"type": "x"}):
            await connection.send_json(wrong)
            assert (await connection.receive_json(timeout=60))["type"] == "error"


async def test_frames_of_products_in_usdc_name_those_in_dollars_and_both_feeds_have_them() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, venue_at(running.url, "coinbase") as venue:
        memories = {symbol: Memory() for symbol in ("BTC/USD", "BTC/USDC")}
        first, second = (Feed("trade", "coinbase", symbol) for symbol in memories)
        async with venue.watching(first, memories["BTC/USD"]), venue.watching(second, memories["BTC/USDC"]):
            last = 0
            for memory in memories.values():
                await memory.get(150)
                last = max(last, int(memory.items[-1].id))
            for memory in memories.values():
                await memory.until(lambda memory=memory: int(memory.items[-1].id) >= last)  # type: ignore[misc]
    for memory in memories.values():
        ids = sorted({int(each.id) for each in memory.items})
        assert ids == list(range(ids[0], ids[-1] + 1))
        assert {each.side for each in memory.items} == {"buy", "sell"}


@pytest.mark.parametrize("kind", ["trade", "book"])
async def test_a_missing_frame_opens_the_socket_anew(kind: Any) -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, venue_at(running.url, "coinbase") as venue:
        memory = Memory()
        async with venue.watching(Feed(kind, "coinbase", "BTC/USD"), memory):
            await memory.get(10)
            await order(running, kind="ws_skip", match="BTC-USD", count=1)
            async with asyncio.timeout(60):
                await memory.until(lambda: memory.told.count("connected") == 2)
    assert memory.told == ["connected", "disconnected", "connected"]
    assert "follows frame" in memory.reasons[1]


async def test_each_socket_is_kept_open_by_heartbeats_though_a_market_is_quiet() -> None:
    quiet = {"symbol": "BTC/USDT", "price": 60_000, "tick": "0.01", "lot": "0.001", "amount": 0.05,
             "quiet": [NOW - HOUR, NOW + 10 * HOUR]}  # fmt: skip
    async with (
        simulated(now=NOW, speed=1, symbols=[quiet], listed=NOW - 10 * 86_400_000) as running,
        venue_at(running.url, "coinbase") as venue,
    ):
        memory, opened = Memory(), 0
        async with venue.watching(Feed("trade", "coinbase", "BTC/USD"), memory):
            for times in (1, 2):
                await memory.until(lambda times=times: memory.told.count("connected") == times)  # type: ignore[misc]
                (client,) = venue.rest.clients.values()
                before = client.last_message_at or 0
                async with asyncio.timeout(60):
                    # Frames come though nothing is traded.
                    while (client.last_message_at or 0) - before < 1_500:
                        await asyncio.sleep(0.05)
                opened += 1
                if times == 1:
                    await order(running, kind="ws_cut", seconds=0.5)
            log = await get(running, "_sim/log")
    assert opened == 2
    heartbeats = [each for each in log if each["event"] == "subscribe" and each.get("streams") == ["heartbeats:"]]
    assert len(heartbeats) == 2


async def test_a_book_that_is_watched_again_on_the_same_socket_has_a_snapshot() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, venue_at(running.url, "coinbase") as venue:
        trades, book = (Feed(kind, "coinbase", "BTC/USD") for kind in ("trade", "book"))
        others = Memory()
        async with venue.watching(trades, others):
            for _ in range(2):
                memory = Memory()
                async with venue.watching(book, memory):
                    # Changes of the subscription before may come first.
                    await memory.until(
                        lambda memory=memory: any(isinstance(each, BookSnapshot) for each in memory.items),  # type: ignore[misc]
                        20,
                    )
                    assert memory.told == ["connected"]
            assert others.told == ["connected"]
