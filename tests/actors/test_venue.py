"""One venue against a simulated exchange process: what reaches the sinks, and what the exchange sees of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from support.processes import SimulatorProcess, running_simulator
from support.venues import Memory, venue_at
from tickwire.errors import ExchangeFailed, UnknownSymbol, UnsupportedKind, UnsupportedTimeframe
from tickwire.feeds import Feed, Trade
from tickwire.streamer.desk import BookView, Diff
from tickwire.streamer.hooks import Hooks
from tickwire.streamer.venue import Venue

BTC = Feed("trade", "binance", "BTC/USDT")
PATHS = {
    "typed": Hooks(),
    "resolve": Hooks(text=False),
    "awaits": Hooks(text=False, result=False),
}


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatorProcess]:
    """A simulated exchange where BTC/USDT trades 200 times a second."""
    async with running_simulator("--live-rate", "200") as process:
        yield process


async def truth(exchange: SimulatorProcess, symbol: str, ids: Sequence[str | None]) -> list[Trade]:
    """The aggregate trades of these ids as the simulator itself has them, summed up per id by the exchange's rule."""
    rows = await exchange.truth("trades", symbol=symbol, since=0 if not ids else await _since(exchange))
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(str(row["agg"]), []).append(row)
    return [
        Trade(
            id=str(id_),
            timestamp=found[str(id_)][0]["timestamp"],
            side=found[str(id_)][0]["side"],
            price=found[str(id_)][0]["price"],
            amount=float(sum(Decimal(str(row["amount"])) for row in found[str(id_)])),
        )
        for id_ in ids
    ]


async def _since(exchange: SimulatorProcess) -> int:
    return int((await exchange.clock())["now"]) - 60_000


def counted(trades: Sequence[Trade]) -> list[int]:
    """Their ids, checked to count up by one."""
    ids = [int(trade.id or -1) for trade in trades]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    return ids


@pytest.mark.parametrize("hooks", PATHS.values(), ids=PATHS.keys())
async def test_every_trade_arrives_once_as_it_was(exchange: SimulatorProcess, hooks: Hooks) -> None:
    memory = Memory()
    async with venue_at(exchange.url, hooks=hooks) as venue, venue.watching(BTC, memory):
        trades = list(await memory.get(300))
    counted(trades)
    assert trades == await truth(exchange, "BTC/USDT", [trade.id for trade in trades])
    assert memory.told == ["connected"]


async def test_differences_of_a_book_follow_one_another() -> None:
    async with running_simulator("--live-rate", "50") as exchange, venue_at(exchange.url) as venue:
        memory = Memory()
        async with venue.watching(Feed("book", "binance", "BTC/USDT"), memory):
            diffs = list(await memory.get(10))
        assert all(isinstance(diff, Diff) for diff in diffs)
        assert all(after.first == before.last + 1 for before, after in pairwise(diffs))
        # The snapshot is the affair of whoever keeps the book.
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


@pytest.mark.parametrize("hooks", PATHS.values(), ids=PATHS.keys())
async def test_a_ticker_says_the_day_and_the_best_prices(exchange: SimulatorProcess, hooks: Hooks) -> None:
    memory = Memory()
    async with venue_at(exchange.url, hooks=hooks) as venue:
        async with venue.watching(Feed("ticker", "binance", "BTC/USDT"), memory):
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
async def test_six_symbols_on_one_socket_all_arrive(hooks: Hooks) -> None:
    symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "BNB/USDT", "DOGE/USDT"]
    async with running_simulator("--live-rate", "200") as exchange, venue_at(exchange.url, hooks=hooks) as venue:
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


@pytest.mark.parametrize("hooks", [PATHS["typed"], PATHS["resolve"]], ids=["typed", "resolve"])
async def test_a_burst_of_two_thousand_trades_a_second_arrives_whole(hooks: Hooks) -> None:
    async with running_simulator("--live-rate", "2000") as exchange, venue_at(exchange.url, hooks=hooks) as venue:
        memory = Memory()
        async with venue.watching(BTC, memory):
            await memory.get(100)
            # What queues up while we are busy comes in few segments.
            for _ in range(3):
                held = asyncio.get_running_loop().time() + 0.3
                while asyncio.get_running_loop().time() < held:
                    pass
                await memory.get(len(memory.items) + 600)
            trades = list(memory.items)
        counted(trades)
        assert trades == await truth(exchange, "BTC/USDT", [trade.id for trade in trades])


