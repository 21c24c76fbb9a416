"""OKX's frames over a real socket: many in one write, many trades in one frame, and ccxt beside the dialect."""

from __future__ import annotations

import dataclasses
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from support.loopback import Loopback, loopback, market, settings
from support.venues import Memory
from tickwire.model.feeds import Candle, Feed, Trade
from tickwire.streamer.subscriptions import frame_router
from tickwire.streamer.subscriptions.live_venue import open_live_venue
from tickwire.venues.registry import dialect_of

pytestmark = pytest.mark.actors

MARKETS = [
    market("BTC/USDT", "BTC-USDT"),
    market("ETH/USDT", "ETH-USDT"),
    market("BTC/USDT:USDT", "BTC-USDT-SWAP", type="swap", spot=False, swap=True, contract=True, linear=True,
           inverse=False, contractSize=0.01, settle="USDT", settleId="USDT"),
]  # fmt: skip
COUNT = 3_000
AT = 1_700_000_000_000


def answers(message: Any) -> list[Any]:
    """Each channel is acknowledged by itself."""
    if message == "ping":
        return ["pong"]
    return [{"event": message["op"], "arg": arg, "connId": "a"} for arg in message.get("args", ())]


def row(market_id: str, number: int) -> dict[str, str]:
    return {"instId": market_id, "tradeId": f"{number}", "px": f"{100 + number}.5", "sz": f"0.{number}1",
            "side": ("buy", "sell")[number % 2], "ts": f"{AT + number}", "count": "1"}  # fmt: skip


def trade(number: int) -> Trade:
    return Trade(
        id=f"{number}",
        timestamp=AT + number,
        side=("buy", "sell")[number % 2],
        price=100.5 + number,
        amount=float(f"0.{number}1"),
    )


def of_trades(market_id: str, *numbers: int) -> dict[str, Any]:
    return {"arg": {"channel": "trades", "instId": market_id}, "data": [row(market_id, each) for each in numbers]}


async def acknowledged(exchange: Loopback, *memories: Memory) -> None:
    for memory in memories:
        await memory.until(lambda memory=memory: "connected" in memory.told)  # type: ignore[misc]


async def test_3000_trades_of_three_markets_in_one_write_all_arrive_once_and_in_order() -> None:
    async with loopback() as exchange, AsyncExitStack() as stack:
        exchange.reply = answers
        venue = await stack.enter_async_context(open_live_venue("okx", settings(exchange.url, "okx", MARKETS)))
        memories = {each["id"]: Memory() for each in MARKETS}
        for each in MARKETS:
            feed = Feed("trade", "okx", each["symbol"])
            await stack.enter_async_context(venue.watching(feed, memories[each["id"]]))
        await acknowledged(exchange, *memories.values())
        exchange.push([of_trades(each["id"], number) for number in range(COUNT) for each in MARKETS])
        for memory in memories.values():
            assert await memory.get(COUNT) == [trade(number) for number in range(COUNT)]
        # Neither is one parsed by ccxt: it would cache it.
        assert not venue.rest.trades
        assert {tuple(memory.told) for memory in memories.values()} == {("connected",)}


async def test_3000_trades_in_one_frame_arrive_and_a_malformed_frame_costs_only_itself() -> None:
    async with loopback() as exchange, AsyncExitStack() as stack:
        exchange.reply = answers
        venue = await stack.enter_async_context(open_live_venue("okx", settings(exchange.url, "okx", MARKETS)))
        memory, other = Memory(), Memory()
        await stack.enter_async_context(venue.watching(Feed("trade", "okx", "BTC/USDT"), memory))
        await stack.enter_async_context(venue.watching(Feed("trade", "okx", "ETH/USDT"), other))
        await acknowledged(exchange, memory, other)
        broken = '{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"tradeId":"1","px":"NaN","sz":"1"'
        exchange.push([of_trades("BTC-USDT", *range(COUNT)), broken, "pong", of_trades("ETH-USDT", 7)])
        assert await memory.get(COUNT) == [trade(number) for number in range(COUNT)]
        assert await other.get(1) == [trade(7)]
        await memory.until(lambda: "rejected" in memory.told)


