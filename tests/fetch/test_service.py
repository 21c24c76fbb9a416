"""The fetcher with a real broker, a real cache and a real exchange on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from nats.aio.msg import Msg

from support.processes import SimulatorProcess, running_simulator
from tickwire.bus import streams
from tickwire.bus.connection import Bus, connect
from tickwire.cache import service as cache_service
from tickwire.errors import BadRequest, NoSuchService, UnknownExchange, UnsupportedTimeframe
from tickwire.fetcher import service as fetcher_service
from tickwire.fetcher.job_messages import last_message
from tickwire.model import messages, subjects, timeframes
from tickwire.model.messages import Candles, CandlesRequest, FetchAccepted, FetchRequest, Job
from tickwire.model.ranges import Range
from tickwire.observe.metrics import Metrics
from tickwire.settings import CacheSettings, ExchangeSettings, FetcherSettings, LeaseSettings, NatsSettings, Settings

pytestmark = pytest.mark.actors

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = 1_717_243_200_000  # 2024-06-01 12:00 UTC, half a minute before the simulated exchange's clock
SYMBOL = "ETH/USDT"


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatorProcess]:
    """An exchange whose clock stands half a minute after NOW, with two markets."""
    arguments = ("--now", str(NOW + 30_000), "--symbol", SYMBOL, "--symbol", "BTC/USDT")
    async with running_simulator(*arguments) as process:
        yield process


@pytest.fixture
def settings(broker: str, exchange: SimulatorProcess, tmp_path: Path) -> Settings:
    own = ExchangeSettings(
        gateway=exchange.url,
        ccxt={
            "enableRateLimit": False,
            "timeout_on_exit": 0,
            "timeout": 3_000,
            "options": {"fetchMarkets": {"types": ["spot"]}},
        },
    )
    return Settings(
        nats=NatsSettings(url=broker),
        cache=CacheSettings(dir=tmp_path / "cache"),
        fetcher=FetcherSettings(attempts=3, backoff_s=0.02, max_backoff_s=0.1),
        leases=LeaseSettings(ttl_s=1.0),
        exchange={"binance": own, "binanceus": own},
    )


Serve = Callable[[Bus, Settings, str, asyncio.Event, Metrics], Any]


@asynccontextmanager
async def running(serve: Serve, settings: Settings, instance: str) -> AsyncIterator[None]:
    """One instance of a service on a connection of its own, stopped on the way out."""
    stop = asyncio.Event()
    async with connect(settings.nats, name=instance) as own, asyncio.TaskGroup() as group:
        group.create_task(serve(own, settings, instance, stop, Metrics()))
        try:
            yield
        finally:
            stop.set()


@pytest.fixture
async def services(bus: Bus, settings: Settings) -> AsyncIterator[None]:
    """A cache and a fetcher."""
    async with (
        running(cache_service.serve_cache, settings, "cache-one"),
        running(fetcher_service.serve_fetcher, settings, "fetcher-one"),
    ):
        yield


async def ask(bus: Bus, request: FetchRequest) -> FetchAccepted:
    """Ask as soon as a fetcher is up."""
    async with asyncio.timeout(100):
        while True:
            try:
                return await bus.request("fetcher.fetch", request, FetchAccepted)
            except NoSuchService:
                await asyncio.sleep(0.05)


async def fetch(bus: Bus, timeout_s: float = 100, **request: Any) -> Job:
    """Have a range fetched; the job's last message."""
    usual: dict[str, Any] = {"exchange": "binance", "symbol": SYMBOL, "timeframe": "1m", "since": NOW - DAY}
    wanted = FetchRequest(**usual | {"id": f"j{time.time_ns()}"} | request)
    ended: asyncio.Future[Job] = asyncio.get_running_loop().create_future()

    async def follow(message: Msg) -> None:
        job = messages.decode(message.data, Job)
        if job.ended and not ended.done():
            ended.set_result(job)

    assert wanted.id is not None
    subscription = await bus.subscribe(subjects.job(wanted.id), follow)
    await ask(bus, wanted)
    async with asyncio.timeout(timeout_s):
        job = await ended
    await subscription.unsubscribe()
    return job


