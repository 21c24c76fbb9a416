"""deploy/nats/cluster.conf: three brokers, of which one after another is killed under load."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import nats.errors
import pytest
from pandas import DataFrame

from support import brokers, live
from support.brokers import Server, as_user, variables_of
from support.pipeline import CONFIG, Pipeline
from support.processes import SimulatorProcess, environment, running_simulator, tickwire
from tape.places import place_of
from tickwire.bus.connection import Bus
from tickwire.bus.connection import connect as to_bus
from tickwire.client import Client, connect
from tickwire.errors import BrokerUnavailable, NoSuchService, RequestTimeout
from tickwire.model import messages
from tickwire.model.feeds import Feed, Trade, Trades
from tickwire.model.messages import Candles, CandlesRequest

pytestmark = pytest.mark.faults

BTC = Feed("trade", "binance", "BTC/USDT")
RATE = 200
MINUTE = 60_000
SINCE = 1_700_000_040_000
ROWS = 5_000
FEW = 100
CLUSTER = """
[nats]
url = "{url}"
user = "{user}"
password = "p-{user}"
replicas = 3
"""


@asynccontextmanager
async def clustered(folder: Path, simulator: SimulatorProcess) -> AsyncIterator[tuple[list[Server], Pipeline]]:
    """Three servers, streams kept by all of them, and each service once, as its own user."""
    async with brokers.clustered(folder) as servers:
        url = ",".join(server.url for server in servers)
        file = folder / "tickwire.toml"
        file.write_text(CONFIG.format(gateway=simulator.url))
        env = environment(folder, TICKWIRE_CONFIG=str(file), TICKWIRE_NATS_REPLICAS="3", TICKWIRE_LEASES_TTL_S="10")
        # A cluster takes a moment to agree on who leads it.
        async with asyncio.timeout(100):
            while (made := await tickwire(env | variables_of(url, "operator"), "declare")).code:
                assert "tickwire: " in made.err, made.err
        async with to_bus(as_user(url, "operator"), name="operator") as bus:
            line = Pipeline(bus, simulator, folder, env)
            try:
                for service in ("cache", "fetcher", "streamer"):
                    await line.start(service, 0, **variables_of(url, service))
                for service in ("cache", "fetcher", "streamer"):
                    await line.started(service)
                yield servers, line
            finally:
                await line.close()


async def until_all_have_everything(bus: Bus) -> None:
    """Wait until every replica of every stream is current: only then may the next server die."""
    async with asyncio.timeout(100):
        while True:
            try:
                infos = await bus.jetstream.streams_info()
            except nats.errors.Error:
                infos = []
            replicas = [(info.cluster.replicas or []) if info.cluster else [] for info in infos]
            if infos and all(len(each) == 2 and all(peer.current for peer in each) for each in replicas):
                return
            await asyncio.sleep(0.1)


async def until_the_tape_goes_on(bus: Bus, since: float) -> float:
    """Wait until a trade that was received after `since` (s) is on the tape; how long after that it was there, s."""
    async with asyncio.timeout(100):
        while True:
            try:
                last = await bus.jetstream.get_last_msg(*place_of(BTC), direct=True)
                if messages.decode(last.data or b"", Trades).received > since * 1000:
                    return time.time() - since
            except nats.errors.Error:
                pass
            await asyncio.sleep(0.02)


async def fetched(client: Client, symbol: str, since: int, until: int) -> DataFrame:
    """Candles, asked for again as a program would.

    Where the cluster took longer to come round than a request waits, or a service, of which there is one here, was
    connected to the server that died.
    """
    async with asyncio.timeout(100):
        while True:
            try:
                return await client.candles("binance", symbol, "1m", since, until, progress=False)
            except (BrokerUnavailable, RequestTimeout, NoSuchService) as error:
                print(f"asking again: {error}")


async def assert_fetched(client: Client, exchange: SimulatorProcess, symbol: str, since: int, until: int) -> float:
    """Have candles fetched, and compare them with the exchange's own; how long they took to come, s."""
    began = time.monotonic()
    frame = await fetched(client, symbol, since, until)
    took = time.monotonic() - began
    truth = await exchange.truth("candles", symbol=symbol, timeframe="1m", since=since, until=until)
    assert frame.attrs["complete"]
    assert [int(at.timestamp() * 1000) for at in frame.index] == [row[0] for row in truth]
    assert frame.to_numpy().tolist() == [row[1:] for row in truth]
    return took


