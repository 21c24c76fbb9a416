"""What a fetcher brings into the cache from venues that are unlike: other grids, revised candles, refusals."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from nats.aio.msg import Msg

from fetch import candle_venues
from fetch.candle_venues import SYMBOL, Answer, with_a_clock
from fetch.model_market import MINUTE, Market
from support.loopback import Loopback, loopback, market
from support.serving import serving
from support.web import exchange_at
from tickwire.bus.connection import Bus
from tickwire.cache import service as cache_service
from tickwire.cli.candles import missing
from tickwire.client import history
from tickwire.errors import NoSuchService
from tickwire.fetcher import service as fetcher_service
from tickwire.model import messages, subjects, timeframes
from tickwire.model.messages import (
    Candles,
    CandlesRequest,
    Coverage,
    FetchAccepted,
    FetchRequest,
    Job,
    KeyRequest,
    Row,
    Verification,
)
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.settings import CacheSettings, FetcherSettings, NatsSettings, Settings

pytestmark = pytest.mark.actors

HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOW = 1_717_243_200_000  # 2024-06-01 12:00 UTC, a Saturday


class Line:
    """A cache and a fetcher, and a venue that answers as `served` does."""

    def __init__(self, bus: Bus, exchange: str, served: Loopback) -> None:
        self.bus = bus
        self.exchange = exchange
        self.served = served

    def key(self, timeframe: str) -> Key:
        return Key(self.exchange, SYMBOL, timeframe)

    async def fetch(self, timeframe: str, since: int, until: int | None = None) -> Job:
        """Have a range fetched; the job's last message."""
        name = f"j{time.time_ns()}"
        ended: asyncio.Future[Job] = asyncio.get_running_loop().create_future()

        async def follow(message: Msg) -> None:
            job = messages.decode(message.data, Job)
            if job.ended and not ended.done():
                ended.set_result(job)

        subscription = await self.bus.subscribe(subjects.job(name), follow)
        request = FetchRequest(**self.key(timeframe)._asdict(), since=since, until=until, id=name)
        async with asyncio.timeout(60):
            while True:
                try:
                    await self.bus.request("fetcher.fetch", request, FetchAccepted)
                    break
                except NoSuchService:
                    await asyncio.sleep(0.05)
            job = await ended
        await subscription.unsubscribe()
        return job

    async def rows(self, timeframe: str) -> list[Row]:
        request = CandlesRequest(**self.key(timeframe)._asdict())
        chunks = self.bus.request_chunks("cache.get", request, lambda data: messages.decode(data, Candles))
        return [row async for chunk in chunks for row in chunk.rows]

    async def coverage(self, timeframe: str) -> Coverage:
        return await self.bus.request("cache.coverage", KeyRequest(**self.key(timeframe)._asdict()), Coverage)

    async def verify(self, timeframe: str) -> Verification:
        return await self.bus.request("cache.verify", KeyRequest(**self.key(timeframe)._asdict()), Verification)


@pytest.fixture
def line(bus: Bus, broker: str, tmp_path: Path) -> Callable[..., Any]:
    @asynccontextmanager
    async def running(
        exchange: str, answer: Callable[[str, dict[str, str]], Any], **options: Any
    ) -> AsyncIterator[Line]:
        async with loopback() as served:
            served.answer = answer
            own = exchange_at(served.url, **{"markets": {SYMBOL: market(SYMBOL, "BTC_USD")}} | options)
            settings = Settings(
                nats=NatsSettings(url=broker),
                cache=CacheSettings(dir=tmp_path / "cache"),
                fetcher=FetcherSettings(attempts=2, backoff_s=0.02, max_backoff_s=0.1),
                exchange={exchange: own},
            )
            async with (
                serving(bus, cache_service.serve_cache, settings, "cache-one"),
                serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one"),
            ):
                yield Line(bus, exchange, served)

    return running


def days_at_16(model: Market, path: str, query: dict[str, str]) -> Any:
    """A venue of which it is not declared where its days open."""
    if path.endswith("/time"):
        return {"serverTime": model.now}
    if query["interval"] != "1d":
        return []
    since, until = int(query.get("startTime", 0)), int(query.get("endTime", 10**15))
    rows = model.candles("1d", timeframes.grid("1d", 16 * HOUR))
    return [[row[0], *map(str, row[1:]), row[0] + DAY - 1, "0"] for row in rows if since <= row[0] < until]


GRIDS = [
    ("kucoin", candle_venues.kucoin, "1w", 0),
    ("htx", candle_venues.htx, "1d", 16 * HOUR),
    ("mexc", days_at_16, "1d", 16 * HOUR),
]
GRID_NAMES = ["weeks on Thursday", "days at 16", "days at 16, not declared"]


