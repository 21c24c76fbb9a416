"""The sink's metrics, scraped while it runs, against a real InfluxDB and what was put on the tape."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support.influx import InfluxDb, influxdb
from support.pipeline import CONFIG, SHORT_S, Pipeline, pipeline
from support.processes import SimulatorProcess
from support.scraping import Scraper, described, monitored
from tape.places import TRADES_STREAM, place_of
from tickwire.bus import streams
from tickwire.model import messages
from tickwire.model.feeds import Candle, Feed, Trade, Trades

SINCE = 1_700_000_040_000
BTC = Feed("trade", "binance", "BTC/USDT")

pytestmark = [pytest.mark.system, pytest.mark.needs("influxdb"), pytest.mark.usefixtures("declared")]


class Sink(NamedTuple):
    """A sink that is scraped, its database and the tape."""

    scraper: Scraper
    influx: InfluxDb
    line: Pipeline

    async def say(self, count: int, number: int, after: int = 0) -> int:
        """Put a message of so many trades on the tape, the first with this number; its sequence."""
        trades = [
            Trade(id=str(n), timestamp=SINCE + n, side="buy", price=100.0, amount=1.0)
            for n in range(number, number + count)
        ]
        message = Trades(exchange="binance", symbol="BTC/USDT", trades=trades, received=SINCE)
        headers = {"Nats-Expected-Last-Subject-Sequence": str(after)}
        ack = await self.line.bus.jetstream.publish(place_of(BTC).subject, messages.encode(message), headers=headers)
        return ack.seq

    async def waits(self, stream: str, count: int) -> None:
        """Until so many messages wait for the database, as the sink tells."""
        await self.scraper.until(lambda now: now.value("tickwire_sink_pending_messages", stream=stream) == count)


@pytest.fixture
async def sink(broker: str, simulator: SimulatorProcess, tmp_path: Path) -> AsyncIterator[Sink]:
    async with influxdb(tmp_path / "influx") as influx:
        config = CONFIG + f'[sink]\nurl = "{influx.url}"\nversion = 1\n'
        async with (
            pipeline(broker, simulator, tmp_path, (), config, SHORT_S) as line,
            monitored(line, "sink") as (scraper,),
        ):
            yield Sink(scraper, influx, line)


async def test_the_sink_counts_what_the_database_has(sink: Sink) -> None:
    scraper, influx, line = sink
    first = await sink.say(100, 0)
    found = await scraper.until(lambda now: now.value("tickwire_sink_trades_total") == 100)
    assert found.value("tickwire_sink_active") == 1
    # A database that has `close` as text refuses a number, and only that point.
    async with influx.http.post(f"{influx.url}/write?db=tickwire", data=f'candles close="x" {SINCE}000000') as answer:
        assert answer.status == 204
    candle = Candle(
        exchange="binance", symbol="BTC/USDT", timeframe="1m", timestamp=SINCE, open=1.0, high=1.0, low=1.0,
        close=1.0, volume=1.0, trades=1, closed=True, complete=True,
    )  # fmt: skip
    await line.bus.jetstream.publish("tape.candle.binance.BTC-USDT.1m", messages.encode(candle))
    await scraper.until(lambda now: now.value("tickwire_sink_rejected_points_total") == 1)
    for stream in (TRADES_STREAM, streams.SINK):
        await sink.waits(stream, 0)

    await influx.stop(signal.SIGKILL)
    await sink.say(50, 100, first)
    found = await scraper.until(lambda now: now.value("tickwire_sink_failed_writes_total") > 1)
    await influx.start()
    found = await scraper.until(lambda now: now.value("tickwire_sink_trades_total") == 150)
    (trades,) = await influx.query("SELECT count(price) FROM trades")
    (sizes,) = await influx.query("SELECT count(trades) FROM trade_sizes")
    assert trades["count"] == 150
    # The candle that was refused is not among what was written.
    assert found.value("tickwire_sink_points_total") == trades["count"] + sizes["count"]
    assert found.value("tickwire_sink_rejected_points_total") == 1
    failed = found.value("tickwire_sink_failed_writes_total")
    # Asked before anything was written whether it may be; the database made, two writes taken, one refused.
    name = "tickwire_sink_write_seconds"
    buckets = found.buckets(name)
    assert buckets[float("inf")] == failed + 6
    assert 0 < found.value(f"{name}_sum") < 300
    # No request was slow: one without a server fails at once.
    assert buckets[5.0] == failed + 6
    assert scraper.names == set(described("Every service", "Sink"))


async def test_waiting_messages_show_while_the_database_is_away_and_lost_ones_are_counted(
    sink: Sink,
) -> None:
    scraper, influx, line = sink
    first = await sink.say(10, 0)
    await scraper.until(lambda now: now.value("tickwire_sink_trades_total") == 10)
    await sink.waits(TRADES_STREAM, 0)
    await influx.stop(signal.SIGKILL)
    held = await sink.say(10, 10, first)
    await scraper.until(lambda now: now.value("tickwire_sink_failed_writes_total") > 0)
    await sink.waits(TRADES_STREAM, 1)
    sequences = [held]
    for number in range(2, 6):
        sequences.append(await sink.say(10, number * 10, sequences[-1]))
    await sink.waits(TRADES_STREAM, 5)
    assert (await scraper.scrape()).value("tickwire_sink_missed_total") == 0
    # The tape is shorter than the outage: only its last message is left. The first is in the sink's hand.
    await line.bus.jetstream.purge_stream(place_of(BTC).stream, seq=sequences[-1], subject=place_of(BTC).subject)
    await influx.start()
    found = await scraper.until(lambda now: now.value("tickwire_sink_trades_total") == 30)
    assert found.value("tickwire_sink_missed_total") == 1
    (trades,) = await influx.query("SELECT count(price) FROM trades")
    assert trades["count"] == 30
    (gaps,) = await influx.query("SELECT count(reason) FROM gaps")
    assert gaps["count"] == 1
    assert (
        found.value("tickwire_sink_points_total")
        == 30 + gaps["count"] + ((await influx.query("SELECT count(trades) FROM trade_sizes"))[0]["count"])
    )
    await sink.waits(TRADES_STREAM, 0)


async def test_what_waits_is_seen_by_a_sink_that_starts_while_the_database_is_away(sink: Sink) -> None:
    _, influx, line = sink
    first = await sink.say(10, 0)
    await sink.waits(TRADES_STREAM, 0)
    await influx.stop(signal.SIGKILL)
    await line.kill("sink")
    # The next one begins a log of its own.
    (line.folder / "sink-0.log").unlink()
    for number in (1, 2):
        first = await sink.say(10, 10 * number, first)
    async with monitored(line, "sink") as (scraper,):
        await sink._replace(scraper=scraper).waits(TRADES_STREAM, 2)
