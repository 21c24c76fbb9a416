"""What a sink does at its limits: books that outlast their hold, a successor's totals, a database it may not make."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sink.tape_and_database import SINK, START, Writer, assert_equal, locked, sinking, until_written
from support.influx import InfluxDb, influxdb
from support.pipeline import CONFIG, SHORT_S, Pipeline, pipeline
from support.processes import Service, SimulatorProcess, tickwire
from tape.places import BTC_SUBJECT, TRADES_STREAM
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.fenced_entries import FencedEntries
from tickwire.errors import Fenced
from tickwire.model import messages
from tickwire.model.feeds import Book, Trade, Trades
from tickwire.model.messages import SinkTotals
from tickwire.settings import SinkSettings

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("declared")]

MIB = 1 << 20
BTC = "trade.binance.BTC-USDT"


@pytest.fixture
async def line(broker: str, influx: InfluxDb, simulator: SimulatorProcess, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """One sink on the database, which holds as little as it may."""
    config = CONFIG + SINK.format(influx=influx.url) + f"held_bytes = {MIB}\n"
    async with pipeline(broker, simulator, tmp_path, ("sink",), config, SHORT_S) as running:
        yield running


async def say_books(bus: Bus, numbers: range) -> None:
    """A book each, of about 8 KiB."""
    for number in numbers:
        book = Book(
            exchange="binance",
            symbol="BTC/USDT",
            state="live",
            timestamp=START + number,
            received=START + number,
            bids=[(1000.0 - level, 1.0) for level in range(300)],
            asks=[(2000.0 + level, 3.0) for level in range(300)],
        )
        await bus.jetstream.publish("tape.book.binance.BTC-USDT", messages.encode(book))


async def until_held(bus: Bus, last: int) -> None:
    """Wait until the sink's stream took so many; asked again, because a stream announces nothing."""
    async with asyncio.timeout(100):
        while (await bus.jetstream.stream_info(streams.SINK)).state.last_seq < last:
            await asyncio.sleep(0.05)


@pytest.mark.needs("influxdb")
@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
async def test_books_that_outlast_their_hold_are_counted_and_named_in_the_database(
    line: Pipeline, influx: InfluxDb, killed: bool
) -> None:
    await say_books(line.bus, range(1))
    await until_held(line.bus, 1)
    await until_written(line.bus, streams.SINK)
    await influx.stop()
    if killed:
        await line.kill("sink")
    await say_books(line.bus, range(1, 401))
    await until_held(line.bus, 401)
    await influx.start()
    if killed:
        await line.start("sink")
        await line.ready("sink")
    await until_written(line.bus, streams.SINK)
    (books,) = await influx.query("SELECT count(bid) FROM books")
    lost = 401 - books["count"]
    assert lost > 100
    gaps = await influx.query("SELECT stream, since, until, reason FROM gaps")
    assert {gap["stream"] for gap in gaps} == {"SINK"}
    assert sum(int(gap["reason"].split()[0]) for gap in gaps) == lost
    assert all(gap["since"] < gap["until"] for gap in gaps)
    assert (await sinking(line.bus)).missed == len(gaps) > 0
    errors = [each for each in (line.folder / "sink-0.log").read_text().splitlines() if '"level": "error"' in each]
    assert ["sink.held_bytes" in each for each in errors] == [True] * len(gaps)


@pytest.mark.needs("influxdb")
async def test_books_that_are_gone_are_missed_though_no_book_follows(line: Pipeline, influx: InfluxDb) -> None:
    await say_books(line.bus, range(1))
    await until_held(line.bus, 1)
    await until_written(line.bus, streams.SINK)
    assert await line.stop("sink") == 0
    await say_books(line.bus, range(1, 8))
    await until_held(line.bus, 8)
    # As their age would, an hour later.
    await line.bus.jetstream.purge_stream(streams.SINK)
    await line.start("sink")
    async with asyncio.timeout(100):
        while not (gaps := await influx.query("SELECT reason FROM gaps")):
            await asyncio.sleep(0.1)
    assert [gap["reason"].split()[0] for gap in gaps] == ["7"]
    assert (await sinking(line.bus)).missed == 1


