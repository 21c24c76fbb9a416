"""Bursts of trades, as ccxt.pro and plain sockets meet them, and the truth about aggregate trades."""

from __future__ import annotations

from itertools import groupby

import pytest

from simulator.asking import get, post
from support.simulated import client, simulated

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
SPOT = "api.binance.com/api/v3"


async def test_ccxt_is_given_a_burst_of_twenty_thousand_trades_in_a_second() -> None:
    options = {name: {"name": "aggTrade"} for name in ("watchTrades", "watchTradesForSymbols")}
    async with (
        simulated(now=NOW, speed=1, live_rate=50) as running,
        client(running.url, pro=True, newUpdates=True, options=options | {"tradesLimit": 40_000}) as venue,
    ):
        seen = await venue.watch_trades("BTC/USDT")
        first = int(seen[0]["id"])
        order = await post(running, "burst", symbol="BTCUSDT", count=20_000, ms=1_000)
        assert order["last_aggregate"] - order["first_aggregate"] == 19_999
        while int(seen[-1]["id"]) < order["last_aggregate"]:
            seen += await venue.watch_trades("BTC/USDT")
        assert [int(trade["id"]) for trade in seen] == list(range(first, int(seen[-1]["id"]) + 1))
        told = [trade for trade in seen if order["first_aggregate"] <= int(trade["id"]) <= order["last_aggregate"]]
        truth = await get(
            running, "_sim/truth/aggregates", symbol="BTC/USDT", fromId=order["first_aggregate"], limit=20_000
        )
        assert [{name: trade[name] for name in ("timestamp", "side", "price", "amount")} for trade in told] == [
            {name: trade[name] for name in ("timestamp", "side", "price", "amount")} for trade in truth
        ]
        assert {trade["timestamp"] - order["since"] for trade in told} == set(range(1_000))


async def test_a_burst_is_in_every_answer_and_in_the_candles() -> None:
    async with simulated(now=NOW) as running:
        order = await post(running, "burst", symbol="BTC/USDT", count=3_000, ms=90_000)
        running.exchange.clock.set(NOW + 200_000)
        trades = await get(running, "_sim/truth/trades", symbol="BTC/USDT", since=NOW + 1)
        assert len([trade for trade in trades if trade["timestamp"] < order["until"]]) == 3_000
        assert len(trades) > 3_000
        for path, id_, name in (("historicalTrades", "id", "id"), ("aggTrades", "a", "aggregate")):
            page = await get(running, f"{SPOT}/{path}", symbol="BTCUSDT", fromId=order[f"first_{name}"], limit=1000)
            assert [row[id_] for row in page] == list(range(order[f"first_{name}"], order[f"first_{name}"] + 1000))
        minute = NOW // 60_000 * 60_000 + 60_000
        row = (await get(running, f"{SPOT}/klines", symbol="BTCUSDT", interval="1m", startTime=minute, limit=1))[0]
        inside = [trade for trade in trades if minute <= trade["timestamp"] < minute + 60_000]
        prices = [trade["price"] for trade in inside]
        assert [float(each) for each in row[1:5]] == [prices[0], max(prices), min(prices), prices[-1]]
        # 40.5 s of the 90 are in that minute, at 100 trades in three seconds.
        assert row[8] == len(inside) >= 1_350


async def test_the_truth_of_aggregates_is_the_trades_of_each_put_together() -> None:
    async with simulated(now=NOW) as running:
        trades = await get(running, "_sim/truth/trades", symbol="ETH/BTC", since=NOW - 3_600_000)
        first = trades[0]["agg"] + 1
        found = await get(running, "_sim/truth/aggregates", symbol="ETH/BTC", fromId=first)
        whole = [list(each) for agg, each in groupby(trades, lambda trade: trade["agg"]) if agg >= first]
        assert [(each["first_id"], each["last_id"]) for each in found] == [
            (inside[0]["id"], inside[-1]["id"]) for inside in whole
        ]
        for each, inside in zip(found, whole, strict=True):
            assert each["id"] == inside[0]["agg"]
            assert each["amount"] == pytest.approx(sum(trade["amount"] for trade in inside))
            assert (each["price"], each["side"]) == (inside[0]["price"], inside[0]["side"])
        assert await get(running, "_sim/truth/aggregates", symbol="ETH/BTC", fromId=first, limit=7) == found[:7]


async def test_a_burst_that_cannot_be_is_refused() -> None:
    async with simulated(now=NOW) as running:
        assert "1 to 1000000" in (await post(running, "burst", status=400, symbol="BTCUSDT", count=0))["error"]
        assert "no such symbol" in (await post(running, "burst", status=400, symbol="BTC", count=1))["error"]
