"""The streamer's metrics, scraped while it runs, against the tape, what is published and the simulator's own doings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from nats.aio.msg import Msg

from support import live
from support.hearing import Heard, hearing
from support.pipeline import Pipeline, pipeline
from support.processes import SimulatorProcess, running_simulator
from support.scraping import Scraped, Scraper, below, described, monitored
from tape.places import TRADES_STREAM, place_of
from tickwire.bus import streams
from tickwire.errors import UnknownSymbol
from tickwire.model import messages
from tickwire.model.feeds import Book, Candle, Feed, Status, Ticker, Trades

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("declared")]

BTC = Feed("trade", "binance", "BTC/USDT")
LABELS = {"kind": "trade", "exchange": "binance", "symbol": "BTC/USDT"}
TIMEFRAMES = ("1m", "5m")
HELD_UP_S = 0.6
"""For how long the broker takes nothing."""
FEEDS = [
    *(BTC._replace(kind="candle", timeframe=timeframe) for timeframe in TIMEFRAMES),
    BTC._replace(kind="book"),
    BTC._replace(kind="ticker"),
    BTC,
]


class Said(NamedTuple):
    """A message of trades on the tape, and when the broker took it (s)."""

    message: Trades
    stored: float


async def on_tape(line: Pipeline) -> list[Said]:
    """Every message of trades that the tape has."""
    last = (await line.bus.jetstream.get_last_msg(*place_of(BTC))).seq
    found: list[Said] = []
    done = asyncio.Event()

    async def take(message: Msg) -> None:
        found.append(Said(messages.decode(message.data, Trades), message.metadata.timestamp.timestamp()))
        if message.metadata.sequence.stream == last:
            done.set()

    subscription = await line.bus.subscribe_ordered(place_of(BTC).subject, place_of(BTC).stream, take)
    async with asyncio.timeout(100):
        await done.wait()
    await subscription.unsubscribe()
    return found


async def hold_up_broker() -> None:
    """What is published meanwhile is confirmed late."""
    (server,) = [each for each in psutil.Process().children(recursive=True) if each.name() == "nats-server"]
    server.suspend()
    await asyncio.sleep(HELD_UP_S)
    server.resume()


async def settled(line: Pipeline) -> None:
    """Returns when no trade comes any more, nor a candle made of one."""
    before: object = None
    async with asyncio.timeout(100):
        while True:
            infos = [await line.bus.jetstream.stream_info(name) for name in (TRADES_STREAM, streams.CANDLES)]
            if before == (before := [info.state.last_seq for info in infos]):
                return
            # Longer than the longest cadence.
            await asyncio.sleep(1.2)


class Exchange(NamedTuple):
    """A busy exchange, what a streamer makes of it, and all that is published."""

    simulator: SimulatorProcess
    line: Pipeline
    streamer: Scraper
    trades: live.Seen
    statuses: Heard[Status]
    books: Heard[Book]
    tickers: Heard[Ticker]
    candles: Heard[Candle]

    def told(self, kind: str, event: str) -> int:
        """How many statuses of a kind of feed tell of an event."""
        return self.events(kind).count(event)

    def events(self, kind: str) -> list[str]:
        """The events that its statuses tell of."""
        return [each.event for each in self.statuses.said if each.kind == kind]


@pytest.fixture
async def exchange(broker: str, tmp_path: Path) -> AsyncIterator[Exchange]:
    async with AsyncExitStack() as stack:
        busy = await stack.enter_async_context(running_simulator("--live-rate", "200"))
        line = await stack.enter_async_context(pipeline(broker, busy, tmp_path, (), lease_ttl_s=10))
        (streamer,) = await stack.enter_async_context(monitored(line, "streamer", TICKWIRE_STREAMER_CADENCE_MS="500"))
        market = "binance.BTC-USDT"
        yield Exchange(
            busy,
            line,
            streamer,
            await stack.enter_async_context(live.seeing(line.bus, BTC)),
            await stack.enter_async_context(hearing(line.bus, "md.status.>", Status)),
            await stack.enter_async_context(hearing(line.bus, f"md.book.{market}", Book)),
            await stack.enter_async_context(hearing(line.bus, f"md.ticker.{market}", Ticker)),
            await stack.enter_async_context(hearing(line.bus, f"md.candle.{market}.*", Candle)),
        )


async def test_feeds_are_counted_as_the_tapes_have_them(exchange: Exchange) -> None:
    simulator, line, streamer = exchange.simulator, exchange.line, exchange.streamer
    seen, statuses = exchange.trades, exchange.statuses
    # The candles first: then every trade is one of theirs.
    for feed in FEEDS:
        await live.start(line.bus, feed)
    with pytest.raises(UnknownSymbol):
        await live.start(line.bus, BTC._replace(symbol="BTC/NOPE"))
    await seen.until(lambda: len(seen.trades) > 200)

    # Repeated frames, before anything is repaired: what REST has told already counts as repeated too.
    for _ in range(3):
        await simulator.fault("/ws/", "ws_duplicate", count=20)
    await streamer.until(lambda now: now.value("tickwire_feed_duplicates_total", **LABELS) >= 60)
    assert (await streamer.scrape()).value("tickwire_feed_duplicates_total", **LABELS) == 60

    await hold_up_broker()
    # One cut that REST repairs, while it hangs at first; and what it has forgotten of another.
    await simulator.fault("aggTrades", "hang")
    await simulator.fault("/ws/", "ws_cut", seconds=1)
    await streamer.until(lambda now: now.value("tickwire_feed_waiting", **LABELS) > 0)
    await simulator.clear()
    await statuses.until_said(lambda _: exchange.told("trade", "repaired"))
    first = seen.ids[-1] + 100
    await simulator.fault("aggTrades", "rest_forgets", symbol="BTCUSDT", from_id=first, to_id=first + 100)
    await simulator.fault("/ws/", "ws_cut", seconds=2)
    await statuses.until_said(lambda _: exchange.told("trade", "gap"))
    await simulator.clear()
    await statuses.until_said(lambda _: exchange.events("book")[-1] == "repaired")
    await simulator.fault("/ws/", "ws_malformed")
    await statuses.until_said(lambda _: exchange.told("trade", "rejected"))
    gaps = exchange.told("book", "gap")
    # Changes of the book that never come: only their numbers tell.
    await simulator.fault("/ws/", "ws_silent", seconds=0.5)
    await statuses.until_said(lambda _: exchange.told("book", "gap") > gaps)
    await statuses.until_said(lambda _: exchange.events("book")[-1] == "repaired")

    # Standing still, everything can be compared.
    await simulator.order("rate", symbol="BTCUSDT", rate=0.01)
    await streamer.until(lambda now: now.value("tickwire_feed_waiting", **LABELS) == 0)
    await settled(line)
    books, tickers = exchange.books.said, exchange.tickers.said

    def as_heard(now: Scraped) -> bool:
        # Books and tickers go on; the owner's first message, which shuts others out, is not counted.
        return all(
            now.value("tickwire_feed_messages_total", **{**LABELS, "kind": kind}) == len(heard) - 1
            for kind, heard in (("book", books), ("ticker", tickers))
        )

    found = await streamer.until(as_heard)
    books, tickers = books[1:], tickers[1:]

    def count(name: str, kind: str, **labels: str) -> float:
        return found.value(f"tickwire_feed_{name}_total", **{**LABELS, "kind": kind}, **labels)

    tape = await live.on_tape(line.bus, BTC)
    said = await on_tape(line)
    assert count("items", "trade") == len(tape.trades)
    assert count("messages", "trade") == len(said)
    assert count("gaps", "trade") == len(tape.gaps) == 1
    assert count("repaired", "trade") == tape.repaired > 0
    assert count("rejected", "trade") == exchange.told("trade", "rejected") == 1
    assert count("conflated", "trade") == 0
    # Two cuts; one connection has all of them.
    for kind in ("trade", "book", "ticker"):
        assert count("reconnects", kind) == 2, kind

    assert count("messages", "book") == len(books)
    assert count("items", "book") == sum(each.conflated + 1 for each in books if each.state == "live")
    assert count("conflated", "book") == sum(each.conflated for each in books) > 0
    assert count("gaps", "book") == exchange.told("book", "gap") >= 1
    assert count("repaired", "book") == exchange.told("book", "repaired") >= 2
    assert count("messages", "ticker") == len(tickers) > 0
    assert count("items", "ticker") == sum(each.conflated + 1 for each in tickers)
    assert count("conflated", "ticker") == sum(each.conflated for each in tickers) > 0
    assert (count("gaps", "ticker"), count("repaired", "ticker")) == (0, 0)
    with_trades = sum(bool(each.message.trades) for each in said)
    for timeframe in TIMEFRAMES:
        told = [each for each in exchange.candles.said if each.timeframe == timeframe]
        assert count("items", "candle", timeframe=timeframe) == len(told) > 0
        assert count("messages", "candle", timeframe=timeframe) == len(told)
        # Each message of trades changes the open candle.
        opens = sum(not each.closed for each in told)
        assert count("conflated", "candle", timeframe=timeframe) == with_trades - opens > 0
        moment = found.value(
            "tickwire_feed_last_message_timestamp_seconds", **{**LABELS, "kind": "candle"}, timeframe=timeframe
        )
        assert moment >= said[-1].stored - 2
    assert count("repaired", "candle") == 0

    moment = found.value("tickwire_feed_last_message_timestamp_seconds", **LABELS)
    assert moment == pytest.approx(said[-1].stored, abs=0.5)
    fresh = [each for each in said if each.message.source == "live" and each.message.trades]
    receipt = [(each.message.received - each.message.trades[-1].timestamp) / 1000 for each in fresh]
    name = "tickwire_feed_receipt_lag_seconds"
    buckets = found.buckets(name, **LABELS)
    assert buckets == below(receipt, buckets)
    assert found.value(f"{name}_sum", **LABELS) == pytest.approx(sum(receipt), abs=0.01)
    # Confirmed after the broker had taken it.
    taken = [each.stored - each.message.received / 1000 for each in fresh]
    assert max(taken) > HELD_UP_S / 2
    name = "tickwire_feed_publish_lag_seconds"
    buckets = found.buckets(name, **LABELS)
    assert buckets[float("inf")] == len(fresh)
    assert all(buckets[bound] <= count for bound, count in below(taken, buckets).items())
    assert buckets[0.5] > len(fresh) / 2
    assert sum(taken) < found.value(f"{name}_sum", **LABELS) < sum(taken) + 0.1 * len(fresh)
    for kind, counted in (("book", len([each for each in books if each.state == "live"])), ("ticker", len(tickers))):
        labels = {**LABELS, "kind": kind}
        assert found.value(f"{name}_count", **labels) >= counted
        assert found.value(f"{name}_sum", **labels) > 0

    # All is stored, and the broker was never away for so long that anything was sent again.
    assert found.value("tickwire_tape_in_flight", stream=TRADES_STREAM) == 0
    assert found.value("tickwire_tape_resent_total", stream=TRADES_STREAM) == 0

    assert found.value("tickwire_feeds", state="live") == len({feed.kind for feed in FEEDS})
    assert found.value("tickwire_feeds", state="disconnected") == 0
    assert found.value("tickwire_requests_refused_total", endpoint="streamer.start", error="unknown_symbol") == 1
    assert streamer.asked >= set(described("Streamer"))


async def test_a_candle_that_was_not_wholly_seen_is_a_gap_of_its_feed(exchange: Exchange) -> None:
    simulator, line, streamer = exchange.simulator, exchange.line, exchange.streamer
    for feed in FEEDS:
        await live.start(line.bus, feed)
    await exchange.trades.until(lambda: len(exchange.trades.trades) > 50)
    first = exchange.trades.ids[-1] + 50
    await simulator.fault("aggTrades", "rest_forgets", symbol="BTCUSDT", from_id=first, to_id=first + 100)
    await simulator.fault("/ws/", "ws_cut", seconds=1)
    await exchange.statuses.until_said(lambda _: exchange.told("trade", "gap"))
    # Five minutes later the candle in which that was is closed, of both timeframes.
    await simulator.order("rate", symbol="BTCUSDT", rate=2)
    await simulator.clock(advance=5 * 60_000)
    await exchange.candles.until_said(lambda said: {each.timeframe for each in said if each.closed} == set(TIMEFRAMES))

    def incomplete() -> int:
        return sum(each.closed and not each.complete for each in exchange.candles.said)

    labels = {**LABELS, "kind": "candle"}
    await streamer.until(lambda now: now.value("tickwire_feed_gaps_total", **labels) == incomplete() >= len(TIMEFRAMES))
