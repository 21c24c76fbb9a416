"""Unmodified ccxt against the simulator's REST side, and the control API."""

from __future__ import annotations

import csv
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from ccxt.base.errors import BadRequest, BadSymbol

from simulator.asking import get, post
from support.simulated import client, simulated

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
MINUTE = 60_000


@pytest.mark.parametrize("exchange", ["binance", "binanceus"])
async def test_ccxt_pages_through_all_candles_and_they_are_the_market(exchange: str) -> None:
    since = NOW - 2_500 * MINUTE
    async with simulated(now=NOW) as running, client(running.url, exchange) as venue:
        candles: list[Any] = []
        while page := await venue.fetch_ohlcv(
            "BTC/USDT", "1m", since if not candles else candles[-1][0] + MINUTE, 1000
        ):
            candles += page
        truth = await get(running, "_sim/truth/candles", symbol="BTC/USDT", timeframe="1m", since=since)
        # The last candle is open: it is served, and it is not part of the closed truth.
        assert candles[:-1] == truth
        assert candles[-1][0] == NOW // MINUTE * MINUTE
        assert len(candles) == 2_500


@pytest.mark.parametrize("timeframe", ["1s", "1m", "5m", "1h", "4h", "1d", "1w", "1M"])
async def test_every_timeframe_agrees_with_the_trades_that_the_exchange_gives(timeframe: str) -> None:
    async with simulated(now=NOW, symbols=["ETH/BTC"], history_rate=1) as running, client(running.url) as venue:
        opened = (await venue.fetch_ohlcv("ETH/BTC", timeframe, None, 2))[0]
        following = (await venue.fetch_ohlcv("ETH/BTC", timeframe, opened[0] + 1, 1))[0][0]
        trades = await get(running, "_sim/truth/trades", symbol="ETH/BTC", since=opened[0], until=following)
        if trades:
            prices = [trade["price"] for trade in trades]
            assert opened[1:5] == [prices[0], max(prices), min(prices), prices[-1]]
        assert opened[5] == pytest.approx(sum(trade["amount"] for trade in trades), rel=1e-12)


async def test_trades_are_read_back_by_id_without_gap_and_by_time() -> None:
    async with simulated(now=NOW) as running, client(running.url) as venue:
        market = await venue.fetch_trades("BTC/USDT", limit=1000)
        first = int(market[0]["id"])
        assert [int(trade["id"]) for trade in market] == list(range(first, first + 1000))
        again = await venue.fetch_trades("BTC/USDT", limit=1000, params={"fromId": first})
        assert [trade["info"] for trade in again] == [trade["info"] for trade in market]
        # ccxt asks for an hour at most, which at twelve trades a minute is less than a page.
        since = next(each["timestamp"] for each in market if each["timestamp"] >= NOW - 3_600_000)
        by_time = await venue.fetch_trades("BTC/USDT", since, 1000)
        assert [trade["info"] for trade in by_time] == [
            trade["info"] for trade in market if since <= trade["timestamp"]
        ]
        truth = await get(running, "_sim/truth/trades", symbol="BTC/USDT", since=since)
        assert sum(trade["amount"] for trade in by_time) == pytest.approx(sum(trade["amount"] for trade in truth))
        plain = await venue.publicGetTrades({"symbol": "BTCUSDT", "limit": 3})
        assert [int(trade["id"]) for trade in plain] == [trade["id"] for trade in truth[-3:]]
        path, first_id = "api.binance.com/api/v3/historicalTrades", plain[0]["id"]
        assert await get(running, path, symbol="BTCUSDT", fromId=first_id, limit=3) == plain


