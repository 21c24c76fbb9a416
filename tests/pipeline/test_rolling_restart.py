"""Every instance of every service restarted in order, one after another, while everything is in use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from archive.written_tape import rows_of
from support import live
from support.influx import InfluxDb, influxdb
from support.pipeline import CONFIG, SHORT_S, Pipeline, pipeline
from support.processes import SimulatorProcess, running_simulator
from tape.places import TRADES_STREAM
from tickwire.bus.connection import Bus
from tickwire.client import connect
from tickwire.model.feeds import Feed, FeedList, FeedsRequest, Trade
from tickwire.model.messages import (
    Candles,
    CandlesRequest,
    Coverage,
    FetchAccepted,
    FetchRequest,
    KeyRequest,
    SinkReport,
    SinkRequest,
)
from tickwire.model.subjects import Key

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("declared")]

BTC = Feed("trade", "binance", "BTC/USDT")
RATE = 200
MINUTE = 60_000
SINCE = 1_700_000_040_000
ROWS = 3_000
ASKED = Key("binance", "SOL/USDT", "1h")
NAMES = {("streamer", 0): ("two", "east"), ("streamer", 1): ("one", "five")}
"""Of the instances before and after: by these, the feed is with `one`, and each newcomer takes it while it runs."""
RETRY_S = 10.0
"""`Bus.request` asks again for so long."""


async def restart_all(line: Pipeline, services: tuple[str, ...]) -> None:
    """Stop each instance and start another in its place; the next one's turn comes when that one serves."""
    for service in services:
        for number in (0, 1):
            assert await line.stop(service, number) == 0
            (line.folder / f"{service}-{number}.log").rename(line.folder / f"{service}-{number}.first.log")
            await start(line, service, number, 1)
            await line.started(service, number)
            if service == "streamer":
                await live.owned_by(line.bus, BTC, NAMES[service, number][1])


async def start(line: Pipeline, service: str, number: int, turn: int) -> None:
    """Start an instance, under its name where it has one."""
    names = NAMES.get((service, number))
    await line.start(service, number, *([] if names is None else ["--instance", names[turn]]))


async def ask_all(bus: Bus, over: asyncio.Event, services: tuple[str, ...]) -> dict[str, float]:
    """Ask each service again and again; the longest that each kind of request took, s. None may fail."""
    key = ASKED._asdict()
    numbers = iter(range(1_000_000))

    def fetch() -> Awaitable[object]:
        request = FetchRequest(**key, since=SINCE, until=SINCE + 3_600_000 * 2, id=f"rolling-{next(numbers)}")
        return bus.request("fetcher.fetch", request, FetchAccepted, timeout_s=RETRY_S)

    asks: dict[str, Callable[[], Awaitable[object]]] = {
        "cache.coverage": lambda: bus.request("cache.coverage", KeyRequest(**key), Coverage, timeout_s=RETRY_S),
        "cache.get": lambda: bus.request("cache.get", CandlesRequest(**key), Candles, timeout_s=RETRY_S),
        "streamer.list": lambda: bus.request("streamer.list", FeedsRequest(), FeedList, timeout_s=RETRY_S),
        "fetcher.fetch": fetch,
        "sink.report": lambda: bus.request("sink.report", SinkRequest(), SinkReport, timeout_s=RETRY_S),
    }
    asked = {name: ask for name, ask in asks.items() if name.split(".")[0] in services}

    async def again(name: str) -> float:
        longest = 0.0
        while not over.is_set():
            began = time.monotonic()
            await asked[name]()
            longest = max(longest, time.monotonic() - began)
            await asyncio.sleep(0.05)
        return longest

    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(again(name)) for name in asked}
    return {name: task.result() for name, task in tasks.items()}


