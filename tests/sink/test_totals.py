"""The sink's totals in the broker, and entries there that are not totals."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import nats.js.errors
import pytest
from msgspec.structs import replace

from support import hostile
from support.forked import Running
from support.influx_api import Server, serving
from support.processes import Service, environment
from tape.places import BTC_SUBJECT, OTHER_SUBJECT, TRADES_STREAM
from tickwire.bus import embedded as broker
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.model import messages
from tickwire.model.feeds import Trade, Trades
from tickwire.model.messages import SinkTotals
from tickwire.settings import NatsSettings, SinkSettings

pytestmark = pytest.mark.actors

TRADE = Trade(id="1", timestamp=1_700_000_000_000, side="buy", price=1.0, amount=1.0)


SUBJECT = BTC_SUBJECT
TOTALS = "$KV.SINK.trade.binance.BTC-USDT"


def encoded(number: int) -> bytes:
    """A message of one trade."""
    trade = replace(TRADE, id=str(number), timestamp=TRADE.timestamp + number)
    return messages.encode(Trades(exchange="binance", symbol="BTC/USDT", trades=[trade], received=1))


class Sinking:
    """A sink, its database, and the broker between it and the test."""

    def __init__(self, broker: str, bus: Bus, influx: Server, process: Running) -> None:
        self.process = process
        self.broker = broker
        self.bus = bus
        self.influx = influx

    def lines(self, measurement: str) -> list[str]:
        """The fields of the points of a measurement, by their times."""
        found = [
            (int(time), fields)
            for (series, time), fields in self.influx.taken.items()
            if series.startswith(measurement)
        ]
        return [fields for _, fields in sorted(found)]

    async def put(self, number: int) -> None:
        """One trade on the tape, as its one writer puts it there, and wait for its point."""
        try:
            last = (await self.bus.jetstream.get_last_msg(TRADES_STREAM, SUBJECT)).seq
        except nats.js.errors.NotFoundError:
            last = 0
        headers = {"Nats-Expected-Last-Subject-Sequence": str(last)}
        await self.bus.jetstream.publish(SUBJECT, encoded(number), headers=headers)
        await self.until(lambda: any(f'id="{number}"' in fields for fields in self.lines("trades")))

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until the database has something."""
        async with asyncio.timeout(100):
            while not reached():
                await asyncio.sleep(0.05)


@asynccontextmanager
async def sinking(
    folder: Path, totals: bytes | None = None, *, lives: bool = True, former: int = 0, reads_former: bool = True
) -> AsyncIterator[Sinking]:
    """A running sink, which finds `totals` where it looks for those of a feed, and `lives` until the end.

    It finds `former` messages on a tape without partitions, or if not `reads_former` only the note of that tape.
    """
    made = Server("Token t", "/api/v2/write", {"org": "desk", "bucket": "tickwire", "precision": "ns"})
    async with (
        serving(made) as influx,
        broker.embedded(folder / "nats") as url,
        connect(NatsSettings(url=url), name="test") as bus,
    ):
        if former:
            await bus.jetstream.add_stream(name="TRADES", subjects=["tape.trade.*.*"], allow_direct=True)
            for number in range(former):
                await bus.jetstream.publish("tape.trade.binance.BTC-USDT", encoded(number))
        await streams.declare(bus.jetstream, 8, 2.0)
        if not reads_former:
            await bus.jetstream.delete_stream("TRADES")
        await streams.declare_sink(bus.jetstream, SinkSettings())
        if totals is not None:
            await bus.jetstream.publish(TOTALS, totals)
        to = {"TICKWIRE_SINK_URL": influx.url, "TICKWIRE_SINK_ORG": "desk", "TICKWIRE_SINK_TOKEN": "t"}
        env = environment(folder, TICKWIRE_NATS_URL=url, **to)
        async with Service("sink", env, log=folder / "sink.log") as sink:
            yield Sinking(url, bus, influx, sink.process)
            assert lives == (sink.process.returncode is None)


async def test_totals_that_cannot_be_read_begin_anew_with_a_gap_and_end_nothing(tmp_path: Path) -> None:
    async with sinking(tmp_path, b"no totals") as line:
        await line.put(1)
        assert any("what was written of it before is not known" in each for each in line.lines("gaps"))
        await line.put(2)
        assert len(line.lines("gaps")) == 1


