"""The sink against a real InfluxDB 1.x that is stopped, killed and locked: what it holds equals the tape."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sink.tape_and_database import SINK, START, SYMBOLS, Writer, assert_equal, locked, sinking, until_written
from support import live
from support.influx import InfluxDb, influxdb
from support.pipeline import CONFIG, SHORT_S, Pipeline, pipeline
from support.processes import environment, running_simulator, tickwire
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.model import messages
from tickwire.model.feeds import Book, Candle, Feed

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("declared")]


@pytest.fixture
async def line(broker: str, influx: InfluxDb, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """One sink on the database, and a tape that the test writes."""
    async with (
        running_simulator() as simulator,
        pipeline(broker, simulator, tmp_path, ("sink",), CONFIG + SINK.format(influx=influx.url), SHORT_S) as running,
    ):
        yield running


async def counted(influx: InfluxDb) -> int:
    """How many trades the database has."""
    found = await influx.query("SELECT count(price) FROM trades")
    return int(found[0]["count"]) if found else 0


async def outage(line: Pipeline, influx: InfluxDb, *, before: int, away: int) -> None:
    """Stop the database, for so many trades each, in the middle, then kill it while it is written to, and compare."""
    writer, over = Writer(line.bus), asyncio.Event()

    def written() -> int:
        return sum(map(len, writer.written.values()))

    async def until_count(count: int) -> None:
        async with asyncio.timeout(100):
            while written() < count:
                await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(writer.go_on(1000, over.is_set))
        await until_count(before)
        await influx.stop()
        # Nobody waits: the tape goes on.
        await until_count(written() + away)
        await influx.start()
        first = count = await counted(influx)
        async with asyncio.timeout(100):
            while count == first:
                count = await counted(influx)
        # In mid-write: of what waited some is there, and some is not.
        assert count < written()
        await influx.stop(signal.SIGKILL)
        await influx.start()
        await until_count(written() + before)
        over.set()
        await writing
    await until_written(line.bus)
    await assert_equal(influx, writer.written)
    report = await sinking(line.bus)
    assert report.failures > 0
    assert (report.rejected, report.missed) == (0, 0)


@pytest.mark.needs("influxdb")
async def test_a_database_stopped_and_killed_in_mid_write_has_the_whole_tape_later(
    line: Pipeline, influx: InfluxDb
) -> None:
    await outage(line, influx, before=2000, away=4000)


@pytest.mark.soak
@pytest.mark.needs("influxdb")
async def test_a_database_away_for_20_000_trades_ends_up_with_all_of_the_tape(line: Pipeline, influx: InfluxDb) -> None:
    await outage(line, influx, before=6000, away=20_000)


@pytest.mark.needs("influxdb")
async def test_a_sink_killed_again_and_again_while_it_writes_leaves_each_trade_once(
    line: Pipeline, influx: InfluxDb
) -> None:
    writer, over = Writer(line.bus), asyncio.Event()
    draw = random.Random(3)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(writer.go_on(1000, over.is_set))
        for _ in range(4):
            await asyncio.sleep(draw.uniform(0.1, 1.0))
            await line.kill("sink")
            await line.start("sink")
            await line.ready("sink")
        over.set()
        await writing
    await until_written(line.bus)
    await assert_equal(influx, writer.written)


@pytest.mark.needs("influxdb")
async def test_a_second_sink_stands_by_and_takes_over(line: Pipeline, influx: InfluxDb) -> None:
    writer = Writer(line.bus)
    await writer.write("BTC/USDT", 100)
    await until_written(line.bus)
    await line.start("sink", 1)
    await line.started("sink", 1)
    await writer.write("BTC/USDT", 100)
    await line.kill("sink", 0)
    await writer.write("BTC/USDT", 100)
    await until_written(line.bus)
    await assert_equal(influx, writer.written)
    assert (await sinking(line.bus)).active


@pytest.mark.needs("influxdb")
async def test_books_and_candles_of_an_outage_are_written_too(line: Pipeline, influx: InfluxDb) -> None:
    """Though the streams they come from keep only the newest of each."""

    async def say(number: int) -> None:
        book = Book(
            exchange="binance",
            symbol="BTC/USDT",
            state="live",
            timestamp=START + number,
            received=START + number,
            bids=[(100.0 + number, 1.0)],
            asks=[(200.0 + number, 3.0)],
        )
        candle = Candle(
            exchange="binance",
            symbol="BTC/USDT",
            timeframe="1m",
            timestamp=START - START % 60_000 + 60_000 * number,
            open=1.0,
            high=2.0,
            low=0.5,
            close=1.5,
            volume=float(number),
            trades=number,
            closed=True,
            complete=True,
        )
        await line.bus.jetstream.publish("tape.book.binance.BTC-USDT", messages.encode(book))
        await line.bus.jetstream.publish("tape.candle.binance.BTC-USDT.1m", messages.encode(candle))

    async def until_kept(count: int) -> None:
        """Wait until the sink's stream has so many; asked again, because a stream announces nothing."""
        async with asyncio.timeout(100):
            while (await line.bus.jetstream.stream_info(streams.SINK)).state.messages < count:
                await asyncio.sleep(0.05)

    # The broker connects the streams at the first message; from then on they keep pace.
    await say(0)
    await until_kept(2)
    for number in range(1, 20):
        await say(number)
    await until_written(line.bus, streams.SINK)
    await influx.stop()
    for number in range(20, 60):
        await say(number)
    await influx.start()
    await until_kept(120)
    await until_written(line.bus, streams.SINK)
    (books,) = await influx.query("SELECT count(bid), sum(bid), mean(imbalance) FROM books")
    assert (books["count"], books["sum"]) == (60, 60 * 100 + sum(range(60)))
    # (1 - 3) / (1 + 3), each time.
    assert books["mean"] == pytest.approx(-0.5)
    (candles,) = await influx.query("SELECT count(close), sum(volume) FROM candles")
    assert (candles["count"], candles["sum"]) == (60, sum(range(60)))


