"""The fetcher with a real broker, a real cache and a real exchange on loopback."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from fetch.fetched import DAY, HOUR, NOW, SYMBOL, ask, cached, fetch, klines, truth
from support.processes import SimulatorProcess
from support.serving import serving
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.natspy import BusClient
from tickwire.cache import service as cache_service
from tickwire.errors import BadRequest, UnknownExchange, UnsupportedTimeframe
from tickwire.fetcher import job_requests
from tickwire.fetcher import service as fetcher_service
from tickwire.fetcher.job_messages import last_message
from tickwire.model import messages, subjects
from tickwire.model.messages import FetchAccepted, FetchRequest, Job
from tickwire.model.ranges import Range
from tickwire.settings import Settings

pytestmark = pytest.mark.actors


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
    async with serving(bus, cache_service.serve_cache, settings, "cache-one"):
        async with serving(bus, fetcher_service.serve_fetcher, slow, "fetcher-one"):
            await ask(bus, wanted)
            async with asyncio.timeout(100):
                await running_one.wait()
        assert not ended.done()
        async with serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-two"):
            async with asyncio.timeout(100):
                job = await ended
        assert (job.instance, job.state, job.complete, job.missing) == ("fetcher-two", "done", True, [])
        assert job.rows_from_cache == 0
        assert job.rows_fetched == 30 * 1440
        assert await cached(bus) == await truth(exchange, NOW - 30 * DAY, NOW)
        # A job is acknowledged after its end was published, so not before its fetcher has ended.
        assert (await bus.jetstream.stream_info(streams.JOBS)).state.messages == 0


async def test_jobs_that_another_consumer_has_are_taken_over_once_it_is_gone(
    bus: Bus, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a server of a cluster was lost: the list lacks consumers that have no leader yet."""
    other = ConsumerConfig(durable_name="other", filter_subject="jobs.fetch.*", ack_policy=AckPolicy.EXPLICIT)
    await bus.jetstream.add_consumer(streams.JOBS, other)
    async with (
        serving(bus, cache_service.serve_cache, settings, "cache-one"),
        serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one") as fetcher,
        asyncio.TaskGroup() as group,
    ):
        job = group.create_task(fetch(bus))
        async with asyncio.timeout(60):
            while "cannot take over the jobs yet" not in caplog.text:
                assert not fetcher.done()
                await asyncio.sleep(0.02)
        await bus.jetstream.delete_consumer(streams.JOBS, "other")
        assert (await job).complete


@pytest.mark.usefixtures("services")
async def test_jobs_that_a_consumer_does_not_deliver_are_run_through_another(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(job_requests, "LASTING_S", 1.0)
    monkeypatch.setattr(job_requests, "PULL_S", 0.2)
    assert (await fetch(bus, since=NOW - HOUR)).complete
    (consumer,) = await bus.jetstream.consumers_info(streams.JOBS)
    pause = f"$JS.API.CONSUMER.PAUSE.{streams.JOBS}.{consumer.name}"
    await bus.client.request(pause, b'{"pause_until": "2100-01-01T00:00:00Z"}')
    assert (await fetch(bus, symbol="BTC/USDT")).complete
    assert "no jobs are delivered" in caplog.text
    (other,) = await bus.jetstream.consumers_info(streams.JOBS)
    assert other.name != consumer.name


async def test_a_job_that_comes_while_the_one_before_it_is_acknowledged_runs_after_it(
    bus: Bus, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publish waits while the broker is 2 MiB behind."""
    publish, second = BusClient.publish, asyncio.Event()

    async def held_back(self: BusClient, subject: str, payload: bytes = b"", *others: Any, **more: Any) -> None:
        if not payload and subject.startswith(f"$JS.ACK.{streams.JOBS}."):
            await second.wait()
        await publish(self, subject, payload, *others, **more)

    monkeypatch.setattr(BusClient, "publish", held_back)
    async with (
        serving(bus, cache_service.serve_cache, settings, "cache-one"),
        serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one") as fetcher,
        asyncio.TaskGroup() as group,
    ):
        assert (await fetch(bus, since=NOW - HOUR)).complete
        job = group.create_task(fetch(bus, since=NOW - 2 * HOUR))
        async with asyncio.timeout(60):
            while (await bus.jetstream.consumers_info(streams.JOBS))[0].num_ack_pending != 2:
                await asyncio.sleep(0.02)
        second.set()
        assert (await job).complete
        async with asyncio.timeout(60):
            while (await bus.jetstream.consumers_info(streams.JOBS))[0].num_ack_pending:
                await asyncio.sleep(0.02)
        assert not fetcher.done()
