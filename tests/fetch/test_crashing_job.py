"""A job that ends its fetcher's process is given up, and those beside it are not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from nats.aio.msg import Msg

from support.processes import Service, SimulatorProcess, environment, running_simulator
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.errors import NoSuchService
from tickwire.fetcher import job_messages
from tickwire.model import messages
from tickwire.model.messages import FetchAccepted, FetchRequest, Job, Stored
from tickwire.model.ranges import Range, covers, merge

pytestmark = pytest.mark.actors

NOW = 1_717_243_200_000  # 2024-06-01 12:00 UTC
DAY = 86_400_000
CONFIG = """
[exchange.binance]
gateway = "{gateway}"
[exchange.binance.ccxt]
enableRateLimit = false
options = {{ fetchMarkets = {{ types = ["spot"] }} }}
[exchange.okx]
gateway = "{gateway}"
[exchange.okx.ccxt]
enableRateLimit = false
options = {{ fetchMarkets = {{ types = ["spot"] }} }}
"""
DEADLY = "symbol=SOLUSDT"


def wanted(name: str, exchange: str, symbol: str, days: int) -> FetchRequest:
    return FetchRequest(exchange=exchange, symbol=symbol, timeframe="1m", since=NOW - days * DAY, until=NOW, id=name)


async def ordered(bus: Bus, request: FetchRequest) -> None:
    """Order a job as soon as a fetcher is there."""
    while True:
        try:
            await bus.request("fetcher.fetch", request, FetchAccepted)
            return
        except NoSuchService:
            await asyncio.sleep(0.05)


class Heard:
    """What is said of jobs, and when each has ended."""

    def __init__(self, names: list[str]) -> None:
        self.last: dict[str, Job] = {}
        self.ended = {name: asyncio.Event() for name in names}

    async def take(self, message: Msg) -> None:
        job = messages.decode(message.data, Job)
        self.last[job.id] = job
        if job.ended:
            self.ended[job.id].set()

    async def all(self) -> None:
        for each in self.ended.values():
            await each.wait()


class Durable:
    """What the cache said that it stored."""

    def __init__(self) -> None:
        self.ranges: list[Range] = []

    async def take(self, message: Msg) -> None:
        stored = messages.decode(message.data, Stored)
        self.ranges = merge([*self.ranges, Range(stored.since, stored.until)])


async def deadly_requests(exchange: SimulatorProcess) -> int:
    return len([entry for entry in await exchange.log("klines") if DEADLY in str(entry["query"])])


async def killed_by_it(
    env: Mapping[str, str], log: Path, exchange: SimulatorProcess, heard: Heard, deaths: int
) -> bool:
    """One life of a fetcher: killed as soon as it asks for the deadly page; whether it was."""
    async with Service("fetcher", env, log=log) as process:
        ended = asyncio.ensure_future(heard.all())
        try:
            while not ended.done():
                if await deadly_requests(exchange) > deaths:
                    await process.kill()
                    return True
                await asyncio.wait({ended}, timeout=0.02)
        finally:
            ended.cancel()
    return False


@pytest.mark.parametrize("refresh", [False, True])
async def test_a_job_that_ends_its_process_twice_is_parked_while_all_others_complete(
    bus: Bus, broker: str, tmp_path: Path, refresh: bool
) -> None:
    others = [
        wanted("eth", "binance", "ETH/USDT", 20),
        wanted("btc", "binance", "BTC/USDT", 20),
        wanted("okx", "okx", "ETH/USDT", 10),
    ]
    deadly = msgspec.structs.replace(wanted("deadly", "binance", "SOL/USDT", 2), refresh=refresh)
    requests = [*others[:1], deadly, *others[1:]]
    heard = Heard([str(each.id) for each in requests])
    await bus.subscribe("md.job.*", heard.take)
    symbols = ("--symbol", "ETH/USDT", "--symbol", "BTC/USDT", "--symbol", "SOL/USDT")
    async with running_simulator("--now", str(NOW + 30_000), *symbols) as exchange:
        config, log = tmp_path / "tickwire.toml", tmp_path / "fetcher.log"
        config.write_text(CONFIG.format(gateway=exchange.url))
        env = environment(tmp_path / "data", TICKWIRE_NATS_URL=broker, TICKWIRE_CONFIG=str(config))
        await exchange.fault(DEADLY, "hang")
        await exchange.fault("klines", "delay", seconds=0.1)
        deaths = 0
        async with asyncio.timeout(120), Service("cache", env), asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(ordered(bus, request))
            while await killed_by_it(env, log, exchange, heard, deaths):
                deaths += 1
        assert deaths == 2
        assert await deadly_requests(exchange) == 2
    for request in others:
        job = heard.last[str(request.id)]
        assert (job.state, job.complete, job.missing, job.error) == ("done", True, [], None)
    parked = heard.last["deadly"]
    assert parked.error is not None
    assert (parked.state, parked.error.code, parked.crashes) == ("failed", "parked", 2)
    assert "fetcher's log" in parked.error.remedy
    assert parked.missing == [Range(NOW - 2 * DAY, NOW)]
    assert "parked" in log.read_text() or "given up" in log.read_text()
    # Never delivered again, and its end is there for who asks later.
    assert (await bus.jetstream.stream_info(streams.JOBS)).state.messages == 0
    assert await job_messages.last_message(bus, "deadly") == parked


async def test_a_job_that_gets_on_between_two_deaths_is_not_given_up(bus: Bus, broker: str, tmp_path: Path) -> None:
    heard = Heard(["long"])
    await bus.subscribe("md.job.*", heard.take)
    async with running_simulator("--now", str(NOW + 30_000), "--symbol", "ETH/USDT") as exchange:
        config, log = tmp_path / "tickwire.toml", tmp_path / "fetcher.log"
        config.write_text(CONFIG.format(gateway=exchange.url))
        env = environment(tmp_path / "data", TICKWIRE_NATS_URL=broker, TICKWIRE_CONFIG=str(config))
        await exchange.fault("klines", "delay", seconds=0.1)
        request = wanted("long", "binance", "ETH/USDT", 40)
        async with asyncio.timeout(120), Service("cache", env):
            fetched = 0
            for _ in range(3):
                async with Service("fetcher", env, log=log) as process:
                    await ordered(bus, request)
                    while "long" not in heard.last or heard.last["long"].rows_fetched < fetched + 5000:
                        await asyncio.sleep(0.02)
                    fetched = heard.last["long"].rows_fetched
                    await process.kill()
            assert not heard.last["long"].ended
            await exchange.clear()
            async with Service("fetcher", env, log=log):
                await heard.all()
    job = heard.last["long"]
    assert (job.state, job.complete, job.rows_from_cache, job.rows_fetched) == ("done", True, 0, 40 * 1440)


async def test_a_refresh_goes_on_after_two_deaths_from_the_pages_that_are_durable(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    since = NOW - 40 * DAY
    heard, durable = Heard(["first", "again"]), Durable()
    await bus.subscribe("md.job.*", heard.take)
    async with running_simulator("--now", str(NOW + 30_000), "--symbol", "ETH/USDT") as exchange:
        config, log = tmp_path / "tickwire.toml", tmp_path / "fetcher.log"
        config.write_text(CONFIG.format(gateway=exchange.url))
        env = environment(tmp_path / "data", TICKWIRE_NATS_URL=broker, TICKWIRE_CONFIG=str(config))
        async with asyncio.timeout(200), Service("cache", env):
            async with Service("fetcher", env, log=log):
                await ordered(bus, wanted("first", "binance", "ETH/USDT", 40))
                await heard.ended["first"].wait()
            await bus.subscribe("md.stored.>", durable.take)
            await exchange.fault("klines", "delay", seconds=0.1)
            refresh = msgspec.structs.replace(wanted("again", "binance", "ETH/USDT", 40), refresh=True)
            at = since
            for _ in range(2):
                await exchange.forget_log()
                async with Service("fetcher", env, log=log) as process:
                    await ordered(bus, refresh)
                    while "again" not in heard.last or not got_beyond(heard.last["again"], at):
                        await asyncio.sleep(0.02)
                    await process.kill()
                assert not heard.last["again"].ended
                assert min(await asked(exchange)) >= at
                at = heard.last["again"].missing[0].since
                assert covers(durable.ranges, Range(since, at))
            await exchange.clear()
            await exchange.forget_log()
            async with Service("fetcher", env, log=log):
                await heard.ended["again"].wait()
        assert min(await asked(exchange)) >= at
    assert covers(durable.ranges, Range(since, NOW))
    job = heard.last["again"]
    assert (job.state, job.complete, job.missing, job.rows_fetched) == ("done", True, [], 40 * 1440)


def got_beyond(job: Job, at: int) -> bool:
    """Whether a running job says that pages beyond `at` are durable, or has ended."""
    return job.ended or (bool(job.missing) and job.missing[0].since > at)


async def asked(exchange: SimulatorProcess) -> list[int]:
    """Since when the candles were asked for, in each request."""
    return [int(entry["query"].partition("startTime=")[2].partition("&")[0]) for entry in await exchange.log("klines")]
