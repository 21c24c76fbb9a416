"""Repairs of Bitget's trades: REST gives whole seconds, the newest thousand of a range, and older ones before an id."""

from __future__ import annotations

from typing import Any

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


def id_of(row: Any) -> int:
    """The `tradeId` of a trade of the market, as recorded ones are made: 2**22 for each ms, and a remainder."""
    return int(((row["timestamp"] - 1_435_725_920_677) << 22) + row["id"] % (1 << 22))


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT"])
async def test_more_trades_of_a_second_than_a_page_has_are_each_on_the_tape_once(bus: Bus, symbol: str) -> None:
    async with simulated(now=NOW, speed=1, live_rate=40) as running:
        settings = Settings(exchange={"bitget": exchange_at(running.url)})
        async with open_live_venue("bitget", settings) as venue, following(bus, venue, symbol, PATIENT) as (_, seen):
            await seen.until(lambda: len(seen.trades) > 60)
            await order(running, kind="ws_cut", seconds=2.5)
            burst = await post(running, "burst", symbol="BTC/USDT", count=2_500, ms=500)
            await seen.until(lambda: bool(seen.trades) and seen.trades[-1].timestamp > burst["until"] + 2_000, 100)
        market = {"exchange": "bitget", "symbol": symbol, "since": seen.trades[0].timestamp}
        true = {id_of(row): row for row in await get(running, "_sim/truth/trades", **market)}
    assert seen.gaps == []
    ids = [int(each.id or 0) for each in seen.trades]
    assert len(ids) > 2_500
    assert ids == sorted(each for each in true if ids[0] <= each <= ids[-1])
    fetched = [each for each in seen.trades if each.timestamp != true[int(each.id or 0)]["timestamp"]]
    # A live trade has its ms; one by REST has its second.
    assert len(fetched) > 2_400
    assert all(each.timestamp == true[int(each.id or 0)]["timestamp"] // 1_000 * 1_000 for each in fetched)
