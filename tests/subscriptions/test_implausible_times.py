"""Times that cannot be right, on real sockets: reported, counted, and in no feed."""

from __future__ import annotations

import time
from typing import Any

import pytest

from support.processes import SimulatorProcess
from support.venues import PATHS, Memory, venue_at
from tickwire.model.feeds import Feed

pytestmark = pytest.mark.actors

RATE = 100
"""Trades of each symbol a second."""

YEAR = 365 * 86_400_000
TRADES = {
    "binance": '{"e":"aggTrade","E":1,"s":"BTCUSDT","a":999999999,"p":"1","q":"1","f":1,"l":1,"T":%s,"m":true}',
    "okx": '{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"999999999",'
    '"px":"1","sz":"1","side":"buy","ts":"%s","count":"1"}]}',
}
KLINE = (
    '{"e":"kline","E":1,"s":"BTCUSDT","k":{"t":%s,"T":1,"s":"BTCUSDT","i":"1s","f":1,"L":1,"o":"1","c":"1","h":"1",'
    '"l":"1","v":"1","n":1,"x":false,"q":"1","V":"1","Q":"1","B":"0"}}'
)
TICKER = '{"e":"24hrTicker","E":%s,"s":"BTCUSDT","c":"7","o":"7","h":"7","l":"7","v":"7","q":"7","p":"1","P":"1","w":"1","x":"1","Q":"1","b":"1","B":"1","a":"1","A":"1","O":1,"C":1,"F":1,"L":1,"n":1}'  # noqa: E501


def wrong_times() -> list[int]:
    """A year ahead, in other scales, and nonsense."""
    now = time.time_ns() // 1_000_000
    return [now + YEAR, now // 1000, now * 1000, now * 1_000_000, 10**18, 0, -1]


@pytest.mark.parametrize(
    ("venue", "path"), [("binance", "typed"), ("binance", "resolve"), ("okx", "resolve"), ("okx", "awaits")]
)
async def test_a_trade_with_a_time_that_cannot_be_is_left_out_and_the_stream_goes_on(
    exchange: SimulatorProcess, venue: str, path: str
) -> None:
    memory, feed = Memory(), Feed("trade", venue, "BTC/USDT")
    async with venue_at(exchange.url, venue, hooks=PATHS[path]) as opened, opened.watching(feed, memory):
        await memory.get(5)
        for wrong in wrong_times():
            told = len(memory.told)
            await exchange.fault("/", "ws_malformed", count=1, text=TRADES[venue] % wrong)
            await memory.until(lambda: len(memory.told) > told)  # noqa: B023
            await memory.get(len(memory.items) + 20)
        items = list(memory.items)
        real = await exchange.clock()
    assert set(memory.told) == {"connected", "rejected"}
    assert "999999999" not in [each.id for each in items]
    assert all(each.timestamp <= real["now"] for each in items)


@pytest.mark.parametrize("path", ["typed", "resolve", "awaits"])
async def test_a_candle_of_the_future_is_left_out_and_later_ones_come(exchange: SimulatorProcess, path: str) -> None:
    memory, feed = Memory(), Feed("candle", "binance", "BTC/USDT", "1s")
    async with venue_at(exchange.url, hooks=PATHS[path]) as opened, opened.watching(feed, memory):
        await memory.get(2)
        wrong = time.time_ns() // 1_000_000 // 1000 * 1000 + YEAR
        await exchange.fault("/", "ws_malformed", count=1, text=KLINE % wrong)
        await memory.until(lambda: "rejected" in memory.told)
        last = memory.items[-1].timestamp
        await memory.until(lambda: memory.items[-1].timestamp >= last + 3_000)
        items = list(memory.items)
        real = await exchange.clock()
    assert all(each.timestamp <= real["now"] for each in items)


async def test_what_a_ticker_says_stays_without_a_time_that_cannot_be(exchange: SimulatorProcess) -> None:
    memory, feed = Memory(), Feed("ticker", "binance", "BTC/USDT")

    def said() -> list[Any]:
        return [each for each in memory.items if each.get("last") == 7]

    async with venue_at(exchange.url) as opened, opened.watching(feed, memory):
        await memory.get(2)
        await exchange.fault("/", "ws_malformed", count=1, text=TICKER % (time.time_ns() // 1000))
        await memory.until(lambda: bool(said()))
    assert "rejected" in memory.told
    assert said()[0]["timestamp"] is None


async def test_a_clock_that_was_compared_wrong_is_compared_again_before_more_is_left_out(
    exchange: SimulatorProcess,
) -> None:
    """As after this machine has slept: its monotonic clock stood still meanwhile."""
    memory, feed = Memory(), Feed("trade", "binance", "BTC/USDT")
    async with venue_at(exchange.url) as opened, opened.watching(feed, memory):
        await memory.get(5)
        assert await opened.now() is not None
        opened.rest.clock._ahead -= 3_600_000
        await memory.until(lambda: "rejected" in memory.told)
        await memory.get(len(memory.items) + 50)
        now = opened.clock()
        assert now is not None
        assert abs((await exchange.clock())["now"] - now) < 5_000
