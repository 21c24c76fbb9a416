"""The parts of a fetch job, each by itself: cancellation, probation, the report, the publication of pages."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from support.hearing import Changing, hearing
from tickwire.bus import streams
from tickwire.bus.connection import Bus
from tickwire.errors import JobCancelled, JobParked, StorageError
from tickwire.fetcher import job_report, page_publisher
from tickwire.fetcher.calls import FailedAttempt
from tickwire.fetcher.cancellation import Cancellation
from tickwire.fetcher.job_context import JobContext
from tickwire.fetcher.job_messages import last_message
from tickwire.fetcher.job_report import JobReport
from tickwire.fetcher.metrics import FetcherMetrics
from tickwire.fetcher.page_publisher import PagePublisher, publishing_pages
from tickwire.fetcher.paging_types import ProvenPage, RefusedRange
from tickwire.fetcher.probation import Probation
from tickwire.model import messages, subjects
from tickwire.model.messages import CandlePage, FetchRequest, Job, RejectedPage, Stored
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.process.loop_yield import StepPerTurn
from tickwire.settings import Settings

pytestmark = pytest.mark.actors

MINUTE = 60_000
START = 1_514_800_800_000
KEY = Key("binance", "ETH/USDT", "1m")


def at(minute: int) -> int:
    return START + minute * MINUTE


def request(**changes: Any) -> FetchRequest:
    return FetchRequest(**KEY._asdict(), since=START, until=at(100), id="one", **changes)


def context(bus: Bus, instance: str = "fetcher-one") -> JobContext:
    return JobContext(bus, Settings(), instance, FetcherMetrics(CollectorRegistry()))


# -- cancellation -----------------------------------------------------------------------------------------------------


async def test_a_cancelled_job_cancels_what_it_waits_for_and_waits_for_its_end() -> None:
    cancellation, steps = Cancellation("one"), list[str]()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    waiting = asyncio.ensure_future(cancellation.unless_cancelled(work()))
    await asyncio.sleep(0)
    cancellation.request()
    with pytest.raises(JobCancelled, match="job one was cancelled"):
        await waiting
    assert steps == ["cleaned up"]


async def test_work_that_is_done_counts_though_the_job_is_cancelled() -> None:
    cancellation = Cancellation("one")
    cancellation.request()

    async def work() -> int:
        return 5

    assert await cancellation.unless_cancelled(asyncio.ensure_future(work())) == 5
    assert cancellation.is_requested


# -- probation --------------------------------------------------------------------------------------------------------


async def test_a_crash_is_a_running_job_of_an_instance_that_is_not_this_process(bus: Bus) -> None:
    found = context(bus)
    probation = Probation(found, "one")
    running = JobReport(context(bus, "fetcher-two"), request()).job
    assert (running.state, running.instance) == ("running", "fetcher-two")
    assert probation.crashes(running) == 1
    assert probation.crashes(msgspec.structs.replace(running, crashes=1)) == 2
    # Handed over in order.
    assert probation.crashes(msgspec.structs.replace(running, instance="")) == 0
    # This process has begun it.
    found.begun.add("one")
    assert probation.crashes(running) == 0
    probation.check(1)
    with pytest.raises(JobParked, match="2 times the fetcher's process ended"):
        probation.check(2)


async def test_suspects_run_one_at_a_time_until_their_probation_ends(bus: Bus) -> None:
    found = context(bus)
    first, second = Probation(found, "one"), Probation(found, "two")
    await first.begin()
    waiting = asyncio.ensure_future(second.begin())
    await asyncio.sleep(0)
    assert not waiting.done()
    second.end()  # It has not begun, so it releases nobody.
    await asyncio.sleep(0)
    assert not waiting.done()
    first.end()
    await waiting
    first.end()
    assert found.suspects.locked()
    second.end()
    assert not found.suspects.locked()


# -- the report -------------------------------------------------------------------------------------------------------


async def test_progress_is_throttled_but_a_first_failure_and_checkpoints_are_not(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_report, "PROGRESS_S", 600.0)
    async with hearing(bus, subjects.job("one"), Job) as heard:
        report = JobReport(context(bus), request())
        async with report.progressing():
            report.update(pages=1)
            report.progress()
            await heard.first(lambda job: job.pages == 1)
            report.update(pages=2)
            report.progress()
            await report.on_retry(FailedAttempt("503", at(1)))
            await heard.first(lambda job: job.retries == 1)
            await report.on_retry(FailedAttempt("504", at(2)))
        report.update(pages=3)
        await report.checkpoint()
        assert await last_message(bus, "one") == report.job
        await heard.first(lambda job: job.pages == 3)
    assert [(job.pages, job.retries, job.last_error) for job in heard.said] == [
        (1, 0, ""),
        (2, 1, "503"),
        (3, 2, "504"),
    ]


async def test_the_last_progress_of_a_busy_moment_is_published_too(bus: Bus) -> None:
    async with hearing(bus, subjects.job("one"), Job) as heard:
        report = JobReport(context(bus), request())
        async with report.progressing():
            for pages in range(1, 6):
                report.update(pages=pages)
                report.progress()
                await asyncio.sleep(0)
            # Then a request of the exchange takes long.
            await heard.first(lambda job: job.pages == 5)
    assert len(heard.said) < 5


async def test_a_second_run_takes_over_what_a_refresh_made_durable(bus: Bus) -> None:
    first = JobReport(context(bus), request(refresh=True))
    first.update(rows_expected=100, rows_fetched=40, missing=[Range(at(40), at(100))], pages=2)
    await first.checkpoint()
    before = await last_message(bus, "one")
    assert before is not None
    second = JobReport(context(bus, "fetcher-two"), request(refresh=True))
    assert second.refreshed == []
    second.resume(before)
    assert second.refreshed == [Range(START, at(40))]
    assert (second.job.rows_fetched, second.job.pages, second.job.instance) == (40, 2, "fetcher-two")


async def test_a_job_that_is_handed_over_names_no_instance(bus: Bus) -> None:
    found = context(bus)
    report = JobReport(found, request())
    await report.hand_over()
    assert await last_message(bus, "one") is None
    found.begun.add("one")
    await report.checkpoint()
    async with hearing(bus, subjects.job("one"), Job) as heard:
        await report.hand_over()
        handed = await heard.first(lambda job: job.instance == "")
    assert (handed.state, found.begun) == ("running", set())


# -- pages ------------------------------------------------------------------------------------------------------------


class Durable(Changing):
    """The number of durable rows at each report of a publisher."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    async def take(self, publisher: PagePublisher) -> None:
        self.rows.append(publisher.rows)
        self.changed()