@pytest.mark.needs("influxdb")
async def test_only_what_is_to_be_written_is_held(
    broker: str, influx: InfluxDb, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    config = CONFIG + SINK.format(influx=influx.url) + 'kinds = ["candle"]\n'
    async with pipeline(broker, simulator, tmp_path, ("sink",), config) as line:
        config_of = (await line.bus.jetstream.stream_info(streams.SINK)).config
        assert [each.name for each in config_of.sources or ()] == [streams.CANDLES]


async def test_a_sink_that_was_overtaken_cannot_store_its_older_totals(bus: Bus) -> None:
    await streams.declare_sink(bus.jetstream, SinkSettings())
    paused, successor = FencedEntries(bus, streams.SINK, SinkTotals), FencedEntries(bus, streams.SINK, SinkTotals)
    for offsets in (paused, successor):
        assert await offsets.of(BTC) == SinkTotals()
    successor.set(BTC, SinkTotals(sequence=9, count=90))
    await successor.save([BTC])
    successor.set(BTC, SinkTotals(sequence=10, count=100))
    await successor.save([BTC])
    paused.set(BTC, SinkTotals(sequence=5, count=50))
    with pytest.raises(Fenced):
        await paused.save([BTC])
    assert await FencedEntries(bus, streams.SINK, SinkTotals).of(BTC) == SinkTotals(sequence=10, count=100)


async def test_a_sink_knows_its_own_totals_again_whose_confirmation_was_lost(bus: Bus) -> None:
    await streams.declare_sink(bus.jetstream, SinkSettings())
    offsets = FencedEntries(bus, streams.SINK, SinkTotals)
    assert await offsets.of(BTC) == SinkTotals()
    said = SinkTotals(sequence=1, count=10)
    await bus.jetstream.publish(f"$KV.SINK.{BTC}", messages.encode(said))
    offsets.set(BTC, said)
    await offsets.save([BTC])
    offsets.set(BTC, SinkTotals(sequence=2, count=20))
    await offsets.save([BTC])
    assert await FencedEntries(bus, streams.SINK, SinkTotals).of(BTC) == SinkTotals(sequence=2, count=20)


@pytest.mark.needs("influxdb")
async def test_a_sink_that_is_refused_gives_its_lease_up_and_goes_on_from_what_it_finds(
    line: Pipeline, influx: InfluxDb
) -> None:
    writer = Writer(line.bus)
    await writer.write("BTC/USDT", 100)
    await until_written(line.bus)
    found = await FencedEntries(line.bus, streams.SINK, SinkTotals).of(BTC)
    # As a successor writes them that this sink has not noticed.
    other = SinkTotals(sequence=found.sequence, count=1000, cvd=found.cvd)
    await line.bus.jetstream.publish(f"$KV.SINK.{BTC}", messages.encode(other))
    await writer.write("BTC/USDT", 100)
    await until_written(line.bus)
    assert (await FencedEntries(line.bus, streams.SINK, SinkTotals).of(BTC)).count == 1100
    assert '"event": "fenced"' in (line.folder / "sink-0.log").read_text()
    assert (await sinking(line.bus)).active


@pytest.mark.needs("influxdb")
async def test_a_user_who_may_only_write_is_enough_where_the_database_is_there(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    writer = Writer(bus)
    await writer.write("BTC/USDT", 100)
    async with influxdb(tmp_path / "locked", auth=True) as influx:
        await influx.create_writer("feeder", "feed", "tickwire")
        env = locked(broker, influx, tmp_path, "feeder", "feed")
        async with Service("sink", env, log=tmp_path / "sink.log"):
            await until_written(bus)
        await assert_equal(influx, writer.written)
        for database, said, remedy in (
            ("absent", "database not found", 'have an administrator run CREATE DATABASE "absent"'),
            ("others", "refuses us (403", "TICKWIRE_SINK_USERNAME"),
        ):
            await influx.query('CREATE DATABASE "others"')
            await writer.write("BTC/USDT", 1)
            ended = await tickwire(env | {"TICKWIRE_SINK_DATABASE": database}, "service", "sink")
            assert ended.code == 2
            (line,) = [each for each in ended.err.splitlines() if each.startswith("tickwire: ")]
            assert said in line
            assert remedy in line


@pytest.mark.needs("influxdb")
async def test_trades_that_are_gone_are_missed_where_retention_emptied_their_subject(
    line: Pipeline, influx: InfluxDb
) -> None:
    writer = Writer(line.bus)
    await writer.write("BTC/USDT", 100)
    await until_written(line.bus)
    assert await line.stop("sink") == 0
    await writer.write("BTC/USDT", 10)
    last = (await line.bus.jetstream.stream_info(TRADES_STREAM)).state.last_seq
    await line.bus.jetstream.purge_stream(TRADES_STREAM)
    # As a streamer goes on then: nothing is there to be expected, so it says itself what it wrote last.
    headers = {"Nats-Expected-Last-Subject-Sequence": "0", "Tickwire-Last-Sequence": str(last)}
    said = Trades(exchange="binance", symbol="BTC/USDT", trades=writer.written["BTC/USDT"][:1], received=START)
    await line.bus.jetstream.publish(BTC_SUBJECT, messages.encode(said), headers=headers)
    await line.start("sink")
    await line.ready("sink")
    await until_written(line.bus)
    gaps = await influx.query("SELECT reason FROM gaps GROUP BY exchange, symbol")
    assert [(gap["symbol"], gap["reason"]) for gap in gaps] == [
        ("BTC/USDT", "no longer on the tape when it could be written")
    ]
    assert (await sinking(line.bus)).missed == 1


@pytest.mark.needs("influxdb")
async def test_points_beyond_the_retention_policy_are_counted_and_all_others_written(
    broker: str, influx: InfluxDb, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    await influx.query("CREATE DATABASE tickwire WITH DURATION 1h")
    async with pipeline(broker, simulator, tmp_path, ("sink",), CONFIG + SINK.format(influx=influx.url)) as line:
        now = time.time_ns() // 1_000_000
        old, new = [now - 7 * 86_400_000 + n for n in range(300)], [now - n for n in range(200)]
        mixed = [old[0], *new, *old[1:]]
        for start in range(0, len(mixed), 50):
            trades = [
                Trade(id=str(at), timestamp=at, side="buy", price=2.0, amount=1.0) for at in mixed[start : start + 50]
            ]
            said = Trades(exchange="binance", symbol="BTC/USDT", trades=trades, received=now)
            await line.bus.jetstream.publish(BTC_SUBJECT, messages.encode(said))
        await until_written(line.bus)
        [counted] = await influx.query("SELECT count(price) FROM trades")
        assert counted["count"] == len(new)
        report = await sinking(line.bus)
        # Each message has one point of `trade_sizes`, of the time of its last trade.
        sizes = sum(mixed[min(start + 49, len(mixed) - 1)] < now - 3_600_000 for start in range(0, len(mixed), 50))
        assert report.rejected == len(old) + sizes
        log = (tmp_path / "sink-0.log").read_text()
        assert log.count("the database refuses points") == 1
        assert "beyond retention policy" in log


@pytest.mark.needs("influxdb")
async def test_a_measurement_whose_field_has_another_type_is_refused_by_its_points_alone(
    line: Pipeline, influx: InfluxDb
) -> None:
    now = time.time_ns()
    await influx.query("CREATE DATABASE tickwire")
    # Somebody else's points, where the sink's would go: `price` is text there.
    async with influx.http.post(
        f"{influx.url}/write", params={"db": "tickwire", "precision": "ns"}, data=f'trades,symbol=X price="none" {now}'
    ) as answer:
        assert answer.status == 204, await answer.text()
    at = now // 1_000_000
    trades = [Trade(id=str(n), timestamp=at + n, side="buy", price=2.0, amount=1.0) for n in range(20)]
    said = Trades(exchange="binance", symbol="BTC/USDT", trades=trades, received=at)
    await line.bus.jetstream.publish(BTC_SUBJECT, messages.encode(said))
    await until_written(line.bus)
    assert (await sinking(line.bus)).rejected == len(trades)
    [sizes] = await influx.query("SELECT sum(trades) FROM trade_sizes")
    assert sizes["sum"] == len(trades)
