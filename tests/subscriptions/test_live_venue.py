"""One venue against a simulated exchange process: what reaches the sinks, and what the exchange sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import pytest

from support.processes import SimulatorProcess
from support.venues import BTC, PATHS, Memory, counted, settings, venue_at
from tickwire.errors import ExchangeFailed, UnknownSymbol, UnsupportedKind, UnsupportedTimeframe
from tickwire.exchange.ccxt_patches.socket_hooks import Hooks
from tickwire.model.feeds import Feed, Trade
from tickwire.streamer.control.feed_venue import BookView, FeedVenue
from tickwire.streamer.subscriptions.live_venue import LiveVenue, merged, open_live_venue
from tickwire.venues.dialect import Diff

pytestmark = pytest.mark.actors

RATE = 800
"""Trades of each symbol a second."""


async def burst(exchange: SimulatorProcess, symbol: str, count: int) -> tuple[int, int]:
    """Have it trade so many times within a second from now on: the first and the last id of the aggregate trades."""
    answer = await exchange.order("burst", symbol=symbol, count=count)
    return answer["first_aggregate"], answer["last_aggregate"]


async def truth(exchange: SimulatorProcess, symbol: str, ids: Sequence[str | None]) -> list[Trade]:
    """The aggregate trades from the first to the last of these ids, as the simulator itself has them."""
    first, last = int(ids[0] or 0), int(ids[-1] or 0)
    found: list[Any] = []
    while first <= last:
        page = await exchange.truth("aggregates", symbol=symbol, fromId=first, limit=min(1_000, last + 1 - first))
        found += page
        first = page[-1]["id"] + 1
    return [
        Trade(id=str(row["id"]), timestamp=row["timestamp"], side=row["side"], price=row["price"], amount=row["amount"])
        for row in found
    ]


@pytest.mark.parametrize("hooks", PATHS.values(), ids=PATHS.keys())
async def test_every_trade_arrives_once_as_it_was(exchange: SimulatorProcess, hooks: Hooks) -> None:
    memory = Memory()
    async with venue_at(exchange.url, hooks=hooks) as venue, venue.watching(BTC, memory):
        trades = list(await memory.get(300))
    counted(trades)
    assert trades == await truth(exchange, "BTC/USDT", [trade.id for trade in trades])
    assert memory.told == ["connected"]


async def test_differences_of_a_book_follow_one_another(exchange: SimulatorProcess) -> None:
    async with venue_at(exchange.url) as venue:
        memory = Memory()
        async with venue.watching(Feed("book", "binance", "BTC/USDT"), memory):
            diffs = list(await memory.get(10))
        assert all(isinstance(diff, Diff) for diff in diffs)
        assert all(after.first == before.last + 1 for before, after in pairwise(diffs))
        # The consumer of the sink fetches the snapshot.
        assert await exchange.log("api/v3/depth") == []


async def test_a_book_that_ccxt_keeps_is_whole(exchange: SimulatorProcess) -> None:
    memory = Memory()
    async with venue_at(exchange.url, hooks=PATHS["resolve"]) as venue:
        async with venue.watching(Feed("book", "binance", "BTC/USDT"), memory):
            views = await memory.get(5)
    assert all(isinstance(view, BookView) for view in views)
    assert [view.nonce for view in views] == sorted({view.nonce for view in views})
    assert len(views[-1].bids) > 100
    assert views[-1].bids[0][0] < views[-1].asks[0][0]


@pytest.mark.parametrize(
    ("of", "hooks"), [*(("binance", hooks) for hooks in PATHS.values()), ("okx", None)], ids=[*PATHS, "okx"]
)
async def test_a_ticker_says_the_day_and_the_best_prices(
    exchange: SimulatorProcess, of: str, hooks: Hooks | None
) -> None:
    memory = Memory()
    async with venue_at(exchange.url, of, hooks=hooks) as venue:
        async with venue.watching(Feed("ticker", of, "BTC/USDT"), memory):
            said: dict[str, Any] = {}
            await memory.until(lambda: {"last", "bid", "ask", "volume"} <= set().union(*memory.items or [{}]))
            for each in memory.items:
                said |= each
    assert said["bid"] < said["ask"]
    assert said["low"] <= said["last"] <= said["high"]
    assert memory.told == ["connected"]


@pytest.mark.parametrize("hooks", [PATHS["typed"], PATHS["resolve"]], ids=["typed", "resolve"])
async def test_candles_of_the_exchange_are_its_own(exchange: SimulatorProcess, hooks: Hooks) -> None:
    memory = Memory()
    async with venue_at(exchange.url, hooks=hooks) as venue:
        async with venue.watching(Feed("candle", "binance", "BTC/USDT", "1s"), memory):
            await memory.until(lambda: sum(candle.closed for candle in memory.items) >= 2)
    closed = [candle for candle in memory.items if candle.closed]
    real = await exchange.truth("candles", symbol="BTC/USDT", timeframe="1s", since=closed[0].timestamp)
    by_time = {row[0]: row[1:] for row in real}
    for candle in closed:
        assert [candle.open, candle.high, candle.low, candle.close] == by_time[candle.timestamp][:4]
        assert candle.volume == pytest.approx(by_time[candle.timestamp][4])


@pytest.mark.parametrize("hooks", [PATHS["typed"], PATHS["resolve"]], ids=["typed", "resolve"])
async def test_six_symbols_on_one_socket_all_arrive(exchange: SimulatorProcess, hooks: Hooks) -> None:
    symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "BNB/USDT", "DOGE/USDT"]
    async with venue_at(exchange.url, hooks=hooks) as venue:
        # All on one socket, so that their frames share TCP segments.
        venue.rest.options["streamLimits"]["spot"] = 1
        memories = {symbol: Memory() for symbol in symbols}
        async with AsyncExitStack() as stack:
            for symbol, memory in memories.items():
                await stack.enter_async_context(venue.watching(Feed("trade", "binance", symbol), memory))
            for memory in memories.values():
                await memory.get(200)
            assert len(venue.rest.clients) == 1
        for memory in memories.values():
            counted(memory.items)


@pytest.mark.parametrize("hooks", PATHS.values(), ids=PATHS.keys())
async def test_what_comes_while_we_are_busy_arrives_whole(exchange: SimulatorProcess, hooks: Hooks) -> None:
    memory, loop = Memory(), asyncio.get_running_loop()
    async with venue_at(exchange.url, hooks=hooks) as venue, venue.watching(BTC, memory):
        await memory.get(10)
        # Two thousand trades a second, in few segments, because nobody reads meanwhile.
        _, last = await burst(exchange, "BTC/USDT", 2_000)
        for _ in range(2):
            busy = loop.time() + 0.3
            while loop.time() < busy:
                pass
            await memory.get(len(memory.items) + 100)
        await memory.until(lambda: int(memory.items[-1].id) >= last)
        trades = list(memory.items)
    assert len(counted(trades)) > 2_000
    assert trades == await truth(exchange, "BTC/USDT", [trade.id for trade in trades])


@pytest.mark.parametrize("hooks", [PATHS["typed"], PATHS["resolve"]], ids=["typed", "resolve"])
async def test_twenty_thousand_trades_in_a_second_arrive_whole(exchange: SimulatorProcess, hooks: Hooks) -> None:
    memory = Memory()
    async with venue_at(exchange.url, hooks=hooks) as venue, venue.watching(BTC._replace(symbol="ETH/USDT"), memory):
        await memory.get(1)
        _, last = await burst(exchange, "ETH/USDT", 20_000)
        await memory.until(lambda: int(memory.items[-1].id) >= last)
        trades = list(memory.items)
    assert len(counted(trades)) > 20_000


async def test_spot_and_futures_of_one_name_are_two(exchange: SimulatorProcess) -> None:
    spot, future = Memory(), Memory()
    async with venue_at(exchange.url, types=["spot", "linear"]) as venue:
        assert (await venue.markets.market("BTC/USDT"))["id"] == (await venue.markets.market("BTC/USDT:USDT"))["id"]
        async with venue.watching(BTC, spot):
            async with venue.watching(BTC._replace(symbol="BTC/USDT:USDT"), future):
                await future.get(50)
            await spot.get(50)
    for memory in (spot, future):
        counted(memory.items)
        assert memory.told == ["connected"]
    assert {entry["host"].partition(":")[0] for entry in await exchange.log("/ws/")} == {
        "stream.binance.com",
        "fstream.binance.com",
    }


async def test_differences_of_a_future_s_book_name_the_one_before(exchange: SimulatorProcess) -> None:
    memory = Memory()
    async with venue_at(exchange.url, "binanceusdm", types=["linear"]) as venue:
        async with venue.watching(Feed("book", "binanceusdm", "BTC/USDT:USDT"), memory):
            diffs = list(await memory.get(5))
    assert all(after.previous == before.last for before, after in pairwise(diffs))


@pytest.mark.parametrize(
    ("of", "kind", "streams", "hooks"),
    [
        *(("binance", "trade", {"btcusdt@aggTrade"}, hooks) for hooks in PATHS.values()),
        *(("binance", "book", {"btcusdt@depth@100ms"}, hooks) for hooks in PATHS.values()),
        *(("binance", "ticker", {"btcusdt@ticker", "btcusdt@bookTicker"}, hooks) for hooks in PATHS.values()),
        *(("binance", "candle", {"btcusdt@kline_1s"}, hooks) for hooks in PATHS.values()),
        ("okx", "trade", {"trades:BTC-USDT"}, None),
        ("okx", "book", {"books:BTC-USDT"}, None),
        ("okx", "candle", {"candle1m:BTC-USDT"}, None),
    ],
)
async def test_what_nobody_watches_any_more_is_unsubscribed_and_can_be_watched_again(
    exchange: SimulatorProcess, of: str, kind: Any, streams: set[str], hooks: Hooks | None
) -> None:
    feed = Feed(kind, of, "BTC/USDT", {"binance": "1s", "okx": "1m"}[of] if kind == "candle" else None)
    async with venue_at(exchange.url, of, hooks=hooks) as venue:
        for _ in range(2):
            memory = Memory()
            async with venue.watching(feed, memory):
                await memory.get(2)
            log = await exchange.log("/ws/")
            for event in ("subscribe", "unsubscribe"):
                assert {name for entry in log if entry["event"] == event for name in entry["streams"]} == streams
            await exchange.forget_log()
            had = len(memory.items)
            await venue.now()
            assert len(memory.items) == had


async def test_what_is_not_there_is_refused_with_what_is(exchange: SimulatorProcess) -> None:
    async with venue_at(exchange.url) as venue:
        with pytest.raises(UnknownSymbol, match=r"did you mean .*BTC/USDT"):
            await venue.markets.check(Feed("trade", "binance", "BTC/USDX"))
        with pytest.raises(UnsupportedTimeframe, match=r"it has .*1w"):
            await venue.markets.check(Feed("candle", "binance", "BTC/USDT", "7d"))
        for timeframe in ("1s", "7200s", "45m", "1d", "1w", "1M"):
            await venue.markets.check(Feed("candle", "binance", "BTC/USDT", timeframe))
        with pytest.raises(UnknownSymbol):
            async with venue.watching(Feed("trade", "binance", "BTC/USDX"), Memory()):
                await asyncio.Event().wait()
        assert (await venue.markets.market("BTC/USDT"))["id"] == "BTCUSDT"


async def test_a_kind_that_a_venue_does_not_offer_is_refused(exchange: SimulatorProcess) -> None:
    async with venue_at(exchange.url, "coinbaseinternational") as venue:
        venue.rest.has["watchTicker"] = False
        with pytest.raises(UnsupportedKind, match="it has trade"):
            await venue.markets.check(Feed("ticker", "coinbaseinternational", "BTC/USDC"))


async def test_the_markets_are_asked_for_once_by_many(exchange: SimulatorProcess) -> None:
    async with venue_at(exchange.url) as venue:
        await asyncio.gather(*(venue.markets.market("BTC/USDT") for _ in range(20)))
    assert len(await exchange.log("exchangeInfo")) == 1


async def test_a_venue_that_is_down_says_so_and_is_asked_again(exchange: SimulatorProcess) -> None:
    async with venue_at(exchange.url) as venue:
        await exchange.fault("exchangeInfo", "status", code=503)
        with pytest.raises(ExchangeFailed, match="503"):
            await venue.markets.market("BTC/USDT")
        memory = Memory()
        async with venue.watching(BTC, memory):
            await memory.until(lambda: memory.told == ["disconnected"])
            await exchange.clear()
            await memory.get(10)
        assert memory.told == ["disconnected", "connected"]


@pytest.mark.parametrize(("code", "remedy"), [(451, "does not serve this location"), (403, "TICKWIRE_BINANCE_API_KEY")])
async def test_a_venue_that_refuses_its_markets_says_what_to_do(
    exchange: SimulatorProcess, code: int, remedy: str
) -> None:
    async with venue_at(exchange.url) as venue:
        await exchange.fault("exchangeInfo", "status", code=code)
        with pytest.raises(ExchangeFailed, match=f"{code}.*{remedy}"):
            await venue.markets.market("BTC/USDT")


@pytest.mark.parametrize("exchange_id", ["binance", "okx"])
@pytest.mark.parametrize(
    ("gateway", "what"),
    [("http://nosuch.invalid:81", "name has no address.*DNS of this machine"), ("https", "TLS cannot be agreed on")],
)
async def test_a_venue_that_cannot_be_reached_says_why(
    exchange: SimulatorProcess, exchange_id: str, gateway: str, what: str
) -> None:
    """A name without an address by RFC 6761, and a server that speaks no TLS."""
    url = exchange.url.replace("http://", "https://") if gateway == "https" else gateway
    async with venue_at(url, exchange_id) as venue:
        with pytest.raises(ExchangeFailed, match=what):
            await venue.markets.market("BTC/USDT")


async def test_the_clock_is_the_exchange_s_and_asked_for_once_a_minute(exchange: SimulatorProcess) -> None:
    hour = 3_600_000
    real = await exchange.clock(advance=hour)
    async with venue_at(exchange.url) as venue:
        assert abs(await venue.now() - real["now"]) < 2_000
        await asyncio.gather(*(venue.now() for _ in range(20)))
    assert len(await exchange.log("/time")) == 1


async def test_one_that_is_left_by_force_is_unsubscribed_too(exchange: SimulatorProcess) -> None:
    memory = Memory()

    async def watch(venue: LiveVenue) -> None:
        async with venue.watching(BTC, memory):
            await asyncio.Event().wait()

    async with venue_at(exchange.url) as venue:
        watching = asyncio.ensure_future(watch(venue))
        await memory.get(1)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        log = await exchange.log("/ws/")
        assert [entry["event"] for entry in log if entry.get("streams")] == ["subscribe", "unsubscribe"]


async def test_an_error_within_the_block_comes_out_as_it_is(exchange: SimulatorProcess) -> None:
    async with venue_at(exchange.url) as venue:
        with pytest.raises(ZeroDivisionError):
            async with venue.watching(BTC, Memory()):
                raise ZeroDivisionError


async def test_a_socket_is_not_asked_more_often_than_the_exchange_allows(exchange: SimulatorProcess) -> None:
    # Binance's limit is five messages a second on one socket. With more, nothing connects any more.
    await exchange.order("rules", rules={"messages": 5, "messages_s": 1.0, "ban_s": 3600.0}, venues=["binance"])
    async with venue_at(exchange.url) as venue:
        began = asyncio.get_running_loop().time()
        for _ in range(4):
            memory = Memory()
            async with venue.watching(BTC, memory):
                await memory.until(lambda memory=memory: memory.told == ["connected"])  # type: ignore[misc]
        # Eight messages: two at once, and then two a second.
        assert asyncio.get_running_loop().time() - began >= 2.0
    await exchange.order("rules", rules={"messages": None, "ban_s": 0.0}, venues=["binance"])
    assert {each["status"] for each in await exchange.log() if each["event"] == "connect"} == {101}


async def test_a_user_s_own_options_win(exchange: SimulatorProcess) -> None:
    chosen = settings(exchange.url)
    own = chosen.exchange["binance"]
    table = merged(own.ccxt, {"options": {"watchTrades": {"name": "trade"}}})
    changed = chosen.model_copy(update={"exchange": {"binance": own.model_copy(update={"ccxt": table})}})
    async with open_live_venue("binance", changed) as venue:
        memory = Memory()
        async with venue.watching(BTC, memory):
            trades = list(await memory.get(100))
        counted(trades)
        log = await exchange.log("/ws/")
        assert [entry["streams"] for entry in log if entry["event"] in ("subscribe", "unsubscribe")] == [
            ["btcusdt@trade"]
        ] * 2


def as_feeds_expect(venue: LiveVenue) -> FeedVenue:
    """For mypy: a venue is one."""
    return venue