async def test_totals_that_somebody_else_overwrites_are_those_of_the_sink_again(tmp_path: Path) -> None:
    async with sinking(tmp_path) as line:
        await line.put(1)
        await line.bus.jetstream.publish(TOTALS, b"no totals")
        await line.put(2)
        await line.put(3)
        last = await line.bus.jetstream.get_last_msg("KV_SINK", TOTALS)
        assert messages.decode(last.data or b"", SinkTotals).count >= 2
        assert line.lines("gaps") == []


async def test_totals_that_are_ahead_of_the_tape_hide_no_trade(tmp_path: Path) -> None:
    async with sinking(tmp_path, messages.encode(SinkTotals(sequence=10**18))) as line:
        await line.put(1)
        assert any("the tape was recreated" in each for each in line.lines("gaps"))


async def test_a_message_that_is_none_leaves_a_gap_and_what_follows_is_written(tmp_path: Path) -> None:
    async with sinking(tmp_path) as line:
        await line.put(1)
        await line.bus.jetstream.publish(SUBJECT, b"{" * 5_000)
        async with hostile.raw(line.broker) as raw:
            await raw.publish(b"tape.trade.0.binance." + b"x" * 3_000, b"{}")
        await line.put(2)
        assert [each for each in line.lines("gaps") if "cannot be read" in each]
        await line.until(lambda: len(line.lines("gaps")) == 2)


async def test_a_tape_that_is_made_anew_hides_no_trade(tmp_path: Path) -> None:
    """Its sequences begin at 1 again, which were written in an earlier life, it seems."""
    async with sinking(tmp_path) as line:
        for number in range(3):
            await line.put(number)
        config = (await line.bus.jetstream.stream_info(TRADES_STREAM)).config
        await line.bus.jetstream.delete_stream(TRADES_STREAM)
        await line.bus.jetstream.add_stream(config)
        for number in range(3, 6):
            await line.put(number)
        assert any("the tape was recreated" in each for each in line.lines("gaps"))


@pytest.mark.parametrize("written", [False, True])
async def test_the_tape_of_an_earlier_version_is_written_before_its_partition(tmp_path: Path, written: bool) -> None:
    """Whether the sink of the earlier version had written it or not, and without a gap."""
    async with sinking(tmp_path, former=50) as line:
        if written:
            await line.until(lambda: len(line.lines("trades")) == 50)
        await line.bus.jetstream.publish(f"tape.handover.{TRADES_STREAM}", b"{}")
        for number in range(50, 53):
            await line.put(number)
        ids = [re.findall('id="([0-9]+)"', fields)[0] for fields in line.lines("trades")]
        assert ids == [str(number) for number in range(53)]
        assert line.lines("gaps") == []
        last = await line.bus.jetstream.get_last_msg("KV_SINK", TOTALS)
        assert messages.decode(last.data or b"", SinkTotals).count == 53


@pytest.mark.parametrize("read", [False, True])
async def test_a_deleted_tape_of_an_earlier_version_is_not_waited_for(tmp_path: Path, read: bool) -> None:
    """Whether the sink has begun to read it or not."""
    async with sinking(tmp_path, former=5, reads_former=read) as line:
        if read:
            await line.until(lambda: len(line.lines("trades")) == 5)
            await line.bus.jetstream.delete_stream("TRADES")
        for number in range(5, 8):
            await line.put(number)
    assert (tmp_path / "sink.log").read_text().count("the stream was deleted") == 1


async def test_a_subject_that_was_emptied_before_it_was_read_is_a_gap(tmp_path: Path) -> None:
    """The next writer finds nothing before it, and says so."""
    async with sinking(tmp_path) as line:
        await line.put(1)
        await line.bus.jetstream.purge_stream(TRADES_STREAM)
        await line.put(2)
        assert any("no longer on the tape" in each for each in line.lines("gaps"))


async def test_what_would_be_a_refusal_to_start_is_a_failure_once_it_was_ready(tmp_path: Path) -> None:
    """Exit code 2 makes a supervisor give everything up."""
    async with sinking(tmp_path, lives=False) as line, asyncio.timeout(100):
        await line.put(1)
        line.influx.token = "Token another"
        await line.bus.jetstream.publish(OTHER_SUBJECT, b"{}")
        assert await line.process.wait() == 1
    said = [each for each in (tmp_path / "sink.log").read_text().splitlines() if not each.startswith("{")]
    assert len(said) == 1
    assert said[0].startswith("tickwire: InfluxDB at")