async def test_a_malformed_frame_is_told_and_the_stream_goes_on(exchange: SimulatorProcess) -> None:
    memory = Memory()
    async with venue_at(exchange.url) as venue, venue.watching(BTC, memory):
        await memory.get(10)
        await exchange.fault("stream", "ws_malformed", count=2)
        await exchange.fault("stream", "ws_malformed", count=1, text='{"neither":')
        await memory.until(lambda: memory.told.count("rejected") == 3)
        await memory.get(len(memory.items) + 50)
        assert venue.sockets.rejected == 3
    counted(memory.items)
    assert memory.told == ["connected", "rejected", "rejected", "rejected"]


@pytest.mark.parametrize("hooks", [PATHS["typed"], PATHS["resolve"]], ids=["typed", "resolve"])
async def test_an_error_message_of_the_exchange_is_told_and_the_stream_goes_on(
    exchange: SimulatorProcess, hooks: Hooks
) -> None:
    memory = Memory()
    async with venue_at(exchange.url, hooks=hooks) as venue, venue.watching(BTC, memory):
        await memory.get(10)
        error = json.dumps({"error": {"code": 2, "msg": "Invalid request: no reason"}})
        await exchange.fault("stream", "ws_malformed", count=1, text=error)
        await memory.until(lambda: "rejected" in memory.told)
        await memory.get(len(memory.items) + 50)
    counted(memory.items)
    assert memory.told == ["connected", "rejected"]
    assert "Invalid request: no reason" in memory.reasons[1]


@pytest.mark.parametrize("hooks", PATHS.values(), ids=PATHS.keys())
async def test_a_sink_that_raises_is_told_and_gets_the_next_ones(exchange: SimulatorProcess, hooks: Hooks) -> None:
    class Clumsy(Memory):
        def take(self, items: Sequence[Any], received: int) -> None:
            if not self.told.count("rejected"):
                raise ZeroDivisionError("clumsy")
            super().take(items, received)

    memory = Clumsy()
    async with venue_at(exchange.url, hooks=hooks) as venue, venue.watching(BTC, memory):
        counted(await memory.get(50))
    assert memory.told == ["connected", "rejected"]
    assert "clumsy" in memory.reasons[1]


@pytest.mark.parametrize("hooks", PATHS.values(), ids=PATHS.keys())
async def test_a_cut_is_told_at_once_and_data_comes_again(exchange: SimulatorProcess, hooks: Hooks) -> None:
    memory = Memory()
    async with venue_at(exchange.url, hooks=hooks) as venue, venue.watching(BTC, memory):
        for cut in range(1, 4):
            await memory.get(len(memory.items) + 10)
            await exchange.fault("stream", "ws_cut", seconds=0.3)
            await memory.until(lambda: memory.told.count("connected") == cut + 1)  # noqa: B023
            await memory.get(len(memory.items) + 10)
    assert memory.told == ["connected"] + ["disconnected", "connected"] * 3


async def test_all_feeds_of_a_socket_are_told_of_its_end(exchange: SimulatorProcess) -> None:
    memories = [Memory(), Memory()]
    async with venue_at(exchange.url) as venue:
        venue.rest.options["streamLimits"]["spot"] = 1
        async with venue.watching(BTC, memories[0]), venue.watching(BTC._replace(symbol="ETH/USDT"), memories[1]):
            for memory in memories:
                await memory.get(5)
            await exchange.fault("stream", "ws_cut", seconds=0.2)
            for memory in memories:
                await memory.until(lambda: memory.told == ["connected", "disconnected", "connected"])  # noqa: B023


@pytest.mark.parametrize(
    ("kind", "streams"),
    [
        ("trade", {"btcusdt@aggTrade"}),
        ("book", {"btcusdt@depth@100ms"}),
        ("ticker", {"btcusdt@ticker", "btcusdt@bookTicker"}),
        ("candle", {"btcusdt@kline_1s"}),
    ],
)
@pytest.mark.parametrize("hooks", PATHS.values(), ids=PATHS.keys())
async def test_what_nobody_watches_any_more_is_unsubscribed_and_can_be_watched_again(
    exchange: SimulatorProcess, kind: Any, streams: set[str], hooks: Hooks
) -> None:
    feed = Feed(kind, "binance", "BTC/USDT", "1s" if kind == "candle" else None)
    async with venue_at(exchange.url, hooks=hooks) as venue:
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


async def test_a_silent_socket_is_opened_again(exchange: SimulatorProcess) -> None:
    memory = Memory()
    async with venue_at(exchange.url, silence_s=0.5) as venue, venue.watching(BTC, memory):
        await memory.get(10)
        await exchange.fault("stream", "ws_silent")
        await memory.until(lambda: "disconnected" in memory.told)
        assert "silent for" in memory.reasons[1]
        await exchange.clear()
        await memory.until(lambda: memory.told[-1] == "connected")
        await memory.get(len(memory.items) + 10)


