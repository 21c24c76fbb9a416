"""The simulator as Bitget v2, seen by unmodified ccxt: spot and linear contracts of one market."""

from __future__ import annotations

import asyncio
import re
from contextlib import AbstractAsyncContextManager
from typing import Any
from zlib import crc32

import aiohttp
import pytest
from ccxt.base.errors import BadRequest, DDoSProtection, ExchangeError

from simulator.asking import connected, get, order, trades_a_minute
from support.simulated import client, simulated
from tickwire.simulator.server import Simulator
from tickwire.venues.bitget import stream_params

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
SYMBOLS = {"spot": "BTC/USDT", "mix": "BTC/USDT:USDT"}
PRODUCTS = {"spot": {}, "mix": {"productType": "USDT-FUTURES"}}
TYPES = {"spot": "SPOT", "mix": "USDT-FUTURES"}


def socket(running: Simulator) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
    return connected(running, "ws.bitget.com/v2/ws/public")


async def market(running: Simulator, of: str, endpoint: str, **query: Any) -> Any:
    asked = {"symbol": "BTCUSDT", **PRODUCTS[of], **query}
    return await get(running, f"api.bitget.com/api/v2/{of}/market/{endpoint}", **asked)


def subscribe(of: str, channel: str, symbol: str = "BTCUSDT", op: str = "subscribe") -> dict[str, Any]:
    return {"op": op, "args": [{"instType": TYPES[of], "channel": channel, "instId": symbol}]}


async def truth(running: Simulator, of: str, what: str, **query: Any) -> Any:
    return await get(running, f"_sim/truth/{what}", exchange="bitget", symbol=SYMBOLS[of], **query)


async def test_ccxt_loads_spot_markets_and_futures() -> None:
    async with simulated(now=NOW) as running, client(running.url, "bitget") as venue:
        markets = await venue.load_markets()
        spot, linear = (markets[symbol] for symbol in SYMBOLS.values())
        assert (spot["precision"]["price"], spot["precision"]["amount"]) == (0.01, 0.00001)
        assert (linear["linear"], linear["settle"], linear["contractSize"]) == (True, "USDT", 1)
        assert (linear["precision"]["price"], linear["precision"]["amount"]) == (0.01, 0.00001)
        assert await venue.fetch_time() == NOW
        assert venue.currencies["BTC"]["active"]