def page(first: int, until: int) -> ProvenPage:
    return ProvenPage(at(first), at(until), [(at(minute), 1.0, 1.0, 1.0, 1.0, 1.0) for minute in range(first, until)])


async def test_a_page_is_durable_when_stored_covers_it_or_it_is_gone_from_the_stream(bus: Bus) -> None:
    durable = Durable()
    async with (
        hearing(bus, subjects.ohlcv(KEY), CandlePage) as sent,
        publishing_pages(bus, KEY, "one", durable.take, StepPerTurn()) as publisher,
    ):
        await publisher.put(page(0, 10))
        await publisher.put(page(10, 25))
        await sent.first(lambda page: page.since == at(10))
        await bus.publish(
            subjects.stored(KEY), Stored(**KEY._asdict(), since=START, until=at(10), rows=10, total_rows=10)
        )
        await durable.until(lambda: durable.rows[-1] == 10)
        # The second message is lost; the cache removes what it has applied.
        await bus.jetstream.purge_stream(streams.OHLCV)
        await publisher.wait_until_durable()
        assert (publisher.rows, publisher.stored, publisher.done) == (25, 2, [Range(START, at(25))])
        await durable.until(lambda: durable.rows[-1] == 25)


async def test_a_page_in_the_stream_is_not_durable_whatever_the_cache_announces(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_publisher, "LOOK_AFTER_S", 0.05)
    monkeypatch.setattr(page_publisher, "STORAGE_TIMEOUT_S", 0.5)
    durable = Durable()
    async with publishing_pages(bus, KEY, "one", durable.take, StepPerTurn()) as publisher:
        await publisher.put(page(0, 10))
        # Of a part of it.
        await bus.publish(subjects.stored(KEY), Stored(**KEY._asdict(), since=START, until=at(9), rows=9, total_rows=9))
        with pytest.raises(StorageError, match="1 pages of binance"):
            await publisher.wait_until_durable()
        assert publisher.rows == 0


async def test_a_rejected_page_is_neither_waited_for_nor_counted(bus: Bus) -> None:
    durable = Durable()
    async with (
        hearing(bus, subjects.ohlcv(KEY), CandlePage) as sent,
        publishing_pages(bus, KEY, "one", durable.take, StepPerTurn()) as publisher,
    ):
        await publisher.put(page(0, 10))
        await sent.first(lambda page: page.since == START)
        rejected = RejectedPage(**KEY._asdict(), sequence=1, reason="line 3 is no candle")
        await bus.publish(subjects.rejected(KEY), rejected)
        await publisher.wait_until_durable()
        assert publisher.refused == [RefusedRange(START, at(10), "line 3 is no candle")]
        assert (publisher.rows, publisher.done) == (0, [])


async def test_pages_of_several_jobs_are_encoded_in_turns_of_their_own(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, at_turn, encode, shared = list[None](), list[int](), messages.encode, StepPerTurn()

    async def count() -> None:
        while True:
            turns.append(None)
            await asyncio.sleep(0)

    def recorded(message: Any) -> bytes:
        at_turn.append(len(turns))
        return encode(message)

    async with AsyncExitStack() as stack:
        publishers = [
            await stack.enter_async_context(publishing_pages(bus, KEY, str(number), Durable().take, shared))
            for number in range(8)
        ]
        monkeypatch.setattr(messages, "encode", recorded)
        counting = asyncio.create_task(count())
        for publisher in publishers:
            await publisher.put(page(0, 10))
    counting.cancel()
    assert len(at_turn) == len(set(at_turn)) == 8
