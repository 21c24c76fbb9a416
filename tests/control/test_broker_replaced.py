"""A wiped or replaced broker, and recreated streams: feeds and jobs that were requested start again."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from support.commands import up
from support.hearing import hearing
from support.pipeline import CONFIG, SHORT_S, Pipeline, pipeline
from support.processes import SimulatorProcess, running_simulator
from tape.places import TRADES_STREAM
from tickwire.bus import embedded as embedded_broker
from tickwire.bus import streams
from tickwire.bus.connection import connect
from tickwire.model.feeds import Feed, Trades
from tickwire.model.subjects import Key
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

PINNED = CONFIG + '\n[streamer]\nfeeds = ["trade binance BTC/USDT"]\n'
TRADES = Feed("trade", "binance", "BTC/USDT")
KEY = Key("binance", "BTC/USDT", "1m")
SINCE = 1_704_067_200_000


@pytest.fixture
async def market() -> AsyncIterator[SimulatorProcess]:
    """An exchange where something is always going on."""
    async with running_simulator("--live-rate", "40") as simulator:
        yield simulator


@asynccontextmanager
async def on_a_new_broker(url: str, folder: Path) -> AsyncIterator[None]:
    """Another broker at the address of one that is gone."""
    async with embedded_broker.embedded(folder, port=int(url.rpartition(":")[2])):
        yield


async def trades_come(url: str, at_least: int = 3) -> None:
    """Wait until trades do."""
    async with connect(NatsSettings(url=url), name="hears") as bus, hearing(bus, TRADES.public, Trades) as heard:
        await heard.until_said(lambda said: len([each for each in said if each.trades]) >= at_least)


def pids(line: Pipeline) -> dict[str, int]:
    return {name: each.process.pid for name, each in line.running.items() if each.process.returncode is None}


async def test_pinned_feeds_and_jobs_go_on_on_a_broker_that_was_wiped(market: SimulatorProcess, tmp_path: Path) -> None:
    async with AsyncExitStack() as old:
        url = await old.enter_async_context(embedded_broker.embedded(tmp_path / "old"))
        async with pipeline(url, market, tmp_path, ("fetcher", "streamer"), PINNED, SHORT_S) as line:
            await trades_come(url)
            before = pids(line)
            await old.aclose()
            async with on_a_new_broker(url, tmp_path / "new"):
                await trades_come(url)
                # Another folder: the old one belongs to the broker that is gone.
                await line.start("cache", 0, TICKWIRE_CACHE_DIR=str(tmp_path / "cache-2"))
                await line.ready("fetcher")
                assert (await line.fetch(KEY, SINCE, SINCE + 600_000)).complete
                assert before.items() <= pids(line).items()


@pytest.mark.parametrize("stream", [TRADES_STREAM, f"KV_{streams.INTEREST}", f"KV_{streams.LEASES}", streams.STATUS])
async def test_feeds_go_on_after_one_stream_was_deleted(
    broker: str, market: SimulatorProcess, tmp_path: Path, stream: str
) -> None:
    """Clients are not disconnected, and get no message about it."""
    async with pipeline(broker, market, tmp_path, ("streamer",), PINNED, SHORT_S) as line:
        await trades_come(broker)
        before = pids(line)
        await line.bus.jetstream.delete_stream(stream)
        log = tmp_path / "streamer-0.log"
        async with asyncio.timeout(100):
            while "the broker has changed" not in log.read_text():
                await asyncio.sleep(0.05)
        await trades_come(broker)
        assert pids(line) == before


async def test_under_up_the_same_processes_go_on_after_the_embedded_broker_was_wiped(
    market: SimulatorProcess, tmp_path: Path
) -> None:
    env = {"TICKWIRE_STREAMER_FEEDS": json.dumps(["trade binance BTC/USDT"])}
    async with up(tmp_path, market, env=env) as running:
        url = await running.url()
        async with connect(NatsSettings(url=url), name="hears") as bus:
            async with hearing(bus, TRADES.public, Trades) as heard:
                await heard.until_said(lambda said: any(each.trades for each in said))
            services = [each for each in running.descendants() if "service" in each.cmdline()]
            # Held still, so that the broker is not there again before it was wiped.
            running.process.send_signal(signal.SIGSTOP)
            server = next(each for each in running.descendants() if each.name() == "nats-server")
            server.kill()
            await asyncio.to_thread(shutil.rmtree, tmp_path / "data" / "nats" / "jetstream")
            running.process.send_signal(signal.SIGCONT)
            await running.says("the broker has changed")
            async with hearing(bus, TRADES.public, Trades) as heard:
                await heard.until_said(lambda said: len([each for each in said if each.trades]) >= 3)
            fetch = ("candles", "fetch", "binance", "BTC/USDT", "1m", "--since", "2024-01-01", "--until", "2024-01-02")
            assert (await running.run(*fetch)).code == 0
            assert len(services) >= 3
            assert all(each.is_running() for each in services)