async def assert_answered(bus: Bus, exchange: SimulatorProcess, symbol: str, since: int, until: int) -> float:
    """Ask a cache for what it has, as any program would, and compare it; how long it took to answer, s."""
    ask = CandlesRequest(exchange="binance", symbol=symbol, timeframe="1m", since=since, until=until)
    began = time.monotonic()
    async with asyncio.timeout(100):
        while True:
            try:
                rows = (await bus.request("cache.get", ask, Candles)).rows
                break
            except (BrokerUnavailable, RequestTimeout, NoSuchService) as error:
                print(f"asking again: {error}")
    took = time.monotonic() - began
    assert [list(row) for row in rows] == await exchange.truth(
        "candles", symbol=symbol, timeframe="1m", since=since, until=until
    )
    return took


class Recovery(NamedTuple):
    """How long after a server was killed what was asked for then was there, s."""

    tape: float
    """The next trade."""
    request: float
    """The cache's answer."""
    backfill: float
    """Candles that had to be fetched."""


def told(recovered: Sequence[Recovery]) -> str:
    """The times in a line for each kind."""
    lines = [f"{len(recovered)} servers killed, one after another; s until there was"]
    for name, times in zip(("a trade", "a request", "a backfill"), zip(*recovered, strict=True), strict=True):
        each = " ".join(f"{time:.1f}" for time in times)
        lines.append(f"{name:10} {statistics.median(times):4.1f} (median) {max(times):4.1f} (at most): {each}")
    return "\n    ".join(lines)


async def lose_one_after_another(folder: Path, kills: int) -> str:
    """Kill so many servers, one at a time, under load, and compare everything; what it says of the recoveries."""
    recovered: list[Recovery] = []
    received: list[Trade] = []
    async with running_simulator("--live-rate", str(RATE)) as busy, clustered(folder, busy) as (servers, line):
        config = folder / "desk.toml"
        config.write_text(CLUSTER.format(url=",".join(server.url for server in servers), user="desk"))
        enough = asyncio.Event()
        async with connect(config=config) as client:

            async def consume() -> None:
                async for trade in client.trades("binance", "BTC/USDT"):
                    received.append(trade)
                    if len(received) >= RATE:
                        enough.set()

            async def backfill() -> int:
                """Key after key, each compared with the exchange's own."""
                done = 0
                while True:
                    since = SINCE + done * ROWS * MINUTE
                    until = since + ROWS * MINUTE
                    for symbol in ("BTC/USDT", "ETH/USDT"):
                        await assert_fetched(client, busy, symbol, since, until)
                    done += 1
                    if over.is_set():
                        return done

            async def recovery(number: int) -> Recovery:
                """Each asked for at once, after the kill of that number."""
                now = time.time()
                since = SINCE - number * FEW * MINUTE
                async with asyncio.TaskGroup() as group:
                    tape = group.create_task(until_the_tape_goes_on(line.bus, now))
                    asked = group.create_task(assert_answered(line.bus, busy, "BTC/USDT", SINCE - FEW * MINUTE, SINCE))
                    new = group.create_task(assert_fetched(client, busy, "ETH/USDT", since - FEW * MINUTE, since))
                return Recovery(tape.result(), asked.result(), new.result())

            over = asyncio.Event()
            await assert_fetched(client, busy, "BTC/USDT", SINCE - FEW * MINUTE, SINCE)
            consumer = asyncio.create_task(consume())
            fetching = asyncio.create_task(backfill())
            await asyncio.wait({consumer, asyncio.ensure_future(enough.wait())}, return_when=asyncio.FIRST_COMPLETED)
            for number in range(kills):
                victim = servers[number % 3]
                await victim.kill()
                recovered.append(await recovery(number))
                await victim.start()
                await until_all_have_everything(line.bus)
                assert not fetching.done() or fetching.result()
            over.set()
            assert await fetching > 0
            tape = await live.assert_every_trade_once(line.bus, busy, BTC, "BTCUSDT")
            await live.assert_received(received, tape)
            consumer.cancel()
            await asyncio.wait({consumer})
    return told(recovered)


async def test_a_cluster_that_loses_one_server_after_another_loses_and_repeats_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Each of the three once, among them every leader."""
    record_property("measured", await lose_one_after_another(tmp_path, 3))


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_cluster_that_loses_a_server_ten_times_loses_and_repeats_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """As above, ten times."""
    record_property("measured", await lose_one_after_another(tmp_path, 10))