@pytest.mark.parametrize(("exchange", "answer", "timeframe", "opens_at"), GRIDS, ids=GRID_NAMES)
async def test_the_candle_that_is_open_is_missing_to_nobody_wherever_it_opened(
    line: Callable[..., Any], exchange: str, answer: Answer, timeframe: str, opens_at: int
) -> None:
    """`candles get` went by where most venues' days open: for 16 hours a day the open one was missing, for ever."""
    model = Market(tuple(range(NOW - 100 * DAY, NOW, 6 * HOUR)), NOW)
    grid, since = timeframes.grid(timeframe, opens_at), NOW - 60 * DAY
    async with line(exchange, with_a_clock(answer, lambda: model)) as running:
        job = await running.fetch(timeframe, since)
        assert (job.complete, job.until) == (True, grid.open_of(NOW))
        key, found = running.key(timeframe), await running.coverage(timeframe)
        assert missing.newest_final(found, NOW) == job.until
        requested, read = missing.Requested(since, None), missing.ReadRows(count=found.rows)
        assert missing.message(requested, found, read, missing.newest_final(found, NOW), fetched=False) is None
        span = await history.known(running.bus, key, grid.ceil_open(since), None, NOW)
        assert (span.until, span.missing) == (job.until, [])
        # And a candle that closed since then is.
        later = grid.next_open(grid.open_of(NOW)) + HOUR
        assert missing.newest_final(found, later) == (await history.known(running.bus, key, since, None, later)).until
        assert (await history.known(running.bus, key, since, None, later)).missing[-1] == Range(
            job.until, grid.open_of(later)
        )


@pytest.mark.parametrize(("exchange", "answer", "timeframe", "opens_at"), GRIDS, ids=GRID_NAMES)
async def test_candles_open_where_the_venue_opens_them(
    line: Callable[..., Any], exchange: str, answer: Answer, timeframe: str, opens_at: int
) -> None:
    """Kucoin's weeks and the days of others could not be had: "no candle opens at ..., fetch again later", for ever."""
    model = Market(tuple(range(NOW - 900 * DAY, NOW, 6 * HOUR)), NOW)
    grid = timeframes.grid(timeframe, opens_at)
    since, until = NOW - 400 * DAY, NOW - 10 * DAY
    async with line(exchange, with_a_clock(answer, lambda: model)) as running:
        job = await running.fetch(timeframe, since, until)
        assert (job.state, job.complete, job.error) == ("done", True, None)
        assert (job.since, job.until) == (grid.ceil_open(since), grid.ceil_open(until))
        truth = [row for row in model.candles(timeframe, grid) if job.since <= row[0] < job.until]
        assert await running.rows(timeframe) == truth
        assert job.rows_expected == len(truth)
        found = await running.coverage(timeframe)
        assert (found.opens_at, found.holes) == (opens_at, 0)
        assert found.verified == [Range(job.since, job.until)]
        assert (await running.verify(timeframe)).problems == []
        # Carried with the key: what is added later joins it.
        later = await running.fetch(timeframe, since - 100 * DAY)
        assert later.complete
        assert later.rows_from_cache == len(truth)
        assert (await running.coverage(timeframe)).holes == 0
        assert (await running.verify(timeframe)).problems == []


@pytest.mark.parametrize(
    ("exchange", "answer"), [("kucoin", candle_venues.kucoin), ("gate", candle_venues.gate)], ids=["kucoin", "gate"]
)
async def test_a_candle_that_is_revised_after_its_end_ends_at_its_final_value(
    line: Callable[..., Any], exchange: str, answer: Answer
) -> None:
    """A minute after its end 10 became final, and the cache kept the old value."""
    trading = tuple(range(NOW - 5 * HOUR, NOW, MINUTE))
    clock = [NOW + 30_000]

    def model() -> Market:
        now = clock[0]
        # 60 s after its end, the last minute has another trade.
        late = (NOW - MINUTE + 7,) if now >= NOW + 60_000 else ()
        return Market(tuple(sorted((*trading, *late, *range(NOW, now, MINUTE)))), now)

    async with line(exchange, with_a_clock(answer, model)) as running:
        first = await running.fetch("1m", NOW - HOUR)
        assert (first.complete, first.until) == (True, NOW - 2 * MINUTE)
        before = model().truth(NOW - HOUR, NOW)
        # Stored it is; final it is not.
        assert await running.rows("1m") == before
        assert (await running.coverage("1m")).verified == [Range(NOW - HOUR, NOW - 2 * MINUTE)]
        clock[0] = NOW + 5 * MINUTE + 1_000
        # The exchange's clock is trusted for a second.
        async with asyncio.timeout(100):
            while (again := await running.fetch("1m", NOW - HOUR)).until == first.until:
                assert again.complete
        assert (again.complete, again.until) == (True, NOW + 3 * MINUTE)
        final = model().truth(NOW - HOUR, NOW + 5 * MINUTE)
        assert final[: len(before)] != before
        assert await running.rows("1m") == final
        assert (await running.coverage("1m")).verified == [Range(NOW - HOUR, NOW + 3 * MINUTE)]