async def rolling(line: Pipeline, busy: SimulatorProcess, services: tuple[str, ...], influx: InfluxDb | None) -> None:
    """Restart under load, and compare everything."""
    for number in (0, 1):
        for service in services:
            await start(line, service, number, 0)
    for number in (0, 1):
        for service in services:
            await line.started(service, number)
    # `cache.get` of a key that is not there is refused.
    assert (await line.fetch(ASKED, SINCE, SINCE + 3_600_000 * 2)).complete
    received: list[Trade] = []
    over, going = asyncio.Event(), asyncio.Event()
    async with connect(line.env["TICKWIRE_NATS_URL"]) as client:

        async def consume() -> None:
            async for trade in client.trades("binance", "BTC/USDT"):
                received.append(trade)
                if len(received) > RATE:
                    going.set()

        async def backfill() -> int:
            done = 0
            while not over.is_set():
                since, until = SINCE + done * ROWS * MINUTE, SINCE + (done + 1) * ROWS * MINUTE
                frame = await client.candles("binance", "ETH/USDT", "1m", since, until, progress=False)
                truth = await busy.truth("candles", symbol="ETH/USDT", timeframe="1m", since=since, until=until)
                assert frame.attrs["complete"]
                assert frame.to_numpy().tolist() == [row[1:] for row in truth]
                done += 1
            return done

        consumer = asyncio.create_task(consume())
        async with asyncio.timeout(100):
            await going.wait()
        await live.owned_by(line.bus, BTC, "one")
        asking = asyncio.create_task(ask_all(line.bus, over, services))
        fetching = asyncio.create_task(backfill())
        await restart_all(line, services)
        over.set()
        longest = await asking
        assert await fetching > 0
        tape = await live.assert_every_trade_once(line.bus, busy, BTC, "BTCUSDT")
        await live.assert_received(received, tape)
        consumer.cancel()
        await asyncio.wait({consumer})
    assert max(longest.values()) < RETRY_S
    print("\nlongest request: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in longest.items()))
    if influx is not None:
        await busy.order("rate", symbol="BTCUSDT", rate=0.01)
        await until_quiet(line.bus)
        tape = await live.on_tape(line.bus, BTC)
        (found,) = await influx.query("SELECT count(price), sum(amount) FROM trades")
        assert found["count"] == len(tape.trades)
        assert found["sum"] == pytest.approx(sum(trade.amount for trade in tape.trades), rel=1e-9)


async def until_quiet(bus: Bus) -> None:
    """Wait until nothing more comes and the sink has acknowledged all of it."""
    before = -1
    async with asyncio.timeout(100):
        while True:
            last = (await bus.jetstream.stream_info(TRADES_STREAM)).state.last_seq
            info = await bus.jetstream.consumer_info(TRADES_STREAM, "sink")
            if last == before and info.ack_floor is not None and info.ack_floor.stream_seq == last:
                return
            before = last
            await asyncio.sleep(0.5)


async def assert_archived_once(line: Pipeline, busy: SimulatorProcess, root: Path) -> None:
    """The archive's files have the trades of the tape, each once and in its order."""
    await busy.order("rate", symbol="BTCUSDT", rate=0.01)
    async with asyncio.timeout(100):
        # Folders announce nothing.
        while len(rows := rows_of(root, "BTC/USDT")) < len((tape := await live.on_tape(line.bus, BTC)).trades):
            await asyncio.sleep(0.2)
    written = [(trade.id, trade.timestamp, trade.price, trade.amount) for trade in tape.trades]
    assert [(id_, time, price, amount) for id_, time, _, _, price, amount, *_ in rows][: len(written)] == written


async def test_restarting_fetchers_streamers_caches_and_archives_in_turn_loses_nothing(
    broker: str, tmp_path: Path
) -> None:
    root = tmp_path / "archive"
    config = CONFIG + f'[archive]\nroot = "{root}"\npart_minutes = 0.01\n'
    async with (
        running_simulator("--live-rate", str(RATE)) as busy,
        pipeline(broker, busy, tmp_path, (), config, SHORT_S) as line,
    ):
        await rolling(line, busy, ("cache", "fetcher", "streamer", "archive"), None)
        await assert_archived_once(line, busy, root)


@pytest.mark.needs("influxdb")
async def test_restarting_sinks_and_streamers_in_turn_leaves_the_tape_in_the_database(
    broker: str, tmp_path: Path
) -> None:
    async with influxdb(tmp_path / "influx") as influx, running_simulator("--live-rate", str(RATE)) as busy:
        config = CONFIG + f'[sink]\nurl = "{influx.url}"\nversion = 1\n'
        async with pipeline(broker, busy, tmp_path, ("cache", "fetcher"), config, SHORT_S) as line:
            await rolling(line, busy, ("streamer", "sink"), influx)
