"""A job's requests travel side by side at a real exchange: in order to the cache, each failure at its own place."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

import pytest

from fetch.cache_and_fetcher import DAY, MINUTE, NOW, Fetching, fetching
from support.hearing import hearing
from tickwire.bus.connection import Bus
from tickwire.model.messages import CancelRequest, CandlePage, Job
from tickwire.model.ranges import Range

pytestmark = pytest.mark.actors

PAGE = 1000 * MINUTE
SINCE = NOW - 20 * PAGE


async def begun(line: Fetching) -> list[int]:
    """The pages that were requested so far, by their number."""
    queries = [parse_qs(entry["query"]) for entry in await line.exchange.log("klines")]
    return [(int(query["startTime"][0]) - SINCE) // PAGE for query in queries if "startTime" in query]


def page(number: int) -> str:
    return f"startTime={SINCE + number * PAGE}"


async def test_pages_behind_one_that_hangs_are_requested_and_sent_in_order(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    async with (
        fetching(bus, broker, tmp_path, timeout=5_000) as line,
        hearing(bus, "tape.ohlcv.>", CandlePage) as pages,
    ):
        await line.exchange.fault(page(6), "hang", count=1)
        await line.exchange.fault(page(8), "status", count=1, code=503)
        await line.exchange.fault(page(9), "delay", count=1, seconds=0.3)
        await line.order("all", since=SINCE)
        # The sixth page hangs until ccxt gives it up; those behind it are on their way meanwhile.
        job = await line.heard("all", lambda job: job.retries > 0)
        assert (job.pages, job.retries) == (6, 1)
        assert set(await begun(line)) == set(range(11))
        # The one that failed meanwhile is repeated once it is its turn.
        assert (await begun(line)).count(8) == 1
        job = await line.end("all")
        assert (job.complete, job.rows_fetched, job.pages) == (True, 20_000, 20)
        sent = [each.since for each in pages.said]
        assert sent == sorted(sent)
        assert (job.retries, sorted(await begun(line))) == (2, sorted([*range(20), 6, 8]))


async def test_a_page_that_fails_ends_its_own_range_and_no_other(bus: Bus, broker: str, tmp_path: Path) -> None:
    async with fetching(bus, broker, tmp_path) as line:
        for number in (4, 9):
            await line.order(f"known-{number}", since=SINCE + number * PAGE, until=SINCE + (number + 1) * PAGE)
            assert (await line.end(f"known-{number}")).complete
        await line.exchange.fault(page(6), "status", code=503)
        await line.order("all", since=SINCE)
        job = await line.end("all")
        assert job.error is not None
        assert (job.state, job.error.code) == ("failed", "exchange_failed")
        assert job.missing == [Range(SINCE + 6 * PAGE, SINCE + 9 * PAGE)]
        assert (job.rows_from_cache, job.rows_fetched) == (2000, 15_000)
        await line.exchange.clear()
        await line.order("again", since=SINCE)
        again = await line.end("again")
        assert (again.complete, again.rows_fetched) == (True, 3000)


async def test_an_exchange_that_answers_for_no_range_is_asked_for_two(bus: Bus, broker: str, tmp_path: Path) -> None:
    async with fetching(bus, broker, tmp_path, attempts=1) as line:
        for number in range(1, 20, 2):
            await line.order(f"known-{number}", since=SINCE + number * PAGE, until=SINCE + (number + 1) * PAGE)
            assert (await line.end(f"known-{number}")).complete
        await line.exchange.forget_log()
        await line.exchange.fault("klines", "status", code=503)
        await line.order("all", since=SINCE)
        job = await line.end("all")
        assert (job.state, job.rows_fetched) == ("failed", 0)
        assert len(job.missing) == 10
        assert await begun(line) == [0, 2]


async def test_a_job_that_is_cancelled_with_pages_on_their_way_is_continued(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    # Progress is said when something happens: here, that the request timed out.
    async with fetching(bus, broker, tmp_path, timeout=5_000) as line:
        await line.exchange.fault(page(8), "hang")
        await line.order("first", since=SINCE)
        await line.heard("first", lambda job: job.rows_fetched == 8000)
        job = await bus.request("fetcher.cancel", CancelRequest(id="first"), Job, timeout_s=30)
        assert job.error is not None
        assert (job.error.code, job.rows_fetched, job.missing) == ("cancelled", 8000, [Range(SINCE + 8 * PAGE, NOW)])
        await line.exchange.clear()
        await line.order("second", since=SINCE)
        second = await line.end("second")
        assert (second.complete, second.rows_from_cache, second.rows_fetched) == (True, 8000, 12_000)


async def test_jobs_side_by_side_have_equal_shares_of_the_requests(bus: Bus, broker: str, tmp_path: Path) -> None:
    symbols = ("ETH/USDT", "BTC/USDT")
    async with fetching(bus, broker, tmp_path, *symbols, concurrency=6) as line:
        await line.exchange.fault("klines", "delay", seconds=0.05)
        for symbol in symbols:
            await line.order(symbol[:3], symbol=symbol, timeframe="1s", since=NOW - 100 * DAY)
        for symbol in symbols:
            await line.heard(symbol[:3], lambda job: job.pages >= 10)
        await line.exchange.forget_log()
        await line.heard("ETH", lambda job: job.pages >= 60)
        asked = [parse_qs(entry["query"])["symbol"][0] for entry in await line.exchange.log("klines")]
        assert min(asked.count("ETHUSDT"), asked.count("BTCUSDT")) >= len(asked) // 4
        for symbol in symbols:
            await line.bus.request("fetcher.cancel", CancelRequest(id=symbol[:3]), Job, timeout_s=30)