def untold(answer: Callable[[str, dict[str, str]], Any]) -> Callable[[str, dict[str, str]], Any]:
    """The same from a venue that tells no time, not even when its answers were made."""

    def say(path: str, query: dict[str, str]) -> Any:
        if path.endswith(("/time", "/timestamp", "/spot/time")):
            return web.Response(status=404, headers={"Date": ""})
        said = answer(path, query)
        return web.Response(text=json.dumps(said), content_type="application/json", headers={"Date": ""})

    return say


@pytest.mark.parametrize("exchange", ["gemini", "bitstamp", "mexc", "kucoin"])
async def test_where_no_time_is_told_candles_of_the_past_are_final_on_every_page(
    line: Callable[..., Any], exchange: str
) -> None:
    """The last candles of each page counted as not final by that page's own, and so did those of every later fetch."""
    now = time.time_ns() // 1_000_000
    model = Market(tuple(range(now - 30 * HOUR, now, MINUTE)), now)
    answer: Answer = getattr(candle_venues, exchange)
    reach = 23 * HOUR if exchange == "gemini" else 29 * HOUR
    async with line(exchange, untold(with_a_clock(answer, lambda: model)), has={"fetchTime": False}) as running:
        job = await running.fetch("1m", now - reach)
        assert (job.state, job.complete, job.missing) == ("done", True, [])
        # Those of the last two minutes may be revised, and the last one may be open.
        newest = now // MINUTE * MINUTE
        assert newest - 3 * MINUTE <= job.until <= newest - 2 * MINUTE
        assert (await running.coverage("1m")).verified == [Range(job.since, job.until)]
        truth = model.truth(job.since, now)
        assert await running.rows("1m") == truth[: len(truth) - 1]
        again = await running.fetch("1m", now - 9 * HOUR, now - 5 * HOUR)
        assert (again.complete, again.pages) == (True, 0)


async def test_candles_that_may_be_revised_are_not_verified_by_a_cache_that_starts_again(
    line: Callable[..., Any],
) -> None:
    model = Market(tuple(range(NOW - 5 * HOUR, NOW, MINUTE)), NOW + 30_000)
    for _ in range(2):
        async with line("kucoin", with_a_clock(candle_venues.kucoin, lambda: model)) as running:
            job = await running.fetch("1m", NOW - HOUR)
            assert job.complete
            assert (await running.coverage("1m")).verified == [Range(NOW - HOUR, NOW - 2 * MINUTE)]
            assert len(await running.rows("1m")) == 60


async def test_a_job_names_what_the_exchange_refused_and_keeps_the_rest(line: Callable[..., Any]) -> None:
    model = Market(tuple(range(NOW - 8 * DAY, NOW, MINUTE)), NOW)
    async with line("gateeu", with_a_clock(candle_venues.gate, lambda: model)) as running:
        job = await running.fetch("1m", NOW - 8 * DAY, NOW - DAY)
        assert (job.state, job.complete, job.error) == ("done", False, None)
        assert job.missing == [Range(NOW - 8 * DAY, NOW - 10_000 * MINUTE)]
        assert [(each.since, each.until) for each in job.refused] == job.missing
        assert "too long ago" in job.refused[0].message
        assert await running.rows("1m") == model.truth(NOW - 10_000 * MINUTE, NOW - DAY)
        nothing = await running.fetch("1m", NOW - 9 * DAY, NOW - 8 * DAY)
        assert nothing.state == "failed"
        assert nothing.error is not None
        assert "too long ago" in nothing.error.message


def kraken(path: str, query: dict[str, str]) -> Any:
    return {"error": [], "result": {"unixtime": NOW // 1000}}


def hyperliquid(path: str, query: dict[str, str]) -> Any:
    return {"time": NOW}


@pytest.mark.parametrize(("exchange", "answer"), [("kraken", kraken), ("hyperliquid", hyperliquid)])
async def test_what_no_request_can_bring_is_missing_and_fails_no_job(
    line: Callable[..., Any], exchange: str, answer: Callable[[str, dict[str, str]], Any]
) -> None:
    """Both are declared to have their newest candles only."""
    async with line(exchange, answer) as running:
        job = await running.fetch("1m", NOW - 9 * DAY, NOW - 8 * DAY)
        assert (job.state, job.complete, job.error, job.pages) == ("done", False, None, 0)
        assert job.missing == [Range(NOW - 9 * DAY, NOW - 8 * DAY)]
        assert [(each.since, each.until) for each in job.refused] == job.missing
        assert "only its newest" in job.refused[0].message
