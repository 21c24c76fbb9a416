"""The sink against a real InfluxDB 1.x that is stopped, killed and locked: what it holds equals the tape."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import nats.js.errors
import pytest

from support import live
from support.influx import InfluxDb, influxdb
from support.pipeline import CONFIG, Pipeline, pipeline
from support.processes import environment, running_simulator, tickwire
from tickwire import messages, streams
from tickwire.bus import Bus
from tickwire.feeds import Book, Candle, Feed, Trade, Trades
from tickwire.messages import SinkReport, SinkRequest

START = 1_790_000_000_000
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
SINK = """
[sink]
url = "{influx}"
version = 1
batch = 1000
"""


@pytest.fixture
async def influx(tmp_path: Path) -> AsyncIterator[InfluxDb]:
    """A database of this test's own."""
    async with influxdb(tmp_path / "influx") as database:
        yield database


class Writer:
    """Puts trades on the tape as streamers do: a message a time, the sequence checked."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.written: dict[str, list[Trade]] = defaultdict(list)
        self._last: Counter[str] = Counter()
        self._draw = random.Random(7)

    async def write(self, symbol: str, count: int) -> None:
        """So many trades in one message, of all sizes; several in a millisecond."""
        number = len(self.written[symbol])
        trades = [
            Trade(
                id=str(n),
                timestamp=START + n // 3,
                side=self._draw.choice(["buy", "sell"]),
                price=round(self._draw.uniform(1, 70_000), 2),
                amount=round(10 ** self._draw.uniform(-3, 4), 3),
            )
            for n in range(number, number + count)
        ]
        feed = Feed("trade", "binance", symbol)
        message = Trades(exchange="binance", symbol=symbol, trades=trades, received=START)
        headers = {"Nats-Expected-Last-Subject-Sequence": str(self._last[symbol])}
        ack = await self.bus.jetstream.publish(feed.tape, messages.encode(message), headers=headers)
        self._last[symbol] = ack.seq
        self.written[symbol] += trades

    async def go_on(self, per_s: int, seconds: float) -> None:
        """So many trades a second, all symbols in turn."""
        loop = asyncio.get_running_loop()
        began, done = loop.time(), 0
        while loop.time() < began + seconds:
            while done < (loop.time() - began) * per_s:
                await self.write(SYMBOLS[done // 10 % len(SYMBOLS)], 10)
                done += 10
            await asyncio.sleep(0.005)


async def until_written(bus: Bus, stream: str = streams.TRADES, timeout_s: float = 60) -> None:
    """Wait until the sink has acknowledged everything in a stream; asked again, because nothing announces that."""
    async with asyncio.timeout(timeout_s):
        while True:
            state = (await bus.jetstream.stream_info(stream)).state
            try:
                info = await bus.jetstream.consumer_info(stream, "sink")
                if state.last_seq == (info.ack_floor.stream_seq if info.ack_floor else -1):
                    return
            except nats.js.errors.NotFoundError:
                pass
            await asyncio.sleep(0.1)


async def assert_equal(influx: InfluxDb, tape: dict[str, list[Trade]]) -> None:
    """Counts and sums per symbol, side and size class in the database are those of the tape."""
    found = await influx.query("SELECT count(price), sum(amount), sum(quote) FROM trades GROUP BY symbol, side")
    assert {(row["symbol"], row["side"]): row["count"] for row in found} == Counter(
        (symbol, trade.side) for symbol, trades in tape.items() for trade in trades
    )
    for row in found:
        those = [trade for trade in tape[row["symbol"]] if trade.side == row["side"]]
        assert row["sum"] == pytest.approx(sum(trade.amount for trade in those), rel=1e-9)
        assert row["sum_1"] == pytest.approx(sum(trade.price * trade.amount for trade in those), rel=1e-9)
    sizes = await influx.query(
        'SELECT sum(trades), sum(volume), sum(buy), last(cvd) FROM trade_sizes GROUP BY symbol, "size"'
    )
    assert {row["symbol"] for row in sizes} == set(tape)
    bounds = {"0-10k": 0, "10k-100k": 1e4, "100k-1m": 1e5, "1m-10m": 1e6, "10m-100m": 1e7, "100m+": 1e8}
    upper = dict(zip(bounds, [*list(bounds.values())[1:], float("inf")], strict=True))
    for row in sizes:
        name = row["size"]
        those = [t for t in tape[row["symbol"]] if bounds[name] <= t.price * t.amount < upper[name]]
        bought = sum(t.price * t.amount for t in those if t.side == "buy")
        sold = sum(t.price * t.amount for t in those if t.side == "sell")
        assert row["sum"] == len(those)
        assert row["sum_1"] == pytest.approx(bought + sold, rel=1e-9)
        assert row["sum_2"] == pytest.approx(bought, rel=1e-9)
        assert row["last"] == pytest.approx(bought - sold, rel=1e-9, abs=1e-3)
    assert sum(row["sum"] for row in sizes) == sum(map(len, tape.values()))


async def sinking(line: Pipeline) -> SinkReport:
    """What the one sink says of itself."""
    return await line.bus.request("sink.report", SinkRequest(), SinkReport)


@pytest.fixture
async def line(broker: str, influx: InfluxDb, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """One sink on the database, and a tape that the test writes."""
    async with (
        running_simulator() as simulator,
        pipeline(broker, simulator, tmp_path, ("sink",), CONFIG + SINK.format(influx=influx.url)) as running,
    ):
        yield running


async def outage(line: Pipeline, influx: InfluxDb, *, total_s: float, away_s: float) -> None:
    """Stop the database in the middle, then kill it while it is written to, and compare."""
    writer = Writer(line.bus)
    lead = (total_s - away_s) / 2
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(writer.go_on(1000, total_s))
        await asyncio.sleep(lead)
        await influx.stop()
        await asyncio.sleep(away_s)
        # Nobody waited: the tape went on at its pace.
        assert sum(map(len, writer.written.values())) > 900 * (lead + away_s)
        await influx.start()
        # In mid-write: what waited is being written now.
        await asyncio.sleep(0.15)
        await influx.stop(signal.SIGKILL)
        await influx.start()
        await writing
    await until_written(line.bus)
    await assert_equal(influx, writer.written)
    report = await sinking(line)
    assert report.failures > 0
    assert (report.rejected, report.missed) == (0, 0)


@pytest.mark.needs("influxdb")
async def test_a_database_that_is_stopped_and_then_killed_in_mid_write_ends_up_with_all_of_the_tape(
    line: Pipeline, influx: InfluxDb
) -> None:
    await outage(line, influx, total_s=8, away_s=4)


@pytest.mark.soak
@pytest.mark.needs("influxdb")
async def test_a_database_stopped_for_20_of_32_s_ends_up_with_all_of_the_tape(line: Pipeline, influx: InfluxDb) -> None:
    await outage(line, influx, total_s=32, away_s=20)


@pytest.mark.needs("influxdb")
async def test_a_sink_killed_again_and_again_while_it_writes_leaves_each_trade_once(
    line: Pipeline, influx: InfluxDb
) -> None:
    writer = Writer(line.bus)
    draw = random.Random(3)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(writer.go_on(1000, 8))
        for _ in range(4):
            await asyncio.sleep(draw.uniform(0.1, 1.0))
            await line.kill("sink")
            await line.start("sink")
            await line.ready("sink")
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
    assert (await sinking(line)).active


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
        async with asyncio.timeout(20):
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
        async with live.seeing(line.bus, feeds[0]) as seen:
            await seen.until(lambda: len(seen.trades) > 100)
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
        env = environment(
            tmp_path,
            TICKWIRE_NATS_URL=broker,
            TICKWIRE_SINK_URL=influx.url,
            TICKWIRE_SINK_VERSION="1",
            TICKWIRE_SINK_USERNAME="admin",
        )
        ended = await tickwire(env | {"TICKWIRE_SINK_PASSWORD": "wrong"}, "service", "sink")
        assert ended.code == 2
        (line,) = [each for each in ended.err.splitlines() if each.startswith("tickwire: ")]
        assert "refuses us (401" in line
        assert "TICKWIRE_SINK_PASSWORD" in line
        assert "wrong" not in ended.err
        right = asyncio.create_task(
            tickwire(env | {"TICKWIRE_SINK_PASSWORD": influx.password}, "service", "sink", timeout_s=60)
        )
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
