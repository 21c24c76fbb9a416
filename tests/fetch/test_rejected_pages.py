"""Pages that the cache rejects: the job ends at once with the reason."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fetch.cache_and_fetcher import DAY, MINUTE, NOW, fetching
from support.hearing import hearing
from tickwire.bus.connection import Bus
from tickwire.fetcher.page_publisher import PagePublisher
from tickwire.model import subjects
from tickwire.model.messages import RejectedPage, Stored
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key

pytestmark = pytest.mark.actors

KEY = Key("binance", "ETH/USDT", "1m")
PAGE = 1000 * MINUTE


@pytest.mark.parametrize("refresh", [False, True])
async def test_a_page_that_the_cache_passes_over_fails_its_range_with_the_reason(
    bus: Bus, broker: str, tmp_path: Path, refresh: bool
) -> None:
    """The exchange's clock is weeks ahead of the cache's, which believes two days."""
    present = int(time.time() * 1000) // MINUTE * MINUTE
    since, until = present + DAY, present + 20 * DAY
    async with (
        fetching(bus, broker, tmp_path, "ETH/USDT", "BTC/USDT", now=present + 21 * DAY) as line,
        hearing(bus, "md.rejected.>", RejectedPage) as rejected,
        hearing(bus, "md.stored.>", Stored) as stored,
    ):
        await line.exchange.fault("klines", "delay", seconds=0.2)
        await line.order("ahead", since=since, until=until, refresh=refresh)
        await line.order("beside", symbol="BTC/USDT", since=present - DAY, until=present)
        job, beside = await line.end("ahead"), await line.end("beside")
        asked = len([entry for entry in await line.exchange.log("klines") if "ETHUSDT" in entry["query"]])
    assert (beside.state, beside.complete) == ("done", True)
    first = rejected.said[0]
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "page_rejected")
    assert first.reason in job.error.message
    assert "\n" not in job.error.message
    # What the cache took before is kept; the rest is missing, and of what was sent it is said why.
    known = max(each.until for each in stored.said if each.symbol == KEY.symbol)
    assert job.missing == [Range(known, until)]
    assert first.since == known
    assert job.refused[0].since == known
    assert job.refused[0].message == first.reason
    # The rest of the range was not asked for in vain.
    assert asked < (until - since) // PAGE


@pytest.mark.parametrize(("ahead_ms", "rejects"), [(DAY, False), (20 * DAY, True)])
async def test_a_page_whose_rejection_was_not_heard_is_missing_with_a_reason(
    bus: Bus, broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_ms: int, rejects: bool
) -> None:
    """As while the connection is gone. What the cache stored meanwhile is not said to be missing."""

    async def missed(*_: object) -> None:
        pass

    for name in ("on_rejected", "on_stored"):
        monkeypatch.setattr(PagePublisher, name, missed)
    present = int(time.time() * 1000) // MINUTE * MINUTE
    since, until = present - DAY, present + ahead_ms
    async with (
        fetching(bus, broker, tmp_path, now=until + DAY) as line,
        hearing(bus, "md.rejected.>", RejectedPage) as rejected,
    ):
        await line.order("unheard", since=since, until=until)
        job = await line.end("unheard", 200)
    assert bool(rejected.said) == rejects
    if not rejects:
        assert (job.state, job.complete, job.refused) == ("done", True, [])
        return
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "page_rejected")
    assert [Range(each.since, each.until) for each in job.refused] == job.missing
    assert {each.message for each in job.refused} == {job.error.message.partition(": ")[2]}
    assert "see the log of the cache" in job.error.message


async def test_a_job_hears_at_once_that_its_file_was_damaged_meanwhile(bus: Bus, broker: str, tmp_path: Path) -> None:
    async with fetching(bus, broker, tmp_path) as line, hearing(bus, "md.rejected.>", RejectedPage) as rejected:
        await line.exchange.fault("klines", "delay", seconds=0.2)
        await line.order("damaged", since=NOW - 20 * DAY)
        await line.heard("damaged", lambda job: job.rows_fetched > 0)
        with (tmp_path / "cache" / f"{subjects.file_stem(KEY)}.csv").open("a") as file:
            file.write("no candle\n")
        job = await line.end("damaged")
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "cache_file")
    assert job.refused[0].message == rejected.said[0].reason
    assert job.refused[0].since == rejected.said[0].since
