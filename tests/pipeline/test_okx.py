"""OKX, whose ids do not count and whose book comes on the socket, through every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support import live
from support.hearing import hearing
from support.pipeline import OKX_CONFIG, SHORT_S, Pipeline, pipeline
from support.processes import SimulatorProcess
from tickwire.model.feeds import Book, Candle, Feed, Ticker, Trade
from tickwire.model.subjects import Key

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("declared")]

BTC = Feed("trade", "okx", "BTC/USDT")
SOCKET = "/ws.okx.com"
RATE = 250
"""Trades per second."""


@pytest.fixture
async def line(broker: str, busy: SimulatorProcess, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """One streamer on that simulator."""
    async with pipeline(broker, busy, tmp_path, ("streamer",), OKX_CONFIG, SHORT_S) as running:
        yield running


async def streams(exchange: SimulatorProcess, event: str) -> set[str]:
    return {name for entry in await exchange.log("/ws/") if entry["event"] == event for name in entry["streams"]}


async def assert_true(exchange: SimulatorProcess, book: Book) -> None:
    """A live book has the exchange's own best prices: those around its last trade before that time."""
    assert book.timestamp is not None
    last = (await each_trade(exchange, "BTC/USDT", book.timestamp - 2_000, book.timestamp))[-1]
    best = (book.bids if last.side == "sell" else book.asks)[0]
    assert best[0] == last.price
    assert book.asks[0][0] - book.bids[0][0] == pytest.approx(0.01)
    assert (len(book.bids), len(book.asks)) == (20, 20)


async def each_trade(exchange: SimulatorProcess, symbol: str, since: int, until: int) -> list[Trade]:
    """The trades in `[since, until)` (ms), each by itself, as REST tells them."""
    return [_trade(row, row["id"]) for row in await exchange.truth("trades", symbol=symbol, since=since, until=until)]


async def matches(exchange: SimulatorProcess, symbol: str, since: int, last: int) -> list[tuple[Trade, int]]:
    """What the channel says from `since` (ms) to the trade of id `last`, and the first id that is in each."""
    first = (await exchange.truth("trades", symbol=symbol, since=since, until=since + 10_000))[0]["agg"]
    found: list[Any] = []
    while not found or found[-1]["last_id"] < last:
        page = await exchange.truth("aggregates", symbol=symbol, fromId=first, limit=1_000)
        assert page, f"the exchange has no trade {last}"
        found += page
        first = page[-1]["id"] + 1
    return [(_trade(row, row["last_id"]), row["first_id"]) for row in found]


async def assert_every_trade_once(exchange: SimulatorProcess, symbol: str, trades: list[Trade]) -> None:
    """Each trade of the exchange from the first to the last is in them exactly once, in order.

    Live ones may be several in one, as the channel says them; those of REST are each by themselves.
    """
    assert trades, "there is no trade"
    since, until = trades[0].timestamp, trades[-1].timestamp + 1
    single = {trade.id: trade for trade in await each_trade(exchange, symbol, since, until)}
    several = {
        trade.id: (trade, first) for trade, first in await matches(exchange, symbol, since, int(trades[-1].id or 0))
    }
    following: int | None = None
    for trade in trades:
        number = int(trade.id or 0)
        if trade == single.get(trade.id):
            first = number
        else:
            assert trade.id in several, f"the exchange never said {trade}"
            whole, first = several[trade.id]
            assert trade == whole
        assert following in (None, first), f"{trade} follows {following}"
        following = number + 1


def _trade(row: Any, id_: int) -> Trade:
    return Trade(id=str(id_), timestamp=row["timestamp"], side=row["side"], price=row["price"], amount=row["amount"])


async def test_candles_are_fetched_into_the_cache_value_for_value(
    broker: str, busy: SimulatorProcess, tmp_path: Path
) -> None:
    key, now = Key("okx", "ETH/USDT", "1h"), (await busy.clock())["now"]
    since = now // 3_600_000 * 3_600_000 - 2_000 * 3_600_000
    async with pipeline(broker, busy, tmp_path, ("cache", "fetcher"), OKX_CONFIG) as line:
        job = await line.fetch(key, since)
        assert (job.state, job.complete, job.missing) == ("done", True, [])
        rows = line.rows(key)
    assert len(rows) == 2_000
    truth = await busy.truth("candles", symbol="ETH/USDT", timeframe="1h", since=since, until=rows[-1][0] + 1)
    assert rows == [tuple(row[:6]) for row in truth]
    assert {entry["path"] for entry in await busy.log("candles")} == {
        "/api/v5/market/candles",
        "/api/v5/market/history-candles",
    }