async def test_tickers_and_book_agree_with_the_last_trade_and_the_day() -> None:
    async with simulated(now=NOW) as running, client(running.url) as venue:
        ticker = await venue.fetch_ticker("BTC/USDT")
        day = await get(running, "_sim/truth/trades", symbol="BTC/USDT", since=NOW - 86_400_000 + 1)
        prices = [trade["price"] for trade in day]
        assert [ticker[name] for name in ("open", "high", "low", "last")] == [
            prices[0], max(prices), min(prices), prices[-1]
        ]  # fmt: skip
        assert ticker["info"]["count"] == len(day)
        book = await venue.fetch_order_book("BTC/USDT", 10)
        assert len(book["bids"]) == len(book["asks"]) == 10
        assert [ticker["bid"], ticker["ask"]] == [book["bids"][0][0], book["asks"][0][0]]
        # The book is of the frame's beginning, the last trade may be younger by up to 100 ms.
        before = [trade for trade in day if trade["timestamp"] < NOW // 100 * 100][-1]
        assert book["bids" if before["side"] == "sell" else "asks"][0][0] == before["price"]
        assert (await venue.fetch_tickers())["ETH/BTC"]["last"] > 0
        assert (await venue.fetch_bids_asks())["BTC/USDT"]["bid"] == ticker["bid"]
        assert await venue.fetch_time() == NOW


async def test_wrong_requests_get_the_answers_of_binance() -> None:
    async with simulated(now=NOW) as running, client(running.url) as venue:
        for query, code in (
            ({"symbol": "NONE", "interval": "1m"}, -1121),
            ({"symbol": "BTCUSDT", "interval": "7m"}, -1120),
            ({"symbol": "BTCUSDT"}, -1102),
            ({"interval": "1m"}, -1102),
            ({"symbol": "BTCUSDT", "interval": "1m", "startTime": "soon"}, -1100),
            ({"symbol": "BTCUSDT", "interval": "1m", "limit": "0"}, -1130),
        ):
            assert (await get(running, "api.binance.com/api/v3/klines", **query))["code"] == code
        with pytest.raises(BadSymbol):
            await venue.publicGetKlines({"symbol": "NONE", "interval": "1m"})
        with pytest.raises(BadRequest):
            await venue.publicGetAggTrades({"symbol": "BTCUSDT", "startTime": 0, "endTime": 3_600_001})


async def test_the_log_has_every_request_in_order_with_its_status() -> None:
    async with simulated(now=NOW) as running, client(running.url) as venue:
        await venue.fetch_ohlcv("BTC/USDT", "1m", NOW - MINUTE, 1)
        log = await get(running, "_sim/log")
        assert [(entry["host"], entry["path"].rpartition("/")[2], entry["status"]) for entry in log] == [
            ("api.binance.com", "exchangeInfo", 200),
            ("fapi.binance.com", "exchangeInfo", 200),
            ("dapi.binance.com", "exchangeInfo", 200),
            ("api.binance.com", "klines", 200),
        ]
        assert [entry["index"] for entry in log] == [0, 1, 2, 3]
        assert log == sorted(log, key=lambda entry: entry["time_ms"])
        assert [entry["index"] for entry in await get(running, "_sim/log", since_index=3)] == [3]


async def test_request_weight_is_counted_and_above_the_limit_refused() -> None:
    async with simulated(now=NOW, weight_limit=60) as running, aiohttp.ClientSession() as http:
        seen = []
        # More than one limit's worth, as a new minute may begin meanwhile.
        for _ in range(130):
            async with http.get(f"{running.url}/api.binance.com/api/v3/time") as response:
                seen.append((response.status, int(response.headers["X-MBX-USED-WEIGHT-1M"])))
                if response.status == 429:
                    assert 0 < int(response.headers["Retry-After"]) <= 60
        assert all((status == 429) == (used > 60) for status, used in seen)
        assert (429, 61) in seen


@pytest.mark.parametrize(
    "path", ["api.crypto.com/exchange/v1/public/get-instruments", "api.kraken.com/0/public/Time", "api.crypto.com/none"]
)
async def test_every_answer_has_the_date_of_the_exchange_s_clock(path: str) -> None:
    async with simulated(now=NOW) as running, aiohttp.ClientSession() as http:
        for fault in ({}, {"match": "", "kind": "status", "code": 503, "count": 1}):
            if fault:
                await http.post(f"{running.url}/_sim/faults", json=fault)
            async with http.get(f"{running.url}/{path}") as response:
                assert parsedate_to_datetime(response.headers["Date"]).timestamp() == NOW // 1000


@pytest.mark.parametrize("value", ["--5", "²", "5.0", "-", "9" * 30])
async def test_a_parameter_that_is_no_whole_number_is_refused(value: str) -> None:
    """By the control and by venues, never with the status of a fault of the server."""
    async with simulated(now=NOW) as running, aiohttp.ClientSession() as http:
        for path in (
            "_sim/log?since_index",
            "_sim/truth/trades?symbol=BTC/USDT&since",
            "api.bitget.com/api/v2/spot/market/fills-history?symbol=BTCUSDT&limit",
            "api.bybit.com/v5/market/recent-trade?category=spot&symbol=BTCUSDT&limit",
            "api.kraken.com/0/public/OHLC?pair=XBTUSDT&interval",
            "www.okx.com/api/v5/market/history-trades?instId=BTC-USDT&limit",
        ):
            async with http.get(f"{running.url}/{path}={value}") as response:
                text = await response.text()
                assert response.status in ((400,) if path.startswith("_sim") else (200, 400)), (path, text)
                assert text


async def test_a_clock_that_is_moved_opens_and_closes_candles() -> None:
    async with simulated(now=NOW) as running, client(running.url) as venue:
        before = await venue.fetch_ohlcv("BTC/USDT", "1m", None, 2)
        assert (await post(running, "clock", advance=MINUTE))["now"] == NOW + MINUTE
        after = await venue.fetch_ohlcv("BTC/USDT", "1m", None, 3)
        assert after[0] == before[0]
        assert after[1][:2] == before[1][:2]
        assert after[2][0] == before[1][0] + MINUTE
        assert (await post(running, "clock", now=NOW)) == {"now": NOW, "speed": 0.0}
        assert await venue.fetch_ohlcv("BTC/USDT", "1m", None, 2) == before


async def test_a_played_file_is_the_market_of_its_symbol(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("timestamp,open,high,low,close,volume\n600000,1,3,1,2,5\n720000,2.5,2.5,2,2,0.3\n")
    play = [{"symbol": "AAA/BBB", "timeframe": "1m", "path": str(tmp_path / "a.csv")}]
    async with simulated(play=play) as running, client(running.url) as venue:
        assert await venue.fetch_time() == 780_000
        rows = [[600_000, 1.0, 3.0, 1.0, 2.0, 5.0], [720_000, 2.5, 2.5, 2.0, 2.0, 0.3]]
        assert await venue.fetch_ohlcv("AAA/BBB", "1m", 0, 1000) == rows
        assert await venue.fetch_ohlcv("AAA/BBB", "5m", 0, 1000) == [[600_000, 1.0, 3.0, 1.0, 2.0, 5.3]]
        assert await get(running, "_sim/truth/candles", symbol="AAA/BBB", timeframe="1m") == rows
        with pytest.raises(BadRequest):
            await venue.fetch_ohlcv("AAA/BBB", "1s", 0, 1000)


async def test_candles_of_recorded_trades_are_those_that_were_recorded(recorded: Path) -> None:
    play = [{"symbol": "XRP/ETH", "path": str(recorded / "trades" / "binance_XRP-ETH_2019-10.csv")}]
    with (recorded / "ohlcv" / "binance_XRP-ETH_1m_2019-10.csv").open(newline="") as file:
        candles = [[int(row[0]), *map(float, row[1:])] for row in list(csv.reader(file))[1:]]
    async with simulated(play_trades=play) as running, client(running.url) as venue:
        made: list[Any] = []
        while page := await venue.fetch_ohlcv("XRP/ETH", "1m", made[-1][0] + MINUTE if made else 0, 1000):
            made += page
        traded = [row for row in made if row[5]]
        until = traded[-1][0]
        assert [row for row in traded if row[0] < until] == [row for row in candles if row[0] < until]
        trades = await venue.fetch_trades("XRP/ETH", 1570752000000, 1000)
        assert trades[0]["id"] == "13519807"
        assert trades[0]["price"] == 0.00141342
