"""The simulator as OKX, seen by unmodified ccxt: the same market as Binance's, in OKX's words."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import pytest
from ccxt.base.errors import BadSymbol, InvalidNonce, RateLimitExceeded

from simulator.asking import connected, get, order, trades_a_minute
from support.simulated import client, simulated

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
PUBLIC = "ws.okx.com:8443/ws/v5/public"
HOUR_MS = 3_600_000


def said(kind: str, channel: str, instrument: str = "BTC-USDT") -> dict[str, Any]:
    return {"op": kind, "args": [{"channel": channel, "instId": instrument}]}


@pytest.mark.parametrize("timeframe", ["1m", "1h", "6h", "1d", "1w"])
async def test_candles_are_those_of_the_other_exchange(timeframe: str) -> None:
    rate = trades_a_minute(timeframe)
    async with (
        simulated(now=NOW, history_rate=rate) as running,
        client(running.url, "okx") as okx,
        client(running.url) as binance,
    ):
        since = NOW - 200 * HOUR_MS
        ours = await okx.fetch_ohlcv("BTC/USDT", timeframe, since=since, limit=100)
        assert len(ours) > 0
        assert ours == await binance.fetch_ohlcv("BTC/USDT", timeframe, since=since, limit=len(ours))


async def test_older_candles_are_in_the_history_alone() -> None:
    async with simulated(now=NOW) as running:
        query = {"instId": "BTC-USDT", "bar": "1m", "after": NOW - 30 * HOUR_MS, "limit": 500}
        recent = await get(running, "www.okx.com/api/v5/market/candles", **query)
        history = await get(running, "www.okx.com/api/v5/market/history-candles", **query)
    assert (recent["data"], len(history["data"])) == ([], 300)
    assert [row[8] for row in history["data"]] == ["1"] * 300


async def test_trades_are_those_of_the_other_exchange_newest_first_and_no_more_than_500() -> None:
    async with simulated(now=NOW) as running, client(running.url, "okx") as okx, client(running.url) as binance:
        ours = await okx.fetch_trades("BTC/USDT", limit=1_000)
        theirs = await binance.fetch_trades("BTC/USDT", limit=500, params={"fetchTradesMethod": "publicGetTrades"})
        raw = (await get(running, "www.okx.com/api/v5/market/trades", instId="BTC-USDT"))["data"]
        older = {"instId": "BTC-USDT", "after": raw[0]["tradeId"], "limit": 7}
        history = (await get(running, "www.okx.com/api/v5/market/history-trades", **older))["data"]
    keys = ("id", "timestamp", "side", "price", "amount")
    assert [[each[key] for key in keys] for each in ours] == [[each[key] for key in keys] for each in theirs]
    assert [row["tradeId"] for row in raw] == [each["id"] for each in reversed(ours)][:100]
    assert history == raw[1:8]


async def test_forgotten_trades_are_in_no_page_and_older_ones_are_in_their_place() -> None:
    async with simulated(now=NOW) as running:
        whole = await get(running, "www.okx.com/api/v5/market/trades", instId="BTC-USDT", limit=30)
        ids = [int(row["tradeId"]) for row in whole["data"]]
        await order(running, kind="rest_forgets", symbol="BTC/USDT", from_id=ids[9], to_id=ids[5])
        after = await get(running, "www.okx.com/api/v5/market/trades", instId="BTC-USDT", limit=25)
    assert [int(row["tradeId"]) for row in after["data"]] == ids[:5] + ids[10:]


async def test_the_channel_tells_one_trade_for_what_one_order_did_at_one_price() -> None:
    async with simulated(now=NOW, live_rate=20) as running, connected(running, PUBLIC) as connection:
        await connection.send_json(said("subscribe", "trades"))
        confirmed = await connection.receive_json(timeout=60)
        assert (confirmed["event"], confirmed["arg"]) == ("subscribe", {"channel": "trades", "instId": "BTC-USDT"})
        running.exchange.clock.set(NOW + 2_000)
        first = (await get(running, "_sim/truth/trades", symbol="BTCUSDT", since=NOW + 1))[0]["agg"]
        real = await get(running, "_sim/truth/aggregates", symbol="BTCUSDT", fromId=first)
        rows = [(await connection.receive_json(timeout=60))["data"] for _ in real]
    assert [(row["tradeId"], row["count"], float(row["px"]), float(row["sz"]), row["side"], row["ts"])
            for (row,) in rows] == [
        (str(each["last_id"]), str(each["last_id"] - each["first_id"] + 1), each["price"], each["amount"],
         each["side"], str(each["timestamp"])) for each in real
    ]  # fmt: skip
    assert any(row["count"] != "1" for (row,) in rows)


def by_hand(book: dict[str, dict[str, str]]) -> int:
    """OKX's checksum, as its documentation describes it."""
    bids = sorted(book["bids"].items(), key=lambda level: -float(level[0]))[:25]
    asks = sorted(book["asks"].items(), key=lambda level: float(level[0]))[:25]
    words = [word for bid, ask in zip(bids, asks, strict=True) for word in (*bid, *ask)]
    value = zlib.crc32(":".join(words).encode())
    return value if value < 2**31 else value - 2**32


