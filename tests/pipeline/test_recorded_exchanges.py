"""Recorded exchanges played through real sockets to a real streamer: what comes out is what the recorded lines say.

What is expected is made of those lines by rules that can be checked by hand (`pipeline.recorded_messages`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec import Struct

from pipeline.recorded_messages import Recorded, candle, recorded_markets
from support import live
from support.hearing import Heard, hearing, reports
from support.pipeline import pipeline
from support.processes import running_simulator
from tickwire.bus.connection import Bus
from tickwire.model.feeds import (
    Book,
    BookDelta,
    BookDeltas,
    Candle,
    Feed,
    FeedReport,
    StartRequest,
    Status,
    Ticker,
    Trade,
    Trades,
)

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("declared")]

T = TypeVar("T", bound=Struct)

CONFIG = """
[exchange.binance]
gateway = "{gateway}"
[exchange.binance.ccxt]
has = {{ fetchTime = false }}
enableRateLimit = false
options = {{ fetchMarkets = {{ types = ["MARKETS"] }}, defaultType = "TYPE" }}
[exchange.binanceusdm]
gateway = "{gateway}"
[exchange.binanceusdm.ccxt]
has = {{ fetchTime = false }}
enableRateLimit = false
[streamer]
cadence_ms = 0
candle_ms = 0
"""
SPOT = {"NKN/USDT": "NKNUSDT", "BLZ/ETH": "BLZETH", "LRC/BTC": "LRCBTC", "RUNE/EUR": "RUNEEUR"}
FUTURES = {f"{base}/USDT:USDT": f"{base}USDT" for base in ("SUSHI", "AKRO", "KEEP", "CTK")}
COUNTED = {"BINANCE": (2, 177, 84), "BINANCE_FUTURES": (91, 764, 613)}
"""Trades, changes of books and best prices, counted in the files with grep."""
WHOLE_KLINES = {"BINANCE": 1, "BINANCE_FUTURES": 15}
"""Recorded candles of which every trade was recorded, too."""
DEPTH = 100
SPEED = 20
"""How much faster than it was recorded: 45 and 30 s."""
MINUTE_MS = 60_000


@dataclass
class Streams:
    """What a subscriber heard of all markets."""

    trades: Heard[Trades]
    books: Heard[Book]
    deltas: Heard[BookDeltas]
    tickers: Heard[Ticker]
    candles: Heard[Candle]
    statuses: Heard[Status]


async def listen(bus: Bus, exchange: str, stack: AsyncExitStack) -> Streams:
    async def hear(kind: str, type_: type[T]) -> Heard[T]:
        return await stack.enter_async_context(hearing(bus, f"md.{kind}.{exchange}.>", type_))

    return Streams(
        await hear("trade", Trades),
        await hear("book", Book),
        await hear("book_delta", BookDeltas),
        await hear("ticker", Ticker),
        await hear("candle", Candle),
        await stack.enter_async_context(hearing(bus, f"md.status.*.{exchange}.>", Status)),
    )


async def start_all(bus: Bus, exchange: str, symbol: str) -> None:
    for kind in ("trade", "ticker"):
        await live.start(bus, Feed(kind, exchange, symbol))
    await live.start(bus, Feed("candle", exchange, symbol, "1m"))
    book = StartRequest(
        kind="book", exchange=exchange, symbol=symbol, subscriber="test", depth=DEPTH, cadence_ms=0, deltas=True
    )
    await bus.request("streamer.start", book, FeedReport, timeout_s=60)


def of(said: list[Any], symbol: str) -> list[Any]:
    return [each for each in said if each.symbol == symbol]


@pytest.mark.parametrize(
    ("exchange", "name", "symbols"),
    [
        ("binance", "BINANCE", SPOT),
        ("binanceusdm", "BINANCE_FUTURES", FUTURES),
        ("binance", "BINANCE_FUTURES", FUTURES),
    ],
    ids=["spot", "usd-m", "usd-m as a part of binance"],
)
async def test_what_comes_out_is_what_was_recorded(
    recorded: Path, broker: str, tmp_path: Path, exchange: str, name: str, symbols: Mapping[str, str]
) -> None:
    """Trades, books, their changes, best prices and candles of all markets at once."""
    prefix = recorded / "wire" / name
    markets = recorded_markets(prefix)
    assert markets.keys() == set(symbols.values())
    lines = zip(*((market.trades, market.diffs, market.best) for market in markets.values()), strict=True)
    assert tuple(sum(map(len, found)) for found in lines) == COUNTED[name]
    # Played so fast, the exchange has no clock that goes as ours does: its time is unknown.
    markets_type, default_type = ("spot", "spot") if symbols is SPOT else ("linear", "future")
    config = CONFIG.replace("MARKETS", markets_type).replace("TYPE", default_type)
    async with (
        running_simulator("--play-wire", str(prefix)) as simulator,
        pipeline(broker, simulator, tmp_path, ("streamer",), config, lease_ttl_s=10) as line,
        AsyncExitStack() as stack,
    ):
        heard = await listen(line.bus, exchange, stack)
        for symbol in symbols:
            await start_all(line.bus, exchange, symbol)
        sockets = {(kind, symbol) for kind in ("trade", "book", "ticker") for symbol in symbols}
        await heard.statuses.until_said(
            lambda said: {(each.kind, each.symbol) for each in said if each.event == "connected"} >= sockets
        )
        # The first change of a book has its snapshot fetched.
        played = 0
        for symbol, market_id in sorted(symbols.items(), key=lambda each: markets[each[1]].first_diff):
            await simulator.order("wire", speed=None, count=markets[market_id].first_diff - played)
            played = markets[market_id].first_diff
            await heard.books.until_said(lambda said, symbol=symbol: of(said, symbol)[-1].state == "live")  # type: ignore[misc]
        await simulator.order("wire", speed=SPEED)
        for symbol, market_id in symbols.items():
            await until_all_came(heard, symbol, markets[market_id])
        for symbol, market_id in symbols.items():
            market = markets[market_id]
            assert_trades(of(heard.trades.said, symbol), market)
            assert_books(of(heard.books.said, symbol), market)
            assert_deltas(of(heard.deltas.said, symbol), market)
            assert_tickers(of(heard.tickers.said, symbol), market)
            assert_candles(of(heard.candles.said, symbol), market)
        assert sum(len(market.whole_klines) for market in markets.values()) == WHOLE_KLINES[name]
        for report in await reports(line.bus):
            assert (report.rejected, report.duplicates, report.reconnects) == (0, 0, 0)


async def until_all_came(heard: Streams, symbol: str, market: Recorded) -> None:
    """Wait for what the last lines of each kind say."""
    trades, diffs, best = market.trades, market.applicable, market.best
    if trades:
        last = trades[-1]
        minute = [trade for trade in trades if trade["T"] // MINUTE_MS == last["T"] // MINUTE_MS]
        await heard.trades.until_said(
            lambda said: any(each.trades and each.trades[-1].id == str(last["a"]) for each in of(said, symbol))
        )
        await heard.candles.until_said(
            lambda said: (
                [(each.timestamp, each.trades) for each in of(said, symbol)][-1:]
                == [(last["T"] // MINUTE_MS * MINUTE_MS, len(minute))]
            )
        )
    await heard.books.until_said(lambda said: of(said, symbol)[-1].sequence == diffs[-1]["u"])
    await heard.deltas.until_said(
        lambda said: [each.deltas[-1].last for each in of(said, symbol) if each.deltas][-1:] == [diffs[-1]["u"]]
    )
    await heard.tickers.until_said(lambda said: updates(of(said, symbol)) == len(best))


def assert_trades(said: list[Trades], market: Recorded) -> None:
    """Each line once, in order, with the numbers that its text has."""
    assert [trade for each in said for trade in each.trades] == [
        # `m`: the buyer is the maker, so that the taker sold.
        Trade(
            id=str(event["a"]),
            timestamp=event["T"],
            side="sell" if event["m"] else "buy",
            price=float(event["p"]),
            amount=float(event["q"]),
        )
        for event in market.trades
    ]
    assert {(each.gap, each.source) for each in said} <= {(None, "live")}


def assert_books(said: list[Book], market: Recorded) -> None:
    """Every book is that of the snapshot and the changes up to its number; once there is one, there always is."""
    while said[0].state == "resyncing":
        said = said[1:]
    naive, diffs = market.book(), iter(market.applicable)
    for place, book in enumerate(said):
        changes = 0
        while naive.sequence != book.sequence:
            naive.apply(event := next(diffs))
            changes += 1
        assert (book.state, book.depth) == ("live", DEPTH)
        assert (book.bids, book.asks) == naive.top(DEPTH)
        if place:
            assert book.timestamp == event["E"]
            assert book.conflated == changes - 1
    assert next(diffs, None) is None


def assert_deltas(said: list[BookDeltas], market: Recorded) -> None:
    """The whole book at first, then every change, each with the levels of its line."""
    first, *deltas = [delta for each in said for delta in each.deltas]
    naive, left = market.book(), market.applicable
    while naive.sequence != first.last:
        naive.apply(left.pop(0))
    assert first.snapshot
    assert (first.bids, first.asks) == naive.top()
    before = first.last
    for delta, event in zip(deltas, left, strict=True):
        assert delta == BookDelta(
            first=before + 1,
            last=event["u"],
            timestamp=event["E"],
            bids=[(float(price), float(amount)) for price, amount in event["b"]],
            asks=[(float(price), float(amount)) for price, amount in event["a"]],
        )
        before = delta.last


def updates(said: list[Ticker]) -> int:
    """How many updates went into tickers: one each, and those that were conflated."""
    return sum(1 + each.conflated for each in said if each.bid is not None)


def assert_tickers(said: list[Ticker], market: Recorded) -> None:
    """A ticker is the line of best prices that it came with; lines in between are counted."""
    place = 0
    for ticker in said:
        if ticker.bid is None:
            # Said by a new owner that knows of none yet.
            assert place == 0
            continue
        place += 1 + ticker.conflated
        event = market.best[place - 1]
        expected = tuple(float(event[letter]) for letter in "bBaA")
        assert (ticker.bid, ticker.bid_amount, ticker.ask, ticker.ask_amount) == expected
        # Spot's best prices come without a time.
        assert ticker.timestamp == max((each["T"] for each in market.best[:place] if "T" in each), default=None)
    assert place == len(market.best)


def assert_candles(said: list[Candle], market: Recorded) -> None:
    """Each candle is made of the first so many trades of its minute; it closes with all of them."""
    minutes = {
        minute * MINUTE_MS: list(trades)
        for minute, trades in groupby(market.trades, lambda each: each["T"] // MINUTE_MS)
    }
    assert [each.timestamp for each in said if each.closed] == list(minutes)[:-1]
    for each in said:
        trades = minutes[each.timestamp]
        shown = (each.open, each.high, each.low, each.close, each.volume, each.trades)
        assert shown == candle(trades[: each.trades])
        assert each.trades == len(trades) or not each.closed
        # The recording begins within the first minute.
        assert each.complete == (each.timestamp != min(minutes))
    assert [each.timestamp for each in said] == sorted(each.timestamp for each in said)
    for kline, trades in market.whole_klines:
        theirs = tuple(float(kline[name]) for name in "ohlcv")
        assert candle(trades)[:5] == theirs
        for each in said:
            if each.timestamp == kline["t"] and each.trades == len(trades):
                assert (each.open, each.high, each.low, each.close, each.volume) == theirs