async def test_an_unknown_symbol_is_refused_in_one_line(broker: str, busy: SimulatorProcess, tmp_path: Path) -> None:
    async with pipeline(broker, busy, tmp_path, ("fetcher", "cache"), OKX_CONFIG) as line:
        job = await line.fetch(Key("okx", "BTC/USDX", "1h"), 0)
    assert job.state == "failed"
    assert job.error is not None
    assert "okx does not list BTC/USDX" in job.error.message
    assert "BTC/USDT" in job.error.remedy


async def test_two_cuts_lose_and_repeat_nothing(line: Pipeline, busy: SimulatorProcess) -> None:
    async with live.seeing(line.bus, BTC) as seen, live.statuses(line.bus, BTC) as heard:
        await live.start(line.bus, BTC)
        await seen.until(lambda: len(seen.trades) > RATE)
        # REST gives the newest 500 at once, which are those of two seconds, and older ones page by page.
        for cut, seconds in ((1, 1.0), (2, 3.0)):
            await busy.fault(SOCKET, "ws_cut", seconds=seconds)
            assert (await live.status(heard, "repaired", cut)).trades > RATE / 2
            enough = len(seen.trades) + RATE
            await seen.until(lambda enough=enough: len(seen.trades) > enough)  # type: ignore[misc]
        tape = await live.on_tape(line.bus, BTC)
    assert tape.gaps == []
    await assert_every_trade_once(busy, "BTC/USDT", tape.trades)
    assert seen.broken == []
    assert seen.trades == tape.trades[: len(seen.trades)]


async def test_what_the_exchange_repeats_is_not_repeated(line: Pipeline, busy: SimulatorProcess) -> None:
    async with live.seeing(line.bus, BTC) as seen:
        await live.start(line.bus, BTC)
        for _ in range(3):
            enough = len(seen.trades) + RATE // 2
            await seen.until(lambda enough=enough: len(seen.trades) > enough)  # type: ignore[misc]
            await busy.fault(SOCKET, "ws_duplicate", count=50)
        enough = len(seen.trades) + RATE
        await seen.until(lambda: len(seen.trades) > enough)
        tape = await live.on_tape(line.bus, BTC)
    assert tape.gaps == []
    await assert_every_trade_once(busy, "BTC/USDT", tape.trades)


async def test_kill_9_of_the_streamer_loses_nothing_when_another_takes_over(
    line: Pipeline, busy: SimulatorProcess
) -> None:
    async with live.seeing(line.bus, BTC) as seen:
        await busy.order("rate", symbol="BTC/USDT", rate=100)
        await live.start(line.bus, BTC)
        await seen.until(lambda: len(seen.trades) > 40)
        await line.kill("streamer", 0)
        await line.start("streamer", 1)
        await seen.until(lambda: seen.repaired > 0)
        enough = len(seen.trades) + 80
        await seen.until(lambda: len(seen.trades) > enough)
        tape = await live.on_tape(line.bus, BTC)
    assert tape.gaps == []
    # A lease of a second outlives its holder by three quarters of one, at least.
    assert tape.repaired > 40
    await assert_every_trade_once(busy, "BTC/USDT", tape.trades)
    assert seen.broken == []


