"""A cancelled job ends: what it stored is kept, and what is missing is listed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import nats.js.errors
import pytest

from fetch.cache_and_fetcher import DAY, NOW, fetching
from fetch.fetched import klines
from tickwire.bus import publisher as publisher_module
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.bus.publisher import Ack, AcknowledgedPublisher
from tickwire.errors import BadRequest
from tickwire.model import messages, subjects
from tickwire.model.messages import CancelRequest, Coverage, Job, KeyRequest
from tickwire.model.ranges import Range, subtract

pytestmark = pytest.mark.actors


async def cancel(bus: Bus, name: str) -> Job:
    return await bus.request("fetcher.cancel", CancelRequest(id=name), Job, timeout_s=30)


async def test_a_running_job_ends_as_cancelled_and_keeps_what_it_stored(bus: Bus, broker: str, tmp_path: Path) -> None:
    async with fetching(bus, broker, tmp_path) as line:
        await line.exchange.fault("klines", "delay", seconds=0.1)
        await line.order("long", since=NOW - 100 * DAY)
        await line.heard("long", lambda job: job.rows_fetched >= 2000)
        reply = await cancel(bus, "long")
        job = await line.end("long")
        assert reply == job
        assert job.error is not None
        assert (job.state, job.error.code, job.complete) == ("failed", "cancelled", False)
        known = await bus.request(
            "cache.coverage", KeyRequest(exchange="binance", symbol="ETH/USDT", timeframe="1m"), Coverage
        )
        assert known.rows == job.rows_fetched >= 2000
        assert job.missing == subtract(Range(NOW - 100 * DAY, NOW), known.verified)
        # Again, the same; and the exchange is asked for nothing more.
        asked = len(await line.exchange.log("klines"))
        assert await cancel(bus, "long") == job
        await line.exchange.clear()
        await line.order("next", since=NOW - DAY)
        assert (await line.end("next")).complete
        begins = await klines(line.exchange)
        assert len([each for each in begins if each >= NOW - DAY]) <= 2
        # Requests that were on their way may be logged later: five at once at most.
        assert len([each for each in begins if each < NOW - DAY]) <= asked + 5
        assert (
            line.metrics.registry.get_sample_value(
                "tickwire_fetcher_jobs_ended_total", {"exchange": "binance", "state": "cancelled"}
            )
            == 1
        )
        # A job is acknowledged after its end is published.
        async with asyncio.timeout(100):
            while (await bus.jetstream.stream_info(streams.JOBS)).state.messages:
                await asyncio.sleep(0.1)


async def test_jobs_that_wait_behind_another_or_for_the_exchange_are_cancelled_at_once(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    async with fetching(bus, broker, tmp_path) as line:
        # The exchange wants to be left alone for ten minutes.
        await line.exchange.fault("klines", "status", code=429, retry_after=600)
        await line.order("asking")
        await line.heard("asking", lambda job: job.rows_expected > 0)
        await line.order("behind")
        for name in ("behind", "asking"):
            job = await cancel(bus, name)
            assert job.error is not None
            assert (job.state, job.error.code) == ("failed", "cancelled")
            assert job.missing == [Range(NOW - DAY, NOW)]


async def test_a_cancelled_job_whose_end_is_not_stored_ends_when_its_turn_comes(
    bus: Bus, broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fetcher goes on meanwhile: the failure of one job is its own."""
    monkeypatch.setattr(publisher_module, "PUBLISH_RETRY_S", 0.5)
    publish, refusing = AcknowledgedPublisher.publish, asyncio.Event()
    refusing.set()

    async def publish_unless_refused(self: AcknowledgedPublisher, subject: str, data: bytes, **options: Any) -> Ack:
        if subject == subjects.job("behind") and refusing.is_set():
            raise nats.js.errors.NoStreamResponseError
        return await publish(self, subject, data, **options)

    async with fetching(bus, broker, tmp_path) as line:
        await line.exchange.fault("klines", "status", code=429, retry_after=600)
        await line.order("asking")
        await line.heard("asking", lambda job: job.rows_expected > 0)
        await line.order("behind")
        await line.heard("behind", lambda job: job.state == "queued")
        monkeypatch.setattr(AcknowledgedPublisher, "publish", publish_unless_refused)
        assert (await cancel(bus, "behind")).state == "queued"
        refusing.clear()
        assert (await cancel(bus, "asking")).state == "failed"
        job = await line.end("behind")
        assert job.error is not None
        assert job.error.code == "cancelled"
        taken = line.metrics.registry.get_sample_value("tickwire_fetcher_jobs_taken", {"exchange": "binance"})
        assert taken == 0


async def test_a_job_that_was_cancelled_before_a_fetcher_took_it_never_asks_the_exchange(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    await bus.append(subjects.cancel("early"), messages.encode(CancelRequest(id="early")), message_id="early.cancel")
    async with fetching(bus, broker, tmp_path) as line:
        await line.order("early")
        job = await line.end("early")
        assert job.error is not None
        assert (job.error.code, job.missing) == ("cancelled", [Range(NOW - DAY, NOW)])
        assert await line.exchange.log("klines") == []


async def test_a_job_that_ended_or_never_was_is_not_cancelled(bus: Bus, broker: str, tmp_path: Path) -> None:
    async with fetching(bus, broker, tmp_path) as line:
        await line.order("done")
        done = await line.end("done")
        assert await cancel(bus, "done") == done
        with pytest.raises(BadRequest, match=r"nothing is known of a job 'never'.*jobs list"):
            await cancel(bus, "never")
        with pytest.raises(BadRequest, match="is not a job id"):
            await cancel(bus, "a.b")
