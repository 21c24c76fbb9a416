"""The path of every venue that has no decoder here, on real sockets: OKX as the simulator speaks it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import pytest

from support.processes import SimulatorProcess, running_simulator
from support.venues import PATHS, Memory, venue_at
from tickwire.errors import ExchangeFailed, UnknownSymbol
from tickwire.model.feeds import Feed, Trade

pytestmark = pytest.mark.actors

RATE = 200
"""Trades of each symbol a second."""

BTC = Feed("trade", "okx", "BTC/USDT")
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "BNB/USDT", "DOGE/USDT")


async def matches(exchange: SimulatorProcess, symbol: str, trades: list[Trade]) -> list[Trade]:
    """What OKX's channel is to say from the first to the last of these trades, by the simulator's own book-keeping."""
    since = trades[0].timestamp
    first = (await exchange.truth("trades", symbol=symbol, since=since, until=since + 1_000))[0]["agg"]
    found: list[Any] = []
    while not found or found[-1]["last_id"] < int(trades[-1].id or 0):
        found += await exchange.truth("aggregates", symbol=symbol, fromId=first, limit=1_000)
        first = found[-1]["id"] + 1
    real = [
        Trade(id=str(row["last_id"]), timestamp=row["timestamp"], side=row["side"], price=row["price"],
              amount=row["amount"])
        for row in found
    ]  # fmt: skip
    ids = [trade.id for trade in real]
    return real[ids.index(trades[0].id) : ids.index(trades[-1].id) + 1]


async def test_every_trade_arrives_once_as_it_was(exchange: SimulatorProcess) -> None:
    memory = Memory()
    async with venue_at(exchange.url, "okx") as venue, venue.watching(BTC, memory):
        trades = list(await memory.get(300))
    assert trades == await matches(exchange, "BTC/USDT", trades)
    assert memory.told == ["connected"]


async def test_six_symbols_on_one_socket_all_arrive(exchange: SimulatorProcess) -> None:
    memories = {symbol: Memory() for symbol in SYMBOLS}
    async with venue_at(exchange.url, "okx") as venue, AsyncExitStack() as stack:
        for symbol, memory in memories.items():
            await stack.enter_async_context(venue.watching(BTC._replace(symbol=symbol), memory))
        for memory in memories.values():
            await memory.get(200)
        assert len(venue.rest.clients) == 1
        # In few segments, each of which has frames of all.
        ends = {symbol: (await exchange.order("burst", symbol=symbol, count=1_000))["last_id"] for symbol in SYMBOLS}
        for symbol, memory in memories.items():
            await memory.until(lambda memory=memory, end=ends[symbol]: int(memory.items[-1].id) >= end)  # type: ignore[misc]
    for symbol, memory in memories.items():
        trades = list(memory.items)
        assert len(trades) > 1_000
        assert trades == await matches(exchange, symbol, trades)
        assert memory.told == ["connected"]


@pytest.mark.parametrize(("path", "kept"), [("resolve", 1_000), ("awaits", 2_000)])
async def test_ccxt_keeps_no_more_trades_than_are_needed(exchange: SimulatorProcess, path: str, kept: int) -> None:
    memory = Memory()
    async with venue_at(exchange.url, "okx", hooks=PATHS[path]) as venue, venue.watching(BTC, memory):
        await memory.get(10)
        end = (await exchange.order("burst", symbol="BTC/USDT", count=2_000))["last_id"]
        await memory.until(lambda: int(memory.items[-1].id) >= end)
        trades = list(memory.items)
        assert len(venue.rest.trades["BTC/USDT"]) >= kept
        assert len(venue.rest.trades["BTC/USDT"]) == kept or path == "awaits"
    assert trades == await matches(exchange, "BTC/USDT", trades)


async def test_a_book_that_ccxt_keeps_is_the_exchange_s(exchange: SimulatorProcess) -> None:
    memory = Memory()
    async with venue_at(exchange.url, "okx", hooks=PATHS["resolve"]) as venue:
        async with venue.watching(Feed("book", "okx", "BTC/USDT"), memory):
            views = list(await memory.get(5))
            real = await venue.rest.fetch_order_book("BTC/USDT", 400)
            await memory.until(lambda: memory.items[-1].timestamp > real["timestamp"])
    assert [view.nonce for view in views] == sorted({view.nonce for view in views})
    assert all(after.timestamp - before.timestamp == 100 for before, after in pairwise(views))


async def test_weeks_of_hong_kong_are_no_weeks(exchange: SimulatorProcess) -> None:
    """By way of ccxt OKX fetches weeks of UTC, and streams those of Hong Kong."""
    memory = Memory()
    async with venue_at(exchange.url, "okx") as venue:
        async with venue.watching(Feed("candle", "okx", "BTC/USDT", "1w"), memory):
            await memory.until(lambda: "rejected" in memory.told)
    assert "T16:00" in memory.reasons[-1]
    assert memory.items == []


async def test_a_socket_with_what_cannot_be_unsubscribed_is_closed_after_the_last_feed(
    exchange: SimulatorProcess,
) -> None:
    ticker, trades = Memory(), Memory()
    async with venue_at(exchange.url, "okx") as venue:
        async with venue.watching(BTC, trades):
            async with venue.watching(Feed("ticker", "okx", "BTC/USDT"), ticker):
                await ticker.get(5)
            log = await exchange.log("/ws/")
            told = {event: {name for entry in log if entry["event"] == event for name in entry["streams"]}
                    for event in ("subscribe", "unsubscribe")}  # fmt: skip
            assert told["subscribe"] - told["unsubscribe"] == {"bbo-tbt:BTC-USDT", "trades:BTC-USDT"}
            await trades.get(len(trades.items) + 50)
            assert trades.told == ["connected"]
        async with asyncio.timeout(100):
            while "disconnect" not in [entry["event"] for entry in await exchange.log("/ws/")]:
                await asyncio.sleep(0.02)
        async with venue.watching(Feed("ticker", "okx", "BTC/USDT"), ticker):
            await ticker.get(len(ticker.items) + 5)


async def test_an_error_message_ends_no_feed(exchange: SimulatorProcess) -> None:
    trades, book = Memory(), Memory()
    async with venue_at(exchange.url, "okx") as venue:
        async with venue.watching(BTC, trades), venue.watching(Feed("book", "okx", "BTC/USDT"), book):
            await trades.get(10)
            await book.get(2)
            await exchange.fault("/ws/", "ws_error", code=60018, text="channel:trades,instId:FOO-USDT doesn't exist.")
            for memory in (trades, book):
                await memory.until(lambda memory=memory: "rejected" in memory.told)  # type: ignore[misc]
                await memory.get(len(memory.items) + 10)
                assert memory.told == ["connected", "rejected"]
                assert "60018" in memory.reasons[-1]
        assert len([entry for entry in await exchange.log("/ws/") if entry["event"] == "connect"]) == 1


async def test_what_the_exchange_refuses_is_refused_and_nothing_else(exchange: SimulatorProcess) -> None:
    memory = Memory()
    async with venue_at(exchange.url, "okx") as venue, venue.watching(BTC, memory):
        await memory.get(10)
        # Delisted since the markets were loaded.
        markets: Any = venue.rest.markets
        markets["BTC/GONE"] = {**markets["BTC/USDT"], "symbol": "BTC/GONE", "id": "BTC-GONE"}
        with pytest.raises(ExchangeFailed, match="BTC-GONE doesn't exist"):
            async with venue.watching(BTC._replace(symbol="BTC/GONE"), Memory()):
                await memory.until(lambda: False)
        await memory.get(len(memory.items) + 100)
        trades = list(memory.items)
        assert memory.told[:1] == ["connected"]
        assert "disconnected" not in memory.told
    assert trades == await matches(exchange, "BTC/USDT", trades)


async def test_an_error_that_names_nobody_has_those_that_wait_ask_again() -> None:
    async with running_simulator("--live-rate", "0.01") as exchange, venue_at(exchange.url, "okx") as venue:
        # The first subscription is not heard, so that it is still to be acknowledged.
        await exchange.fault("/ws/", "ws_deaf", count=1)
        memory = Memory()
        async with venue.watching(BTC, memory):
            async with asyncio.timeout(100):
                while await exchange.faults():
                    await asyncio.sleep(0.02)
            await exchange.fault("/ws/", "ws_error", code=63999, text="Internal system error")
            await memory.until(lambda: memory.told == ["rejected", "disconnected", "connected"])
        events = [entry["event"] for entry in await exchange.log("/ws/")]
    assert events == ["connect", "subscribe", "unsubscribe"]


async def test_an_unknown_symbol_is_refused_with_the_nearest(exchange: SimulatorProcess) -> None:
    async with venue_at(exchange.url, "okx") as venue:
        with pytest.raises(UnknownSymbol, match=r"okx does not list BTC/USDX.*did you mean .*BTC/USDT"):
            await venue.markets.check(BTC._replace(symbol="BTC/USDX"))


async def test_a_malformed_frame_is_counted_and_the_feed_goes_on(exchange: SimulatorProcess) -> None:
    memory = Memory()
    async with venue_at(exchange.url, "okx") as venue, venue.watching(BTC, memory):
        await memory.get(10)
        await exchange.fault("/ws/", "ws_malformed", text='{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"')
        await memory.until(lambda: "rejected" in memory.told)
        await memory.get(len(memory.items) + 100)
        trades = list(memory.items)
    assert memory.told == ["connected", "rejected"]
    assert trades == await matches(exchange, "BTC/USDT", trades)


@pytest.mark.parametrize(
    ("kind", "order", "reason"),
    [
        ("ws_cut", {"seconds": 0.3}, ""),
        ("ws_close", {"code": 1001}, "1001"),
        ("ws_silent", {"seconds": 1.0}, "RequestTimeout"),
    ],
)
async def test_a_socket_that_ends_is_opened_again_for_all_its_feeds(
    exchange: SimulatorProcess, kind: str, order: dict[str, Any], reason: str
) -> None:
    trades, book = Memory(), Memory()
    async with venue_at(exchange.url, "okx", silence_s=0.6) as venue:
        async with venue.watching(BTC, trades), venue.watching(Feed("book", "okx", "ETH/USDT"), book):
            for memory in (trades, book):
                await memory.get(5)
            await exchange.fault("/ws.okx.com", kind, **order)
            for memory in (trades, book):
                await memory.until(lambda memory=memory: memory.told[-1] == "connected" and len(memory.told) > 2)  # type: ignore[misc]
                await memory.get(len(memory.items) + 5)
                assert memory.told[:2] == ["connected", "disconnected"]
                assert reason in memory.reasons[1]


async def test_frames_in_pieces_are_put_together(exchange: SimulatorProcess) -> None:
    memory = Memory()
    async with venue_at(exchange.url, "okx") as venue, venue.watching(BTC, memory):
        for mode in ("fragments", "torn"):
            await exchange.fault("/ws.okx.com", "ws_split", mode=mode, seconds=0.3)
            await memory.get(len(memory.items) + 100)
        trades = list(memory.items)
    assert memory.told == ["connected"]
    assert trades == await matches(exchange, "BTC/USDT", trades)


async def test_a_quiet_socket_is_kept_open_by_pings_that_are_words() -> None:
    async with running_simulator("--live-rate", "0.01") as exchange:
        memory = Memory()
        async with venue_at(exchange.url, "okx", silence_s=1.0) as venue, venue.watching(BTC, memory):
            await memory.until(lambda: memory.told == ["connected"])
            with pytest.raises(AssertionError, match="did not come"):
                await memory.until(lambda: len(memory.told) > 1, timeout_s=2.5)


async def test_a_feed_that_falls_silent_on_a_living_socket_is_subscribed_again() -> None:
    async with running_simulator("--live-rate", "0.01") as exchange:
        memory = Memory()
        async with venue_at(exchange.url, "okx", feed_silence_s=0.5) as venue, venue.watching(BTC, memory):
            await memory.until(lambda: memory.told[:3] == ["connected", "disconnected", "connected"])
        assert "silent for" in memory.reasons[1]
        events = [entry["event"] for entry in await exchange.log("/ws/") if entry.get("streams")]
        assert events[:3] == ["subscribe", "unsubscribe", "subscribe"]