@pytest.mark.needs("influxdb")
async def test_what_the_streamer_puts_on_the_tape_is_in_the_database(
    broker: str, influx: InfluxDb, tmp_path: Path
) -> None:
    """The whole way: an exchange's socket, the tape, the database; with the socket cut meanwhile."""
    folder = tmp_path / "whole"
    folder.mkdir()
    feeds = [Feed("trade", "binance", symbol) for symbol in SYMBOLS]
    async with (
        running_simulator("--live-rate", "100") as simulator,
        pipeline(broker, simulator, folder, ("streamer", "sink"), CONFIG + SINK.format(influx=influx.url)) as line,
    ):
        for feed in feeds:
            await live.start(line.bus, feed, subscriber="test")
        async with AsyncExitStack() as stack:
            watched = [await stack.enter_async_context(live.seeing(line.bus, feed)) for feed in feeds]
            for each in watched:
                await each.until(lambda: len(each.trades) > 100)  # noqa: B023
            seen = watched[0]
            await simulator.fault("stream.binance.com", "ws_cut", seconds=1)
            await seen.until(lambda: seen.repaired > 0)
        for feed in feeds:
            await live.stop(line.bus, feed, "test")
        assert await line.stop("streamer") == 0
        await until_written(line.bus)
        tape = {feed.symbol: (await live.on_tape(line.bus, feed)).trades for feed in feeds}
        assert min(map(len, tape.values())) > 100
        await assert_equal(influx, tape)


@pytest.mark.needs("influxdb")
async def test_wrong_credentials_end_the_sink_with_one_line_and_nothing_is_lost(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    writer = Writer(bus)
    await writer.write("BTC/USDT", 100)
    async with influxdb(tmp_path / "locked", auth=True) as influx:
        env = locked(broker, influx, tmp_path, influx.user, influx.password)
        ended = await tickwire(env | {"TICKWIRE_SINK_PASSWORD": "wrong"}, "service", "sink")
        assert ended.code == 2
        (line,) = [each for each in ended.err.splitlines() if each.startswith("tickwire: ")]
        assert "refuses us (401" in line
        assert "TICKWIRE_SINK_PASSWORD" in line
        assert "wrong" not in ended.err
        right = asyncio.create_task(tickwire(env, "service", "sink"))
        await until_written(bus)
        await assert_equal(influx, writer.written)
        right.cancel()
        await asyncio.wait({right})


async def test_a_sink_without_a_database_to_write_to_says_which_setting_is_missing(broker: str, tmp_path: Path) -> None:
    env = environment(tmp_path, TICKWIRE_NATS_URL=broker)
    for variables, missing in (
        ({}, "sink.url"),
        ({"TICKWIRE_SINK_URL": "http://127.0.0.1:1"}, "TICKWIRE_SINK_TOKEN"),
        ({"TICKWIRE_SINK_URL": "http://127.0.0.1:1", "TICKWIRE_SINK_TOKEN": "t"}, "sink.org"),
        ({"TICKWIRE_SINK_URL": "127.0.0.1:1"}, "http://"),
        ({"TICKWIRE_SINK_URL": "http://127.0.0.1:1", "TICKWIRE_SINK_VERSION": "4"}, "sink.version"),
    ):
        ended = await tickwire(env | variables, "service", "sink")
        assert ended.code == 2
        assert missing in ended.err.splitlines()[-1]