async def cached(bus: Bus, timeframe: str = "1m", symbol: str = SYMBOL) -> list[list[float]]:
    rows: list[list[float]] = []
    request = CandlesRequest(exchange="binance", symbol=symbol, timeframe=timeframe)
    async for chunk in bus.request_chunks("cache.get", request, lambda data: messages.decode(data, Candles)):
        rows += [list(row) for row in chunk.rows]
    return rows


async def truth(exchange: SimulatorProcess, since: int, until: int, timeframe: str = "1m") -> list[list[float]]:
    """The exact candles that open in `[since, until)`."""
    rows = await exchange.truth("candles", symbol=SYMBOL, timeframe=timeframe, since=since, until=until)
    return [[float(value) for value in row[:6]] for row in rows]


async def klines(exchange: SimulatorProcess) -> list[int]:
    """Where the requests for candles so far began."""
    queries = [parse_qs(entry["query"]) for entry in await exchange.log("klines")]
    return [int(query["startTime"][0]) if "startTime" in query else 0 for query in queries]


@pytest.mark.usefixtures("services")
async def test_a_range_is_fetched_into_the_cache_value_for_value(bus: Bus, exchange: SimulatorProcess) -> None:
    job = await fetch(bus, since=NOW - 2 * DAY)
    assert (job.state, job.complete, job.missing, job.error) == ("done", True, [], None)
    assert (job.since, job.until) == (NOW - 2 * DAY, NOW)
    expected = await truth(exchange, NOW - 2 * DAY, NOW)
    assert await cached(bus) == expected
    assert (job.rows_fetched, job.rows_from_cache, job.rows_expected) == (len(expected), 0, 2880)


@pytest.mark.usefixtures("services")
async def test_only_what_is_missing_is_asked_for(bus: Bus, exchange: SimulatorProcess) -> None:
    first = await fetch(bus, since=NOW - 16 * HOUR, until=NOW - 8 * HOUR)
    assert first.complete
    await exchange.forget_log()
    second = await fetch(bus, since=NOW - 24 * HOUR)
    assert (second.complete, second.rows_from_cache, second.rows_fetched) == (True, 480, 960)
    assert all(at < NOW - 16 * HOUR or at >= NOW - 8 * HOUR for at in await klines(exchange))
    await exchange.forget_log()
    third = await fetch(bus, since=NOW - 24 * HOUR)
    assert (third.complete, third.rows_from_cache, third.rows_fetched) == (True, 1440, 0)
    assert await klines(exchange) == []


@pytest.mark.usefixtures("services")
async def test_only_the_newest_closed_candles_are_asked_for_later(bus: Bus, exchange: SimulatorProcess) -> None:
    await fetch(bus, since=NOW - 2 * HOUR)
    await exchange.clock(advance=5 * 60_000)
    await exchange.forget_log()
    # The exchange's clock is trusted for a second: until it is asked again, there is nothing new.
    async with asyncio.timeout(100):
        while (job := await fetch(bus, since=NOW - 2 * HOUR)).until == NOW:
            assert (job.complete, job.rows_fetched) == (True, 0)
    assert (job.complete, job.until, job.rows_fetched) == (True, NOW + 5 * 60_000, 5)
    assert await cached(bus) == await truth(exchange, NOW - 2 * HOUR, NOW + 5 * 60_000)
    assert await klines(exchange) == [NOW]


@pytest.mark.usefixtures("services")
async def test_a_refresh_asks_again_for_what_is_known(bus: Bus, exchange: SimulatorProcess) -> None:
    await fetch(bus, since=NOW - 2 * HOUR)
    await exchange.forget_log()
    job = await fetch(bus, since=NOW - 2 * HOUR, refresh=True)
    assert (job.complete, job.rows_from_cache, job.rows_fetched) == (True, 0, 120)
    assert len(await klines(exchange)) == 1


FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("status", {"code": 500, "count": 2}),
    ("status", {"code": 503, "count": 2}),
    ("status", {"code": 429, "count": 1}),
    ("truncated", {"count": 2}),
    ("empty", {"count": 1}),
    ("empty", {"count": 1, "after": 1}),
    ("short", {"count": 3, "rows": 7}),
    ("drop", {"count": 2}),
    ("hang", {"count": 1}),
    ("delay", {"count": 1, "seconds": 0.3}),
    ("same_last", {"count": 1}),
]


@pytest.mark.parametrize(("kind", "parameters"), FAULTS)
@pytest.mark.usefixtures("services")
async def test_a_passing_fault_costs_time_and_no_candle(
    bus: Bus, exchange: SimulatorProcess, kind: str, parameters: dict[str, Any]
) -> None:
    await exchange.fault("klines", kind, **parameters)
    job = await fetch(bus, since=NOW - 2 * DAY)
    assert (job.state, job.complete, job.missing, job.error) == ("done", True, [], None)
    assert await cached(bus) == await truth(exchange, NOW - 2 * DAY, NOW)


@pytest.mark.parametrize("kind", ["status", "truncated", "hang", "drop"])
@pytest.mark.usefixtures("services")
async def test_an_exchange_that_stays_broken_fails_the_job_which_keeps_what_it_has(
    bus: Bus, exchange: SimulatorProcess, kind: str
) -> None:
    await exchange.fault("klines", kind, after=1)
    job = await fetch(bus, since=NOW - 2 * DAY)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "exchange_failed"
    assert job.retries == 2
    fetched = timeframes.advance("1m", NOW - 2 * DAY, 1000)
    assert job.missing == [Range(fetched, NOW)]
    assert await cached(bus) == await truth(exchange, NOW - 2 * DAY, fetched)
    await exchange.clear()
    again = await fetch(bus, since=NOW - 2 * DAY)
    assert (again.complete, again.rows_from_cache) == (True, 1000)


@pytest.mark.parametrize("kind", ["empty", "same_last"])
@pytest.mark.usefixtures("services")
async def test_an_exchange_that_brings_nothing_new_ends_as_missing_and_not_in_a_loop(
    bus: Bus, exchange: SimulatorProcess, kind: str
) -> None:
    await exchange.fault("klines", kind, after=1)
    job = await fetch(bus, since=NOW - 2 * DAY)
    assert (job.state, job.complete, job.error) == ("done", False, None)
    assert await cached(bus) == [
        row
        for row in await truth(exchange, NOW - 2 * DAY, NOW)
        if not any(gap.since <= row[0] < gap.until for gap in job.missing)
    ]
    assert len(await klines(exchange)) < 15


@pytest.mark.usefixtures("services")
async def test_no_request_is_made_while_a_retry_after_runs(bus: Bus, exchange: SimulatorProcess) -> None:
    await exchange.fault("klines", "status", code=429, retry_after=2, count=1)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(fetch(bus))
        while not any(entry["status"] == 429 for entry in await exchange.log()):
            await asyncio.sleep(0.02)
        second = group.create_task(fetch(bus, symbol="BTC/USDT"))
    assert first.result().complete
    assert second.result().complete
    log = await exchange.log()
    refused = next(entry for entry in log if entry["status"] == 429)
    later = [entry["time_ms"] - refused["time_ms"] for entry in log if entry["index"] > refused["index"]]
    assert min(later) >= 1_900


@pytest.mark.usefixtures("services")
async def test_before_the_listing_there_is_provably_nothing(bus: Bus, exchange: SimulatorProcess) -> None:
    listed = NOW - 5 * HOUR
    await exchange.fault("klines", "listing", since=listed)
    job = await fetch(bus, since=NOW - 300 * DAY)
    assert (job.complete, job.missing, job.rows_fetched) == (True, [], 300)
    assert len(await klines(exchange)) < 15


