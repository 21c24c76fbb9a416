"""The simulator as KuCoin: unmodified ccxt against it, its quirks, and its messages beside recorded ones."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from ccxt.base.errors import BadRequest, RateLimitExceeded

from simulator.asking import form, get, trades_a_minute
from support.simulated import client, simulated
from tickwire.simulator.server import Simulator

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
MINUTE, WEEK = 60_000, 7 * 86_400_000
# Examples of KuCoin's documentation of 2024, "Public Channels" of spot markets, where there is no recorded message.
DOCUMENTED = {
    "/spotMarket/level1:BTC-USDT": """{"topic": "/spotMarket/level1:BTC-USDT", "type": "message", "subject": "level1",
     "data": {"asks": ["68145.8", "0.51987471"], "bids": ["68145.7", "1.29267802"], "timestamp": 1729816058766}}""",
    "/market/candles:BTC-USDT_1min": """{"topic": "/market/candles:BTC-USDT_1min", "type": "message",
     "subject": "trade.candles.update", "data": {"symbol": "BTC-USDT", "candles": ["1729839600", "67644.9", "67437.6",
     "67724.8", "67243.8", "44.88321441", "3027558.991928447"], "time": 1729842192785164840}}""",
}


async def rest(running: Simulator, path: str, **query: Any) -> Any:
    """The answer of the API v1."""
    return await get(running, f"api.kucoin.com/api/v1/{path}", **query)


async def opened(http: aiohttp.ClientSession, running: Simulator) -> aiohttp.ClientWebSocketResponse:
    """A socket with a new token, after its welcome."""
    async with http.post(f"{running.url}/api.kucoin.com/api/v1/bullet-public") as response:
        data = (await response.json())["data"]
    (server,) = data["instanceServers"]
    connection = await http.ws_connect(f"{server['endpoint']}?token={data['token']}&connectId=mine")
    assert await connection.receive_json() == {"id": "mine", "type": "welcome"}
    return connection


async def asked(connection: aiohttp.ClientWebSocketResponse, kind: str, topic: str, **more: Any) -> Any:
    """The answer to an order."""
    await connection.send_json({"id": "7", "type": kind, "topic": topic, "response": True, **more})
    while (answer := await connection.receive_json(timeout=60))["type"] == "message":
        pass
    return answer


async def first(topic: str) -> Any:
    """The first message of a topic."""
    async with simulated(now=NOW, speed=1, live_rate=50) as running, aiohttp.ClientSession() as http:
        connection = await opened(http, running)
        assert await asked(connection, "subscribe", topic) == {"id": "7", "type": "ack"}
        return await connection.receive_json(timeout=60)


async def test_ccxt_loads_its_markets_and_reads_every_public_endpoint() -> None:
    async with simulated(now=NOW) as running, client(running.url, "kucoin") as venue:
        found = (await venue.load_markets())["BTC/USDT"]
        assert (found["id"], found["precision"]) == ("BTC-USDT", {"price": 0.01, "amount": 0.00001})
        assert (found["maker"], found["active"]) == (0.001, True)
        assert await venue.fetch_time() == NOW
        book = await venue.fetch_order_book("BTC/USDT", 20)
        assert (len(book["bids"]), len(book["asks"]), book["nonce"]) == (20, 20, NOW // 100 * 16)
        ticker = await venue.fetch_ticker("BTC/USDT")
        assert 0 < ticker["bid"] < ticker["ask"]
        with pytest.raises(BadRequest):
            await venue.public_get_market_candles({"symbol": "NO-SUCH", "type": "1min"})
        with pytest.raises(BadRequest):
            await venue.public_get_market_candles({"symbol": "BTC-USDT", "type": "7min"})


async def test_requests_above_the_limit_are_refused() -> None:
    async with simulated(now=NOW, weight_limit=3) as running, client(running.url, "kucoin") as venue:
        with pytest.raises(RateLimitExceeded):
            for _ in range(4):
                await venue.fetch_time()


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d", "1M"])
async def test_candles_are_those_of_the_market(timeframe: str) -> None:
    rate = trades_a_minute(timeframe)
    async with simulated(now=NOW, history_rate=rate) as running, client(running.url, "kucoin") as venue:
        since = NOW - 100 * 86_400_000
        ours = await venue.fetch_ohlcv("BTC/USDT", timeframe, since=since)
        of = {"symbol": "BTC/USDT", "timeframe": timeframe, "since": since}
        truth = [row for row in await get(running, "_sim/truth/candles", **of) if row[5]]
    assert len(ours) > 2
    closed = [row for row in ours if row[0] <= truth[-1][0]]
    assert closed == [pytest.approx(row) for row in truth[: len(closed)]]


async def test_weeks_open_on_thursday() -> None:
    async with simulated(now=NOW, history_rate=1) as running, client(running.url, "kucoin") as venue:
        weeks = await venue.fetch_ohlcv("BTC/USDT", "1w", since=NOW - 10 * WEEK)
        (hours,) = [await venue.fetch_ohlcv("BTC/USDT", "1h", since=weeks[-2][0], limit=168)]
    assert len(weeks) > 5
    assert [row[0] % WEEK for row in weeks] == [0] * len(weeks)
    opened, high, low, close = hours[0][1], max(row[2] for row in hours), min(row[3] for row in hours), hours[-1][4]
    assert weeks[-2][1:5] == [opened, high, low, close]


async def test_a_page_is_newest_first_ends_before_its_end_and_has_no_quiet_minute() -> None:
    async with simulated(now=NOW) as running:
        end = NOW // 1000 // 60 * 60
        page = {"symbol": "ETH-USDT", "type": "1min", "endAt": end}
        rows = (await rest(running, "market/candles", **page, startAt=end - 600))["data"]
        many = (await rest(running, "market/candles", **page, startAt=end - 200_000))["data"]
        of = {"symbol": "ETH/USDT", "timeframe": "1m", "since": (end - 600) * 1000}
        truth = await get(running, "_sim/truth/candles", **of)
    opens = [int(row[0]) for row in rows]
    traded = {row[0] // 1000 for row in truth if row[5]}
    assert opens == sorted((each for each in traded if each < end), reverse=True)
    assert max(opens) < end
    # Of more than a page, the newest.
    assert int(many[0][0]) == opens[0]
    assert len(many) <= 1500
    assert int(many[-1][0]) > end - 200_000


async def test_past_trades_are_the_newest_hundred_without_ids_oldest_first() -> None:
    async with simulated(now=NOW) as running:
        rows = (await rest(running, "market/histories", symbol="BTC-USDT"))["data"]
        truth = await get(running, "_sim/truth/trades", symbol="BTC/USDT", since=NOW - 3 * 3_600_000)
    assert len(rows) == 100
    assert {"sequence", "price", "size", "side", "time"} == rows[0].keys()
    assert [(row["time"], float(row["price"]), row["side"]) for row in rows] == [
        (each["timestamp"] * 1_000_000, each["price"], each["side"]) for each in truth[-100:]
    ]


async def test_a_request_may_name_many_markets_and_is_acknowledged_or_refused_as_a_whole() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, aiohttp.ClientSession() as http:
        connection = await opened(http, running)
        assert await asked(connection, "ping", "") == {"id": "7", "type": "pong"}
        assert (await asked(connection, "subscribe", "/market/match:BTC-USDT,NO-SUCH"))["code"] == 404
        assert (await asked(connection, "subscribe", ""))["code"] == 406
        assert (await asked(connection, "what", "/market/match:BTC-USDT"))["code"] == 415
        many = ",".join(["BTC-USDT"] * 101)
        refused = await asked(connection, "subscribe", f"/market/match:{many}")
        assert refused["data"] == "exceed max subscription count limitation of 100 per time"
        assert (await asked(connection, "subscribe", "/market/match:BTC-USDT,ETH-USDT"))["type"] == "ack"
        seen: set[str] = set()
        async with asyncio.timeout(60):
            while len(seen) < 2:
                seen.add((await connection.receive_json())["topic"])
        assert seen == {"/market/match:BTC-USDT", "/market/match:ETH-USDT"}
        assert (await asked(connection, "unsubscribe", "/market/match:BTC-USDT,ETH-USDT"))["type"] == "ack"


async def test_changes_of_a_book_follow_each_other_and_lead_from_snapshot_to_snapshot() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, aiohttp.ClientSession() as http:
        connection = await opened(http, running)
        await asked(connection, "subscribe", "/market/level2:BTC-USDT")
        updates = [(await connection.receive_json(timeout=60))["data"]]
        before = (await rest(running, "market/orderbook/level2_100", symbol="BTC-USDT"))["data"]
        while len(updates) < 15:
            updates.append((await connection.receive_json(timeout=60))["data"])
        after = (await rest(running, "market/orderbook/level2_100", symbol="BTC-USDT"))["data"]
        while updates[-1]["sequenceEnd"] < int(after["sequence"]):
            updates.append((await connection.receive_json(timeout=60))["data"])
    for one, next_ in pairwise(updates):
        assert next_["sequenceStart"] == one["sequenceEnd"] + 1
    for side in ("bids", "asks"):
        book = dict(before[side])
        for update in updates:
            if int(before["sequence"]) < update["sequenceEnd"] <= int(after["sequence"]):
                book |= {price: size for price, size, _ in update["changes"][side] if price != "0"}
        best = sorted((each for each in book.items() if each[1] != "0"), key=lambda each: float(each[0]))
        best = best[:10] if side == "asks" else best[::-1][:10]
        assert [list(each) for each in best] == after[side][:10]


async def test_a_token_that_expired_is_refused_by_a_message_and_its_socket_closed() -> None:
    async with simulated(now=NOW, rules={"kucoin": {"token_s": 0.0}}) as running, aiohttp.ClientSession() as http:
        async with http.post(f"{running.url}/api.kucoin.com/api/v1/bullet-public") as response:
            data = (await response.json())["data"]
        url = f"{data['instanceServers'][0]['endpoint']}?token={data['token']}"
        async with http.ws_connect(url) as connection:
            refused = await connection.receive_json()
            assert (refused["type"], refused["code"]) == ("error", 401)
            assert (await connection.receive()).type is aiohttp.WSMsgType.CLOSE


@pytest.mark.golden
@pytest.mark.parametrize(
    "topic",
    ["/market/match:BTC-USDT", "/market/level2:BTC-USDT", "/market/ticker:BTC-USDT", *DOCUMENTED],
)
async def test_its_messages_have_the_recorded_form(recorded: Path, topic: str) -> None:
    lines = (recorded / "venues" / "kucoin" / "ws_samples.jsonl").read_text().splitlines()
    messages = [json.loads(line)["message"] for line in lines]
    channel = topic.partition(":")[0]
    found = [each for each in messages if each.get("topic", "").partition(":")[0] == channel]
    # Ids of trades are numbers since 2022; books have a time since 2023.
    newer = [each for each in found if each["data"].get("tradeId", "0").isdigit()]
    theirs = newer[-1] if found else json.loads(DOCUMENTED[topic])
    ours = await first(topic)
    assert {**form(ours), "data": {}} == {**form(theirs), "data": {}}
    assert {name: type(value) for name, value in ours["data"].items()} == {
        name: type(value) for name, value in theirs["data"].items()
    }
    if channel != "/market/level2":
        assert sorted(form(ours["data"]).items()) == sorted(form(theirs["data"]).items())
    if channel == "/market/level2":
        levels = [
            level for each in (ours, theirs) for side in ("asks", "bids") for level in each["data"]["changes"][side]
        ]
        assert {tuple(map(type, level)) for level in levels} == {(str, str, str)}


@pytest.mark.golden
async def test_a_snapshot_has_the_documented_fields_as_numbers() -> None:
    # "Symbol Snapshot", the fields that ccxt reads.
    data = (await first("/market/snapshot:BTC-USDT"))["data"]["data"]
    numbers = ("buy", "sell", "lastTradedPrice", "high", "low", "open", "vol", "volValue", "changePrice", "changeRate",
               "averagePrice", "askSize", "bidSize", "datetime")  # fmt: skip
    assert all(isinstance(data[name], int | float) for name in numbers)
    assert (data["symbol"], data["baseCurrency"], data["quoteCurrency"]) == ("BTC-USDT", "BTC", "USDT")