async def test_candles_of_okx_say_when_they_are_closed_and_end_without_an_error() -> None:
    """ccxt's own handler of `unsubscribe` looks for the candles in its cache, where the dialect puts none."""
    feed = Feed("candle", "okx", "BTC/USDT:USDT", "1m")
    opened = AT // 60_000 * 60_000

    def bar(confirm: str) -> dict[str, Any]:
        values = [f"{opened}", "10", "12", "9", "11", "300", "3", "33", confirm]
        return {"arg": {"channel": "candle1m", "instId": "BTC-USDT-SWAP"}, "data": [values]}

    async with loopback() as exchange, open_live_venue("okx", settings(exchange.url, "okx", MARKETS)) as venue:
        exchange.reply = answers
        memory = Memory()
        async with venue.watching(feed, memory):
            await acknowledged(exchange, memory)
            exchange.push([bar("0"), bar("1")])
            candles = await memory.get(2)
        assert venue.router.rejected == 0
        assert [each["op"] for each in exchange.heard if isinstance(each, dict)] == ["subscribe", "unsubscribe"]
    expected = Candle(
        exchange="okx", symbol="BTC/USDT:USDT", timeframe="1m", timestamp=opened, open=10.0, high=12.0, low=9.0,
        close=11.0, volume=3.0, trades=0, closed=False, complete=True, volume_unit="base",
    )  # fmt: skip
    assert candles[0] == expected
    assert candles[1].closed
    assert memory.told == ["connected"]


async def test_a_day_of_another_time_zone_is_no_candle_of_the_feed() -> None:
    """OKX's `candle1D` opens at 16:00 UTC; by REST the days are those of UTC."""
    feed = Feed("candle", "okx", "BTC/USDT", "1d")
    day = 86_400_000
    rows = [[f"{AT // day * day - 8 * 3_600_000}", "1", "1", "1", "1", "1", "1", "1", "0"]]
    async with loopback() as exchange, open_live_venue("okx", settings(exchange.url, "okx", MARKETS)) as venue:
        exchange.reply = answers
        memory = Memory()
        async with venue.watching(feed, memory):
            await acknowledged(exchange, memory)
            exchange.push([{"arg": {"channel": "candle1D", "instId": "BTC-USDT"}, "data": rows}])
            await memory.until(lambda: "rejected" in memory.told)
        assert memory.items == []
        assert "another time zone" in memory.reasons[-1]


async def test_a_missing_frame_of_a_socket_that_numbers_them_opens_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coinbase numbers the frames of a socket so; here OKX's frames have such a number beside."""

    def number(text: str) -> int | None:
        found: int | None = json.loads(text).get("n") if text.startswith("{") else None
        return found

    numbered = dataclasses.replace(dialect_of("okx"), frame_number=number)
    monkeypatch.setattr(frame_router, "dialect_of", lambda exchange: numbered)
    async with loopback() as exchange, open_live_venue("okx", settings(exchange.url, "okx", MARKETS)) as venue:
        exchange.reply = lambda message: [{**each, "n": 0} if each != "pong" else each for each in answers(message)]
        memory = Memory()
        async with venue.watching(Feed("trade", "okx", "BTC/USDT"), memory):
            await acknowledged(exchange, memory)
            exchange.push([{**of_trades("BTC-USDT", each), "n": each} for each in (1, 2)])
            await memory.get(2)
            # The second of these is after a hole; the third is of a socket that was given up.
            exchange.push([{**of_trades("BTC-USDT", each), "n": each} for each in (3, 5, 6)])
            await memory.until(lambda: memory.told == ["connected", "disconnected", "connected"])
            exchange.push([{**of_trades("BTC-USDT", 7), "n": 1}])
            assert await memory.get(4) == [trade(each) for each in (1, 2, 3, 7)]
        assert "frame 5 of the socket follows frame 3" in memory.reasons[1]
        assert [each["op"] for each in exchange.heard if isinstance(each, dict)][:2] == ["subscribe", "subscribe"]
