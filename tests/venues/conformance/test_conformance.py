"""What works on each proven venue, through every process: the results stand in docs/venues.md.

The checks of one case run in this order, on one stand: the feeds are live from the beginning, a minute passes, then
the sockets are cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from support import live
from support.hearing import hearing
from tickwire.errors import TickwireError, UnknownSymbol
from tickwire.exchange import opening
from tickwire.model import timeframes
from tickwire.model.feeds import Book, Candle, MarketReport, MarketRequest, Ticker
from tickwire.model.messages import Row
from tickwire.model.subjects import Key
from tickwire.venues.registry import profile_of
from venues.conformance.stand import DAY, MINUTE, RATE, Stand

pytestmark = [
    pytest.mark.system,
    pytest.mark.conformance,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
]

Differs = Callable[[str], None]
HOUR = 60 * MINUTE
PATIENCE_S = 200
LEVELS = 10


@pytest.mark.check("markets")
async def test_a_market_is_described_as_the_venue_lists_it(venue: Stand) -> None:
    request = MarketRequest(exchange=venue.case.exchange, symbol=venue.case.symbol)
    found = await venue.line.bus.request("streamer.market", request, MarketReport, timeout_s=60)
    true = await venue.truth("market")
    assert (found.kind, found.inverse) == (venue.case.kind, venue.case.kind == "inverse")
    if venue.case.kind != "spot":
        # A venue may state amounts of contract markets in base or quote currency: then one unit is one of that.
        assert found.multiplier == true["unit"]
    assert found.price_step == true["tick"]
    assert found.market_id


@pytest.mark.check("trades")
async def test_each_live_trade_of_two_markets_arrives_once(venue: Stand) -> None:
    for symbol in (venue.case.symbol, venue.case.other):
        feed = venue.feed("trade", symbol)
        async with live.seeing(venue.line.bus, feed) as seen:
            await seen.until(lambda seen=seen: len(seen.trades) > 2 * RATE, PATIENCE_S)  # type: ignore[misc]
        tape = await live.on_tape(venue.line.bus, feed)
        assert (tape.gaps, tape.broken) == ([], [])
        await venue.assert_each_trade_once(symbol, tape.trades)


@pytest.mark.check("burst")
async def test_3000_trades_in_one_write_all_arrive(venue: Stand) -> None:
    bursts = [await venue.simulator.order("burst", symbol=each, count=1_500, ms=5) for each in venue.case.underlying]
    for symbol, burst in zip((venue.case.symbol, venue.case.other), bursts, strict=True):
        feed = venue.feed("trade", symbol)
        async with live.seeing(venue.line.bus, feed) as seen:
            after = burst["until"] + 500
            await seen.until(
                lambda seen=seen, after=after: seen.trades and seen.trades[-1].timestamp > after,  # type: ignore[misc]
                PATIENCE_S,
            )
        tape = await live.on_tape(venue.line.bus, feed)
        assert tape.gaps == []
        await venue.assert_each_trade_once(symbol, tape.trades)


@pytest.mark.check("ticker")
async def test_the_ticker_is_the_market_s(venue: Stand, differs: Differs) -> None:
    feed, absent = venue.feed("ticker"), profile_of(venue.case.exchange).tickers.absent
    wanted = [name for name in ("last", "bid", "ask") if name not in absent] or ["mark", "mid"]
    async with hearing(venue.line.bus, feed.public, Ticker) as heard:
        said = await heard.first(lambda each: all(getattr(each, name) for name in wanted), timeout_s=PATIENCE_S)
    now = await venue.now()
    prices = {each.price for each in await venue.traded(now - 30_000, now)}
    if not absent:
        assert said.bid is not None
        assert said.ask is not None
        assert said.bid < said.ask
        assert said.last in prices
        return
    # What the venue does not send is not filled in by something else; what it sends is the market's.
    assert all(getattr(said, name) is None for name in absent)
    tick = (await venue.truth("market"))["tick"]
    assert all(min(prices) - tick <= getattr(said, name) <= max(prices) + tick for name in wanted)
    differs(f"without {', '.join(absent)}: {', '.join(wanted)}")


@pytest.mark.check("refusals")
async def test_refused_requests_are_named_and_end_nothing_else(venue: Stand) -> None:
    line, now = venue.line, await venue.now()
    unlisted = venue.case.symbol.replace(venue.case.symbol.partition("/")[0], "NOSUCH", 1)
    job = await line.fetch(Key(venue.case.exchange, unlisted, "1h"), now - DAY, now)
    assert (job.state, job.error.code if job.error else None) == ("failed", "unknown_symbol")
    with pytest.raises(UnknownSymbol):
        await live.start(line.bus, venue.feed("trade", unlisted))
    with pytest.raises(TickwireError, match="1Y"):
        await live.start(line.bus, venue.feed("candle", timeframe="1Y"))
    # A venue that is busy, then has limits, then answers.
    await venue.simulator.fault("", "status", code=503, count=2)
    await venue.simulator.fault("", "status", code=429, count=1, retry_after=1)
    since = now // HOUR * HOUR - 20 * HOUR
    job = await line.fetch(Key(venue.case.exchange, venue.case.other, "1h"), since, since + 10 * HOUR)
    assert (job.state, job.complete) == ("done", True), job
    assert job.retries > 0
    # An error frame that refers to nothing.
    await venue.simulator.fault("", "ws_error")
    async with live.seeing(line.bus, venue.feed("trade")) as seen:
        await seen.until(lambda: len(seen.trades) > RATE, PATIENCE_S)


async def aggregated(venue: Stand, opens: list[int], fine: str) -> list[Row]:
    """The market's candles between each two of these times, from its finer ones."""
    rows = await venue.truth("candles", timeframe=fine, since=opens[0], until=opens[-1])
    found: list[Row] = []
    for opened, closed in pairwise(opens):
        # An interval without a trade has volume 0 and no high or low of its own.
        part = [row for row in rows if opened <= row[0] < closed and row[5]]
        if part:
            volume = sum(row[5] for row in part)
            found.append((opened, part[0][1], max(row[2] for row in part), min(row[3] for row in part), part[-1][4],
                          volume))  # fmt: skip
    return found