@pytest.mark.parametrize("of", SYMBOLS)
@pytest.mark.parametrize("timeframe", ["1m", "1h", "6h", "1d", "1w", "1M"])
async def test_candles_are_those_of_the_market(of: str, timeframe: str) -> None:
    rate = trades_a_minute(timeframe)
    async with simulated(now=NOW, history_rate=rate) as running, client(running.url, "bitget") as venue:
        venue.milliseconds = lambda: NOW
        for since in (NOW // DAY * DAY - 2 * DAY, NOW // DAY * DAY - 100 * DAY):
            ours = await venue.fetch_ohlcv(SYMBOLS[of], timeframe, since=since, limit=40)
            found = await truth(running, of, "candles", timeframe=timeframe, since=since)
            closed = [row for row in ours if row[0] <= (found[-1][0] if found else 0)]
            assert len(closed) > 0 or timeframe in ("1w", "1M")
            assert closed == [pytest.approx(row) for row in found[: len(closed)]]


@pytest.mark.parametrize("of", SYMBOLS)
async def test_a_page_has_the_newest_candles_before_its_end_oldest_first(of: str) -> None:
    bar = "1h" if of == "spot" else "1H"
    end = NOW // HOUR * HOUR - 5 * HOUR
    async with simulated(now=NOW) as running:
        for endpoint in ("candles", "history-candles"):
            page = await market(running, of, endpoint, granularity=bar, endTime=end + 1, limit=3)
            assert [int(row[0]) for row in page["data"]] == [end - 3 * HOUR, end - 2 * HOUR, end - HOUR]
            assert {len(row) for row in page["data"]} == {8 if of == "spot" else 7}
        asked = {"granularity": bar, "startTime": end - 2 * HOUR, "endTime": end, "limit": 10}
        bounded = await market(running, of, "candles", **asked)
        old = await market(running, of, "candles", granularity=bar, endTime=NOW - 90 * DAY)
        kept = await market(running, of, "history-candles", granularity=bar, endTime=NOW - 90 * DAY)
        many = await market(running, of, "history-candles", granularity=bar, endTime=NOW, limit=201)
    assert [int(row[0]) for row in bounded["data"]] == [end - 2 * HOUR, end - HOUR]
    assert (old["data"], len(kept["data"])) == ([], 100)
    assert many["code"] == "40017"


@pytest.mark.parametrize("of", SYMBOLS)
async def test_bars_without_utc_open_by_hong_kong_s_time(of: str) -> None:
    day = "1day" if of == "spot" else "1D"
    async with simulated(now=NOW) as running:
        local = (await market(running, of, "candles", granularity=day, limit=2))["data"]
        by_utc = (await market(running, of, "candles", granularity="1Dutc", limit=2))["data"]
    assert [int(row[0]) % DAY for row in local] == [16 * HOUR] * 2
    assert [int(row[0]) % DAY for row in by_utc] == [0] * 2


async def test_spot_markets_have_no_bars_of_two_hours() -> None:
    async with simulated(now=NOW) as running, client(running.url, "bitget") as venue:
        await venue.load_markets()
        assert await venue.fetch_ohlcv(SYMBOLS["mix"], "2h", limit=2)
        with pytest.raises(BadRequest):
            await venue.fetch_ohlcv(SYMBOLS["spot"], "2h", limit=2)


@pytest.mark.parametrize("of", SYMBOLS)
async def test_past_trades_are_the_newest_of_a_range_in_whole_seconds(of: str) -> None:
    since = NOW - 3 * HOUR
    async with simulated(now=NOW) as running:
        page = (await market(running, of, "fills-history", startTime=since, limit=1_000))["data"]
        true = await truth(running, of, "trades", since=since)
        older = (await market(running, of, "fills-history", idLessThan=page[-1]["tradeId"], limit=10))["data"]
        range_ = (await market(running, of, "fills-history", startTime=NOW - 8 * DAY, endTime=NOW))["code"]
        recent = (await market(running, of, "fills"))["data"]
    assert len(true) > 1_000
    newest_first = true[:-1_001:-1]
    assert [(int(row["ts"]), float(row["price"]), row["side"].lower()) for row in page] == [
        (each["timestamp"] // 1_000 * 1_000, each["price"], each["side"]) for each in newest_first
    ]
    ids = [int(row["tradeId"]) for row in page + older]
    assert ids == sorted(set(ids), reverse=True)
    assert float(older[0]["size"]) == true[-1_001]["amount"]
    # The time of a trade (ms) is in its id, as in the recorded ones.
    assert [(id_ >> 22) + 1_435_725_920_677 for id_ in ids[:1_000]] == [each["timestamp"] for each in newest_first]
    assert range_ == "40017"
    assert recent == page[:100]


@pytest.mark.parametrize("of", SYMBOLS)
async def test_a_start_bounds_the_past_trades_of_spot_markets_alone(of: str) -> None:
    since = NOW - 60_000
    async with simulated(now=NOW) as running:
        page = (await market(running, of, "fills-history", startTime=since, limit=1_000))["data"]
        true = await truth(running, of, "trades", since=since)
    assert 0 < len(true) < 1_000
    assert len(page) == (len(true) if of == "spot" else 1_000)


async def test_forgotten_trades_and_other_faults_hit_this_venue() -> None:
    async with simulated(now=NOW) as running:
        before = (await market(running, "mix", "fills-history", limit=30))["data"]
        true = await truth(running, "mix", "trades", since=int(before[-1]["ts"]))
        ids = [each["id"] for each in true][-10:-5]
        await order(
            running, kind="rest_forgets", symbol="BTC/USDT", from_id=ids[0], to_id=ids[-1], match="fills-history"
        )
        after = (await market(running, "mix", "fills-history", limit=30))["data"]
        assert after[:25] == before[:5] + before[10:]
        for kind, rows in (("short", 1), ("empty", 0)):
            await order(running, kind=kind, match="candles", count=1)
            assert len((await market(running, "spot", "candles", granularity="1min"))["data"]) == rows


async def test_refusals_have_its_codes() -> None:
    async with simulated(now=NOW, weight_limit=20) as running, client(running.url, "bitget") as venue:
        await venue.load_markets()
        for endpoint in ("candles?granularity=1min", "fills-history?limit=1", "orderbook?limit=1"):
            answer = await get(running, f"api.bitget.com/api/v2/spot/market/{endpoint}&symbol=FOOUSDT")
            assert (answer["code"], answer["data"]) == ("40034", None)
        with pytest.raises(BadRequest):
            await venue.public_spot_get_v2_spot_market_candles({"symbol": "BTCUSDT", "granularity": "7m"})
        with pytest.raises(BadRequest):
            await venue.public_mix_get_v2_mix_market_contracts({"productType": "FUTURES"})
        with pytest.raises(DDoSProtection):
            for _ in range(20):
                await venue.fetch_time()


@pytest.mark.parametrize("of", SYMBOLS)
async def test_ccxt_watches_everything(of: str) -> None:
    symbol = SYMBOLS[of]
    async with (
        simulated(now=NOW, speed=1, live_rate=50) as running,
        client(running.url, "bitget", pro=True, newUpdates=True) as venue,
        asyncio.timeout(200),
    ):
        trades: list[Any] = []
        while len(trades) < 100:
            trades += await venue.watch_trades(symbol)
        again = {each["id"]: each for each in await venue.fetch_trades(symbol, limit=1_000)}
        tickers = [await venue.watch_ticker(symbol) for _ in range(3)]
        # ccxt compares the checksum of each change.
        books = [await venue.watch_order_book(symbol) for _ in range(5)]
        await venue.watch_ohlcv(symbol, "1m")
        running.exchange.clock.set(NOW + MINUTE, 1)
        while (candles := list(venue.ohlcvs[symbol]["1m"]))[-1][0] < NOW // MINUTE * MINUTE + MINUTE:
            await venue.watch_ohlcv(symbol, "1m")
        venue.milliseconds = running.exchange.clock.now
        opened = candles[-2][0]
        fetched = (await venue.fetch_ohlcv(symbol, "1m", since=opened, limit=1))[0]
        true = await truth(running, of, "trades", since=trades[0]["timestamp"])
        assert (await venue.fetch_order_book(symbol, 5))["bids"]
        assert (await venue.fetch_ticker(symbol))["last"] > 0
        assert (await venue.fetch_tickers([symbol]))[symbol]["last"] > 0
        assert await venue.un_watch_trades(symbol)
    live = [(each["timestamp"], each["price"], each["side"]) for each in trades]
    first = live.index((true[0]["timestamp"], true[0]["price"], true[0]["side"]))
    assert live[first:] == [(each["timestamp"], each["price"], each["side"]) for each in true[: len(live) - first]]
    same = [each for each in trades if each["id"] in again]
    assert len(same) == len(trades)
    assert all(each["amount"] == again[each["id"]]["amount"] for each in same)
    assert all(each["timestamp"] // 1_000 * 1_000 == again[each["id"]]["timestamp"] for each in same)
    assert all(each["last"] > 0 for each in tickers)
    assert all(book["bids"][0][0] < book["asks"][0][0] for book in books)
    assert opened == NOW // MINUTE * MINUTE
    assert candles[-2] == pytest.approx(fetched)


async def test_api_v2_is_watched_also_where_the_options_ask_for_v3() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, client(running.url, "bitget", pro=True) as venue:
        await venue.load_markets()
        venue.options["uta"] = True
        chosen = {method: stream_params(venue.options, method) for method in
                  ("watchTrades", "watchTicker", "watchOrderBook", "watchOHLCV")}  # fmt: skip
        async with asyncio.timeout(60):
            assert await venue.watch_trades("BTC/USDT", params=chosen["watchTrades"])
            assert await venue.watch_ticker("BTC/USDT", chosen["watchTicker"])
            assert (await venue.watch_order_book("BTC/USDT", params=chosen["watchOrderBook"]))["bids"]
            assert await venue.watch_ohlcv("BTC/USDT", "1m", params=chosen["watchOHLCV"])
        (socket,) = venue.clients.values()
    assert socket.url.endswith("/v2/ws/public")


@pytest.mark.parametrize("of", SYMBOLS)
async def test_a_book_is_a_snapshot_and_changes_with_the_checksum_of_the_texts(of: str) -> None:
    async with simulated(now=NOW, live_rate=20) as running, socket(running) as connection:
        await connection.send_json(subscribe(of, "books"))
        acknowledged = await connection.receive_json(timeout=60)
        sides: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}
        for turn in range(20):
            message = await connection.receive_json(timeout=60)
            (data,) = message["data"]
            assert message["action"] == ("update" if turn else "snapshot")
            for side, known in sides.items():
                known |= dict(data[side])
                best = sorted((level for level in known.items() if level[1] != "0"), key=lambda level: float(level[0]))
                sides[side] = dict(best if side == "asks" else best[::-1])
            assert {len(side) for side in sides.values()} == {400}
            text = [":".join(level) for pair in zip(*map(dict.items, sides.values()), strict=True) for level in pair]
            assert data["checksum"] & 0xFFFFFFFF == (crc32(":".join(text[:50]).encode()) if turn else 0)
            running.exchange.clock.set(NOW + 200 * (turn + 1))
        rest = await market(running, of, "orderbook" if of == "spot" else "merge-depth", limit=50)
    assert acknowledged == {"event": "subscribe", "arg": subscribe(of, "books")["args"][0]}
    # The last message was made before the clock's last step.
    assert rest["data"]["ts"] != data["ts"]
    assert len(rest["data"]["bids"]) == 50


async def test_both_kinds_share_a_socket_and_the_newest_trade_of_a_message_is_first() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, socket(running) as connection:
        for of in SYMBOLS:
            await connection.send_json(subscribe(of, "trade"))
        seen: dict[tuple[str, str], list[Any]] = {}
        while len(seen) < 4:
            message = await connection.receive_json(timeout=60)
            if "action" in message:
                seen.setdefault((message["arg"]["instType"], message["action"]), message["data"])
    for (_, action), rows in seen.items():
        ids = [int(row["tradeId"]) for row in rows]
        assert ids == sorted(ids, reverse=True)
        assert len(ids) == 50 if action == "snapshot" else ids


async def test_orders_that_cannot_be_carried_out_are_refused_and_pings_are_answered() -> None:
    async with simulated(now=NOW) as running, socket(running) as connection:
        await connection.send_str("ping")
        assert (await connection.receive(timeout=60)).data == "pong"
        for sent in (
            subscribe("spot", "trade", "FOOUSDT"),
            subscribe("spot", "candle2H"),
            subscribe("spot", "trade", op="dance"),
            {"op": "subscribe", "args": [{"instType": "SPOT"}]},
        ):
            await connection.send_json(sent)
        answers = [await connection.receive_json(timeout=60) for _ in range(4)]
        assert running.journal.since(0)[-1].event == "connect"
    assert {answer["event"] for answer in answers} == {"error"}
    assert [answer["code"] for answer in answers] == [30001, 30001, 30003, 30016]
    assert answers[0]["msg"] == "instType:SPOT,channel:trade,instId:FOOUSDT doesn't exist"


async def test_ccxt_is_told_of_a_subscription_that_is_refused() -> None:
    async with simulated(now=NOW, speed=1) as running, client(running.url, "bitget", pro=True) as venue:
        await venue.load_markets()
        running.exchange.list_("BTC/USDT", listed=False)
        with pytest.raises(ExchangeError, match=re.escape("instId:BTCUSDT doesn't exist")):
            await asyncio.wait_for(venue.watch_trades("BTC/USDT"), 60)


async def test_more_than_ten_messages_a_second_close_the_socket() -> None:
    async with simulated(now=NOW, limits=True) as running, socket(running) as connection:
        for _ in range(11):
            await connection.send_str("ping")
        kinds = [(await connection.receive(timeout=60)).type for _ in range(11)]
    assert kinds == [aiohttp.WSMsgType.TEXT] * 10 + [aiohttp.WSMsgType.CLOSE]
