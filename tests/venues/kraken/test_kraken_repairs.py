"""Repairs of Kraken's trades: ccxt asks for them from a whole second on, and an answer has a thousand."""

from __future__ import annotations

import pytest

from simulator.asking import get, order, post
from support.simulated import simulated
from support.web import exchange_at
from tickwire.bus.connection import Bus
from tickwire.settings import Settings, StreamerSettings
from tickwire.streamer.subscriptions.live_venue import open_live_venue
from trades.trade_feed import following

pytestmark = pytest.mark.actors

NOW = 1_750_000_030_500
PATIENT = StreamerSettings(repair_s=30.0, settle_ms=0)


@pytest.mark.parametrize(("exchange", "symbol"), [("kraken", "BTC/USD"), ("binance", "BTC/USDT")])
async def test_more_trades_of_a_second_than_an_answer_has_are_all_fetched(bus: Bus, exchange: str, symbol: str) -> None:
    async with simulated(now=NOW, speed=1, live_rate=40) as running:
        settings = Settings(exchange={exchange: exchange_at(running.url)})
        async with open_live_venue(exchange, settings) as venue, following(bus, venue, symbol, PATIENT) as (_, seen):
            await seen.until(lambda: len(seen.trades) > 20)
            await order(running, kind="ws_cut", seconds=2.5)
            burst = await post(running, "burst", symbol="BTC/USDT", count=2_500, ms=500)
            await seen.until(lambda: bool(seen.trades) and seen.trades[-1].timestamp > burst["until"] + 2_000, 100)
        market = {"exchange": exchange, "symbol": symbol, "since": seen.trades[0].timestamp}
        true = await get(running, "_sim/truth/trades", **market)
    name = "agg" if exchange == "binance" else "id"
    ids = [int(each.id or -1) for each in seen.trades]
    assert seen.gaps == []
    assert [each for each in ids if each >= 0] == sorted({row[name] for row in true if ids[0] <= row[name] <= ids[-1]})