async def test_what_rest_does_not_go_back_to_is_a_gap_with_its_bounds(line: Pipeline, busy: SimulatorProcess) -> None:
    async with live.seeing(line.bus, BTC) as seen, live.statuses(line.bus, BTC) as heard:
        await live.start(line.bus, BTC)
        await seen.until(lambda: len(seen.trades) > RATE)
        await busy.fault(SOCKET, "ws_cut", seconds=2)
        newest = (await busy.truth("trades", symbol="BTC/USDT", since=seen.trades[-1].timestamp))[-1]["id"]
        # Some of them can have the time of the first that REST still has.
        forgotten = RATE + 100
        await busy.fault("market/", "rest_forgets", symbol="BTC/USDT", from_id=0, to_id=newest + forgotten)
        gap = (await live.status(heard, "gap")).gap
        assert gap is not None
        end = (gap.until or 0) + 1_000
        await seen.until(lambda: len(seen.gaps) == 1 and seen.trades[-1].timestamp > end)
        tape = await live.on_tape(line.bus, BTC)
    assert seen.gaps == tape.gaps == [gap]
    assert "does not go back far enough" in gap.reason
    place = next(place for place, trade in enumerate(tape.trades) if trade.id == gap.before_id)
    before, after = tape.trades[:place], tape.trades[place:]
    assert (before[-1].id, before[-1].timestamp, after[0].timestamp) == (gap.after_id, gap.since, gap.until)
    missing = await each_trade(busy, "BTC/USDT", before[-1].timestamp, after[0].timestamp)
    assert len(missing) > RATE
    for part in (before, after):
        await assert_every_trade_once(busy, "BTC/USDT", part)


async def test_candles_built_from_trades_are_the_exchange_s_own(line: Pipeline, busy: SimulatorProcess) -> None:
    feed = Feed("candle", "okx", "BTC/USDT", "1s")
    async with hearing(line.bus, feed.public, Candle) as candles:
        await live.start(line.bus, feed)
        await candles.until(lambda: len([each for each in candles.said if each.closed and each.complete]) > 1)
        await busy.fault(SOCKET, "ws_cut", seconds=0.5)
        await candles.until(lambda: len([each for each in candles.said if each.closed and each.complete]) > 6)
    closed = {each.timestamp: each for each in candles.said if each.closed and each.complete}
    truth = await busy.truth("candles", symbol="BTC/USDT", timeframe="1s", since=min(closed), until=max(closed) + 1)
    assert len(truth) == len(closed)
    for row in truth:
        built = closed[row[0]]
        assert [built.open, built.high, built.low, built.close, built.volume] == row[1:6]


async def test_a_ticker_is_what_the_exchange_says(line: Pipeline, busy: SimulatorProcess) -> None:
    feed = Feed("ticker", "okx", "BTC/USDT")
    async with hearing(line.bus, feed.public, Ticker) as tickers:
        await live.start(line.bus, feed)
        await tickers.until(lambda: len([each for each in tickers.said if each.last]) > 3)
    last = [each for each in tickers.said if each.last][-1]
    assert last.timestamp is not None
    traded = await each_trade(busy, "BTC/USDT", last.timestamp - 1_000, last.timestamp + 1)
    assert last.last in {trade.price for trade in traded}
    assert last.bid is not None
    assert last.ask is not None
    assert last.bid < last.ask


async def test_a_book_is_the_exchange_s_and_is_never_stale_after_a_hole(line: Pipeline, busy: SimulatorProcess) -> None:
    feed = Feed("book", "okx", "BTC/USDT")
    async with hearing(line.bus, feed.public, Book) as books, live.statuses(line.bus, feed) as heard:
        await live.start(line.bus, feed)
        await books.until(lambda: len([each for each in books.said if each.state == "live"]) > 5)
        for hole in (1, 2):
            await busy.fault("books:BTC-USDT", "ws_skip", count=1)
            await live.status(heard, "disconnected", hole)
            await live.status(heard, "repaired", hole)
            had = len(books.said)
            await books.until(lambda had=had: len(books.said) > had + 5)  # type: ignore[misc]
    states = [each.state for each in books.said]
    assert states.count("resyncing") >= 3
    for book in books.said:
        if book.state == "live":
            assert book.timestamp is not None
            await assert_true(busy, book)
        else:
            assert (book.bids, book.asks) == ([], [])


async def test_what_nobody_wants_any_more_is_unsubscribed(line: Pipeline, busy: SimulatorProcess) -> None:
    feeds = [BTC, Feed("book", "okx", "ETH/USDT"), Feed("candle", "okx", "SOL/USDT", "1m")]
    for feed in feeds:
        await live.start(line.bus, feed, "one")
    async with asyncio.timeout(100):
        while await streams(busy, "subscribe") != {"trades:BTC-USDT", "books:ETH-USDT", "trades:SOL-USDT"}:
            await asyncio.sleep(0.05)
        for feed in feeds:
            await live.stop(line.bus, feed, "one")
        while await streams(busy, "unsubscribe") != await streams(busy, "subscribe"):
            await asyncio.sleep(0.05)
