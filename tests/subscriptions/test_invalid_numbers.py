"""Trades with an invalid price or amount, on real sockets: reported, counted, and in no feed."""

from __future__ import annotations

import math

import pytest

from support.processes import SimulatorProcess
from support.venues import PATHS, Memory, venue_at
from tickwire.model.feeds import Feed

pytestmark = pytest.mark.actors

RATE = 100
"""Trades of each symbol a second."""

FRAMES = {
    "binance": '{"e":"aggTrade","E":1,"s":"BTCUSDT","a":999999999,"p":"%s","q":"%s","f":1,"l":1,"T":1,"m":true}',
    "okx": '{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"999999999",'
    '"px":"%s","sz":"%s","side":"buy","ts":"1700000000000","count":"1"}]}',
}


@pytest.mark.parametrize(("venue", "path"), [("binance", "typed"), ("binance", "resolve"), ("okx", "resolve"),
                                             ("okx", "awaits")])  # fmt: skip
@pytest.mark.parametrize(
    "values", [("NaN", "1"), ("Infinity", "1"), ("-1", "1"), ("0", "1"), ("1", "NaN"), ("1", "-1")]
)
async def test_a_trade_that_is_no_number_is_rejected_and_the_stream_goes_on(
    exchange: SimulatorProcess, venue: str, path: str, values: tuple[str, str]
) -> None:
    memory = Memory()
    feed = Feed("trade", venue, "BTC/USDT")
    async with venue_at(exchange.url, venue, hooks=PATHS[path]) as opened, opened.watching(feed, memory):
        await memory.get(5)
        await exchange.fault("/", "ws_malformed", count=1, text=FRAMES[venue] % values)
        await memory.until(lambda: "rejected" in memory.told)
        await memory.get(len(memory.items) + 20)
    assert memory.told == ["connected", "rejected"]
    assert all(math.isfinite(each.price) and each.price > 0 and each.amount >= 0 for each in memory.items)
    assert "999999999" not in [each.id for each in memory.items]