async def test_a_book_is_a_snapshot_and_changes_that_name_the_one_before_with_a_checksum() -> None:
    async with simulated(now=NOW, live_rate=20) as running, connected(running, PUBLIC) as connection:
        await connection.send_json(said("subscribe", "books"))
        assert (await connection.receive_json(timeout=60))["event"] == "subscribe"
        book: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}
        before = -1
        for turn in range(20):
            message = await connection.receive_json(timeout=60)
            (data,) = message["data"]
            assert message["action"] == ("update" if turn else "snapshot")
            assert data["prevSeqId"] == before
            before = data["seqId"]
            for side, known in book.items():
                known |= {price: size for price, size, *_ in data[side]}
                book[side] = {price: size for price, size in known.items() if size != "0"}
            assert data["checksum"] == by_hand(book)
            assert {len(levels) for levels in book.values()} == {400}
            running.exchange.clock.set(NOW + 100 * (turn + 1))


async def test_pings_are_words_and_what_is_not_there_is_an_error() -> None:
    async with simulated(now=NOW) as running, connected(running, PUBLIC) as connection:
        for text in ("ping", "what", '{"op":"subscribe"}'):
            await connection.send_str(text)
        await connection.send_json(said("subscribe", "trades", "FOO-USDT"))
        await connection.send_json(said("subscribe", "candle1m"))
        assert (await connection.receive_str(timeout=60)) == "pong"
        codes = [(await connection.receive_json(timeout=60))["code"] for _ in range(4)]
    assert codes == ["60012", "60012", "60018", "60018"]


async def test_ccxt_watches_everything_and_the_close_of_a_candle() -> None:
    async with simulated(now=NOW, speed=1, live_rate=50) as running, client(running.url, "okx", pro=True) as okx:
        async with asyncio.timeout(100):
            trades = await okx.watch_trades("BTC/USDT")
            ticker = await okx.watch_ticker("BTC/USDT")
            book = await okx.watch_order_book("BTC/USDT")
            await okx.watch_ohlcv("BTC/USDT", "1m")
            running.exchange.clock.set(NOW + 60_000, 1)
            while len(candles := list(okx.ohlcvs["BTC/USDT"]["1m"])) < 2:
                await okx.watch_ohlcv("BTC/USDT", "1m")
            await okx.un_watch_trades("BTC/USDT")
        truth = await get(running, "_sim/truth/candles", symbol="BTC/USDT", since=candles[0][0])
        assert trades[0]["id"] in {str(each["id"]) for each in await get(
            running, "_sim/truth/trades", symbol="BTC/USDT", since=NOW)}  # fmt: skip
        assert ticker["bid"] < ticker["ask"]
        assert book["bids"][0][0] < book["asks"][0][0]
        assert candles[0] == pytest.approx(truth[0])
        assert running.journal.since(0)[-1].streams == ["trades:BTC-USDT"]


async def test_a_message_that_is_left_out_is_a_hole_for_ccxt() -> None:
    async with simulated(now=NOW, speed=1) as running, client(running.url, "okx", pro=True) as okx:
        async with asyncio.timeout(100):
            await okx.watch_order_book("BTC/USDT")
            await order(running, kind="ws_skip", match="books:BTC-USDT", count=1)
            with pytest.raises(InvalidNonce):
                while True:
                    await okx.watch_order_book("BTC/USDT")
            assert (await okx.watch_order_book("BTC/USDT"))["bids"]


async def test_refusals_have_its_codes() -> None:
    async with simulated(now=NOW, weight_limit=10) as running, client(running.url, "okx") as okx:
        await okx.load_markets()
        with pytest.raises(BadSymbol):
            await okx.public_get_market_trades({"instId": "FOO-USDT"})
        with pytest.raises(RateLimitExceeded):
            for _ in range(10):
                await okx.fetch_time()