@pytest.mark.usefixtures("services")
async def test_an_unknown_symbol_fails_the_job_with_the_nearest_names(bus: Bus, exchange: SimulatorProcess) -> None:
    job = await fetch(bus, symbol="ETH/USD")
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "unknown_symbol")
    assert "ETH/USDT" in job.error.remedy


@pytest.mark.usefixtures("services")
async def test_since_in_the_exchange_s_future_fails_the_job(bus: Bus, exchange: SimulatorProcess) -> None:
    job = await fetch(bus, since=NOW + HOUR)
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "bad_request")


@pytest.mark.usefixtures("services")
async def test_candles_that_are_not_closed_yet_are_missing(bus: Bus, exchange: SimulatorProcess) -> None:
    job = await fetch(bus, since=NOW - HOUR, until=NOW + HOUR)
    assert (job.state, job.complete, job.missing) == ("done", False, [Range(NOW, NOW + HOUR)])


@pytest.mark.usefixtures("services")
async def test_what_cannot_be_meant_is_refused_at_once(bus: Bus) -> None:
    good: dict[str, Any] = {"exchange": "binance", "symbol": SYMBOL, "timeframe": "1m", "since": NOW - DAY}
    await ask(bus, FetchRequest(**good))
    for change, error, words in (
        ({"exchange": "binanse"}, UnknownExchange, "did you mean binance"),
        ({"timeframe": "7m"}, UnsupportedTimeframe, "binance has no 7m"),
        ({"timeframe": "soon"}, UnsupportedTimeframe, "not a timeframe"),
        ({"until": NOW - 2 * DAY}, BadRequest, "not before until"),
        ({"id": "a b"}, BadRequest, "job id"),
        ({"symbol": ""}, BadRequest, "symbol"),
    ):
        with pytest.raises(error, match=words):
            await bus.request("fetcher.fetch", FetchRequest(**good | change), FetchAccepted)


@pytest.mark.usefixtures("services")
async def test_the_same_id_makes_one_job_and_its_result_can_be_had_again(bus: Bus, exchange: SimulatorProcess) -> None:
    first = await fetch(bus, id="mine", since=NOW - 2 * HOUR)
    asked = len(await klines(exchange))
    assert await fetch(bus, id="mine", since=NOW - 2 * HOUR) == first
    assert await last_message(bus, "mine") == first
    assert len(await klines(exchange)) == asked


async def test_a_fetcher_that_stops_hands_its_job_on_at_once(
    bus: Bus, settings: Settings, exchange: SimulatorProcess
) -> None:
    slow = settings.model_copy(
        update={
            "exchange": {
                "binance": settings.exchange["binance"].model_copy(
                    update={"ccxt": {**settings.exchange["binance"].ccxt, "enableRateLimit": True, "rateLimit": 100}}
                )
            }
        }
    )
    ended: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
    running_one = asyncio.Event()

    async def follow(message: Msg) -> None:
        job = messages.decode(message.data, Job)
        if job.instance == "fetcher-one" and job.pages:
            running_one.set()
        if job.ended:
            ended.set_result(job)

    await bus.subscribe(subjects.job("handed"), follow)
    wanted = FetchRequest(exchange="binance", symbol=SYMBOL, timeframe="1m", since=NOW - 30 * DAY, id="handed")
    async with running(cache_service.serve_cache, settings, "cache-one"):
        async with running(fetcher_service.serve_fetcher, slow, "fetcher-one"):
            await ask(bus, wanted)
            async with asyncio.timeout(100):
                await running_one.wait()
        assert not ended.done()
        async with running(fetcher_service.serve_fetcher, settings, "fetcher-two"):
            async with asyncio.timeout(100):
                job = await ended
        assert (job.instance, job.state, job.complete, job.missing) == ("fetcher-two", "done", True, [])
        assert job.rows_from_cache == 0
        assert job.rows_fetched == 30 * 1440
        info = await bus.jetstream.stream_info(streams.JOBS)
        assert info.state.messages == 0
        assert await cached(bus) == await truth(exchange, NOW - 30 * DAY, NOW)