def assert_same(rows: list[Row], true: list[Row]) -> None:
    """Candles with trades are equal; the volume to the venue's own precision."""
    traded = [row for row in rows if row[5]]
    assert [row[:5] for row in traded] == [row[:5] for row in true]
    assert [row[5] for row in traded] == pytest.approx([row[5] for row in true], rel=1e-6)


@pytest.mark.check("history")
async def test_candles_of_every_timeframe_equal_the_venue_s_own(venue: Stand) -> None:
    now, jobs = await venue.now(), {}
    listed = opening.timeframes(venue.case.exchange)
    offered = profile_of(venue.case.exchange).candles.offered(listed, venue.case.kind)
    for timeframe in set(listed) - set(offered):
        job = await venue.line.fetch(Key(venue.case.exchange, venue.case.symbol, timeframe), now - DAY, now)
        assert (job.state, job.error.code if job.error else None) == ("failed", "unsupported_timeframe")
    for timeframe in offered:
        width = timeframes.duration_ms(timeframe)
        # The end is in a candle that has closed and settled, also where months are longer than others.
        since, until = max(venue.listed, now - (32 if width < DAY else 12) * width), now - 2 * width - 3 * MINUTE
        if width >= MINUTE and since < until:
            key = Key(venue.case.exchange, venue.case.symbol, timeframe)
            jobs[key] = await venue.line.submit(key, since, until)
    for key, watch in jobs.items():
        job = await watch.result(PATIENCE_S)
        assert (job.state, job.complete, job.error) == ("done", True, None), job
        rows = [row for row in venue.line.rows(key) if job.since <= row[0] < job.until]
        assert len(rows) > 1 or timeframes.duration_ms(key.timeframe) > 7 * DAY, key
        # The end of a candle is where the next one begins, on whatever grid.
        opens = [row[0] for row in rows]
        fine = "1m" if timeframes.duration_ms(key.timeframe) < HOUR else "1h"
        assert_same(rows[:-1], await aggregated(venue, opens, fine) if opens else [])


@pytest.mark.check("listing")
async def test_candles_before_the_listing_are_known_to_be_none(venue: Stand, differs: Differs) -> None:
    key = Key(venue.case.exchange, venue.case.other, "1d" if "1d" in opening.timeframes(venue.case.exchange) else "12h")
    since, until = venue.listed - 30 * DAY, venue.listed + 5 * DAY
    job = await venue.line.fetch(key, since, until)
    rows = venue.line.rows(key)
    assert job.state == "done"
    assert all(row[0] + DAY > venue.listed for row in rows)
    if not job.complete:
        # It must say so, and claim nothing.
        assert job.missing
        assert min(each.since for each in job.missing) <= since
        differs("missing" if not rows else "not before the first candle")
    else:
        assert rows


@pytest.mark.check("hole")
async def test_candles_after_a_hole_longer_than_a_page_are_found(venue: Stand, differs: Differs) -> None:
    key = Key(venue.case.exchange, venue.case.other, "1m")
    since, until = venue.quiet[0] - 30 * MINUTE, venue.quiet[1] + 30 * MINUTE
    job = await venue.line.fetch(key, since, until)
    assert job.state == "done"
    rows = [row for row in venue.line.rows(key) if since <= row[0] < until]
    true = [
        tuple(row[:6]) for row in await venue.truth("candles", key.symbol, timeframe="1m", since=since, until=until)
    ]
    if job.complete:
        assert_same(rows, [row for row in true if row[5]])
        return
    left_out = [row for row in true if row[5] and any(each.since <= row[0] < each.until for each in job.missing)]
    assert_same(rows, [row for row in true if row[5] and row not in left_out])
    assert job.missing
    assert profile_of(venue.case.exchange).candles.newest_rows is not None, job
    differs("missing: beyond its depth")