async def test_a_feed_that_falls_silent_on_a_living_socket_is_subscribed_again() -> None:
    async with running_simulator("--live-rate", "0.01") as exchange:
        memory = Memory()
        async with venue_at(exchange.url, feed_silence_s=0.5) as venue, venue.watching(BTC, memory):
            await memory.until(lambda: memory.told[:3] == ["connected", "disconnected", "connected"])
        assert "silent for" in memory.reasons[1]
        events = [entry["event"] for entry in await exchange.log("/ws/") if entry.get("streams")]
        assert events[:3] == ["subscribe", "unsubscribe", "subscribe"]


async def test_a_socket_that_only_answers_pings_is_alive() -> None:
    async with running_simulator("--live-rate", "0.01") as exchange:
        memory = Memory()
        async with venue_at(exchange.url, silence_s=0.4) as venue, venue.watching(BTC, memory):
            await memory.until(lambda: memory.told == ["connected"])
            with pytest.raises(AssertionError, match="did not come"):
                await memory.until(lambda: len(memory.told) > 1, timeout_s=1.5)


async def test_what_is_not_there_is_refused_with_what_is(exchange: SimulatorProcess) -> None:
    async with venue_at(exchange.url) as venue:
        with pytest.raises(UnknownSymbol, match=r"did you mean .*BTC/USDT"):
            await venue.check(Feed("trade", "binance", "BTC/USDX"))
        with pytest.raises(UnsupportedTimeframe, match=r"it has .*1w"):
            await venue.check(Feed("candle", "binance", "BTC/USDT", "7d"))
        for timeframe in ("1s", "7200s", "45m", "1d", "1w", "1M"):
            await venue.check(Feed("candle", "binance", "BTC/USDT", timeframe))
        with pytest.raises(UnknownSymbol):
            async with venue.watching(Feed("trade", "binance", "BTC/USDX"), Memory()):
                await asyncio.Event().wait()
        assert (await venue.market("BTC/USDT"))["id"] == "BTCUSDT"


async def test_a_kind_that_a_venue_does_not_offer_is_refused(exchange: SimulatorProcess) -> None:
    async with venue_at(exchange.url, "coinbaseinternational") as venue:
        venue.rest.has["watchTicker"] = False
        with pytest.raises(UnsupportedKind, match="it has trade"):
            await venue.check(Feed("ticker", "coinbaseinternational", "BTC/USDC"))


async def test_the_markets_are_asked_for_once_by_many(exchange: SimulatorProcess) -> None:
    async with venue_at(exchange.url) as venue:
        await asyncio.gather(*(venue.market("BTC/USDT") for _ in range(20)))
    assert len(await exchange.log("exchangeInfo")) == 1


async def test_a_venue_that_is_down_says_so_and_is_asked_again(exchange: SimulatorProcess) -> None:
    async with venue_at(exchange.url) as venue:
        await exchange.fault("exchangeInfo", "status", code=503)
        with pytest.raises(ExchangeFailed, match="503"):
            await venue.market("BTC/USDT")
        memory = Memory()
        async with venue.watching(BTC, memory):
            await memory.until(lambda: memory.told == ["disconnected"])
            await exchange.clear()
            await memory.get(10)
        assert memory.told == ["disconnected", "connected"]


async def test_the_clock_is_the_exchange_s_and_asked_for_once_a_minute(exchange: SimulatorProcess) -> None:
    hour = 3_600_000
    real = await exchange.clock(advance=hour)
    async with venue_at(exchange.url) as venue:
        assert abs(await venue.now() - real["now"]) < 2_000
        await asyncio.gather(*(venue.now() for _ in range(20)))
    assert len(await exchange.log("/time")) == 1


async def test_a_user_s_own_options_win(exchange: SimulatorProcess) -> None:
    from support.venues import settings
    from tickwire.streamer.venue import merged, open_venue

    chosen = settings(exchange.url)
    own = chosen.exchange["binance"]
    table = merged(own.ccxt, {"options": {"watchTrades": {"name": "trade"}}})
    changed = chosen.model_copy(update={"exchange": {"binance": own.model_copy(update={"ccxt": table})}})
    async with open_venue("binance", changed) as venue:
        memory = Memory()
        async with venue.watching(BTC, memory):
            trades = list(await memory.get(100))
        counted(trades)
        log = await exchange.log("/ws/")
        assert [entry["streams"] for entry in log if entry["event"] in ("subscribe", "unsubscribe")] == [
            ["btcusdt@trade"]
        ] * 2


def test_a_venue_is_what_the_desk_expects() -> None:
    from tickwire.streamer import desk

    def expected(venue: desk.Venue) -> None: ...

    def given(venue: Venue) -> None:
        expected(venue)