@pytest.mark.check("depth")
async def test_candles_older_than_the_venue_keeps_are_listed_as_missing(venue: Stand, differs: Differs) -> None:
    key = Key(venue.case.exchange, venue.case.symbol, "1m")
    since = venue.listed + 2 * DAY
    job = await venue.line.fetch(key, since, since + 3 * HOUR)
    rows = [row for row in venue.line.rows(key) if since <= row[0] < since + 3 * HOUR]
    true = await venue.truth("candles", timeframe="1m", since=since, until=since + 3 * HOUR)
    if job.complete:
        assert_same(rows, [tuple(row[:6]) for row in true if row[5]])
        differs("no limit")
    else:
        assert rows == []
        assert [(each.since, each.until) for each in job.missing] == [(since, since + 3 * HOUR)]


async def is_true(venue: Stand, book: Book) -> bool:
    """Whether the best levels are those that the market had at the book's time, or in the three frames before."""
    found = [[list(level) for level in side[:LEVELS]] for side in (book.bids, book.asks)]
    at = book.timestamp if book.timestamp is not None else await venue.now()
    back = range(0, 400, 100) if book.timestamp is not None else range(0, 3_000, 100)
    for earlier in back:
        true = await venue.truth("book", at=at - earlier, levels=LEVELS)
        if [true["bids"], true["asks"]] == found:
            return True
    return False


async def assert_books(venue: Stand, books: list[Book]) -> None:
    """Each live book is the market's."""
    of_feed = [each for each in books if each.state == "live"]
    assert of_feed
    for book in of_feed[-5:]:
        assert await is_true(venue, book), book


@pytest.mark.check("candles")
async def test_a_live_candle_equals_the_venue_s_own(venue: Stand) -> None:
    feed = venue.feed("candle", timeframe="1m")
    first_whole = venue.began // MINUTE * MINUTE + MINUTE

    def wanted(each: Candle) -> Any:
        return each.timestamp >= first_whole and each.closed and each.complete

    async with hearing(venue.line.bus, feed.public, Candle) as heard:
        said = await heard.first(wanted, timeout_s=PATIENCE_S)
    rows = await venue.truth("candles", timeframe="1m", since=said.timestamp, until=said.timestamp + 1)
    live_row: Row = (said.timestamp, said.open, said.high, said.low, said.close, said.volume)
    assert said.volume_unit == "base"
    assert_same([live_row], [tuple(row[:6]) for row in rows])
    key = Key(venue.case.exchange, venue.case.symbol, "1m")
    job = await venue.line.fetch(key, said.timestamp, said.timestamp + MINUTE)
    assert job.state == "done"
    async with asyncio.timeout(PATIENCE_S):
        while not (fetched := [row for row in venue.line.rows(key) if row[0] == said.timestamp]):
            await asyncio.sleep(0.2)
    assert_same(fetched, [live_row])


@pytest.mark.check("book")
async def test_the_book_is_the_market_s_before_and_after_a_cut(venue: Stand) -> None:
    feed = venue.feed("book")
    async with hearing(venue.line.bus, feed.public, Book) as heard:
        await heard.until_said(lambda said: len([each for each in said if each.state == "live"]) > 5, PATIENCE_S)
        await assert_books(venue, heard.said)
        await venue.simulator.fault("", "ws_cut", seconds=1)
        await heard.until_said(lambda said: any(each.state != "live" for each in said), PATIENCE_S)
        before = len(heard.said)
        await heard.until_said(
            lambda said: len([each for each in said[before:] if each.state == "live"]) > 5, PATIENCE_S
        )
    await assert_books(venue, heard.said[before:])
    assert all((each.bids, each.asks) == ([], []) for each in heard.said if each.state != "live")


@pytest.mark.check("cut")
async def test_after_a_cut_the_trades_are_fetched_or_a_gap_names_them(venue: Stand, differs: Differs) -> None:
    feed = venue.feed("trade")
    async with (
        live.seeing(venue.line.bus, feed) as seen,
        live.statuses(venue.line.bus, feed) as heard,
    ):
        await seen.until(lambda: len(seen.trades) > RATE, PATIENCE_S)
        await venue.simulator.fault("", "ws_cut", seconds=venue.case.cut_s)
        await heard.until_said(lambda said: any(each.event in ("repaired", "gap") for each in said), PATIENCE_S)
        enough = len(seen.trades) + 3 * RATE
        await seen.until(lambda: len(seen.trades) > enough, PATIENCE_S)
    tape = await live.on_tape(venue.line.bus, feed)
    assert tape.broken == []
    facts = profile_of(venue.case.exchange).trades
    # REST that has the newest trades alone cannot fill in more than a page of them.
    page = facts.page_of(venue.case.kind) if facts.method == "newest" and facts.older is None else None
    fits = page is None or page > venue.case.cut_s * RATE
    if facts.method in ("by_id", "by_time", "newest") and fits:
        assert tape.gaps == []
        assert tape.repaired > RATE
    else:
        assert tape.gaps
        for gap in tape.gaps:
            # The bounds are those of the neighbours on the tape: nothing that arrived is called missing.
            assert {gap.since, gap.until} <= {each.timestamp for each in tape.trades}
            assert (gap.until or 0) - (gap.since or 0) < 60_000
        differs("a gap" if fits else f"a gap: REST has the newest {page}")
    await venue.assert_each_trade_once(venue.case.symbol, tape.trades, tape.gaps)
