"""Audits in the background give way to other jobs; audits of contract markets, whose units differ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from fetch.audited import built, coverage, ran, truth
from fetch.fetched import DAY, HOUR, NOW
from support.hearing import hearing
from support.processes import SimulatorProcess
from support.serving import serving
from support.web import exchange_at
from tickwire.bus.connection import Bus
from tickwire.cache import service as cache_service
from tickwire.fetcher import candle_source
from tickwire.fetcher import service as fetcher_service
from tickwire.model.messages import Difference, FetchAccepted, FetchRequest, Job, Provenance, VolumeUnit
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.settings import CacheSettings, FetcherSettings, NatsSettings, Settings

pytestmark = pytest.mark.actors

SYMBOL = "ETH/USDT"
SINCE = NOW - 2 * DAY
OPTIONS: dict[str, Any] = {
    "binance": {"fetchMarkets": {"types": ["spot"]}},
    "kucoin": {"fetchMarkets": {"types": ["spot"]}},
    "gate": {"fetchMarkets": {"types": ["swap"]}},
    "okx": {},
    "binanceusdm": {},
    "binancecoinm": {},
}


@pytest.fixture
async def fetcher(bus: Bus, broker: str, exchange: SimulatorProcess, tmp_path: Path) -> AsyncIterator[Settings]:
    """A cache and a fetcher."""
    settings = Settings(
        nats=NatsSettings(url=broker),
        cache=CacheSettings(dir=tmp_path / "cache", audit=False),
        fetcher=FetcherSettings(attempts=2, backoff_s=0.02, max_backoff_s=0.1),
        exchange={each: exchange_at(exchange.url, 30_000, options=options) for each, options in OPTIONS.items()},
    )
    async with (
        serving(bus, cache_service.serve_cache, settings, "cache-one"),
        serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one"),
    ):
        yield settings


@pytest.mark.parametrize(
    ("venue", "symbol", "unit"),
    [
        ("okx", "ETH/USDT:USDT", "base"),
        ("binanceusdm", "ETH/USDT:USDT", "base"),
        ("gate", "ETH/USDT:USDT", "base"),
        ("okx", "ETH/USD:ETH", "base"),
        ("binancecoinm", "ETH/USD:ETH", "base"),
    ],
)
async def test_candles_of_contracts_are_audited_in_their_unit(
    bus: Bus, exchange: SimulatorProcess, fetcher: Settings, venue: str, symbol: str, unit: VolumeUnit
) -> None:
    key = Key(venue, symbol, "1m")
    right = await truth(exchange, key, SINCE, SINCE + 2 * HOUR)
    rows = list(right)
    rows[7] = (*rows[7][:5], rows[7][5] * 10)
    rows[9] = (rows[9][0], rows[9][1] + 1.0, rows[9][2] + 1.0, *rows[9][3:])
    await built(bus, key, rows, SINCE, SINCE + 2 * HOUR)
    job = await ran(bus, key, SINCE, SINCE + 2 * HOUR, audit=True)
    assert (job.state, job.complete, job.rows_compared) == ("done", True, 120)
    assert job.differences == [
        Difference(timestamp=rows[7][0], field="volume", cached=rows[7][5], exchange=right[7][5]),
        Difference(timestamp=rows[9][0], field="open", cached=rows[9][1], exchange=right[9][1]),
        Difference(timestamp=rows[9][0], field="high", cached=rows[9][2], exchange=right[9][2]),
    ]
    found = await coverage(bus, key)
    assert (found.volume_unit, found.provenance) == (unit, Provenance(audited=[Range(SINCE, SINCE + 2 * HOUR)]))


async def test_a_job_in_the_background_asks_the_exchange_only_once_other_jobs_have_ended(
    bus: Bus, exchange: SimulatorProcess, fetcher: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candle_source, "GIVE_WAY_S", 60.0)
    theirs, mine = Key("binance", SYMBOL, "1m"), Key("binance", SYMBOL, "5m")
    assert (await ran(bus, mine, SINCE, SINCE + DAY)).complete
    await exchange.forget_log()
    await exchange.fault("klines", "delay", seconds=0.2, count=None)
    async with hearing(bus, "md.job.*", Job) as heard:
        await bus.request(
            "fetcher.fetch",
            FetchRequest(**theirs._asdict(), since=NOW - 5 * DAY, until=NOW, id="theirs"),
            FetchAccepted,
        )
        await heard.first(lambda job: job.id == "theirs" and job.pages > 0, timeout_s=100)
        audited = await ran(bus, mine, SINCE, SINCE + DAY, audit=True, background=True)
        assert (audited.complete, audited.difference_count) == (True, 0)
    intervals = [parse_qs(entry["query"])["interval"][0] for entry in await exchange.log("klines")]
    assert set(intervals) == {"1m", "5m"}
    assert intervals == sorted(intervals)


@pytest.mark.parametrize("venue", ["binance", "kucoin"])
async def test_an_audit_in_the_background_gives_way_to_a_fetch_of_its_key(
    bus: Bus, exchange: SimulatorProcess, fetcher: Settings, venue: str
) -> None:
    key = Key(venue, SYMBOL, "1m")
    rows = await truth(exchange, key, SINCE, SINCE + DAY)
    await built(bus, key, [(*row[:5], row[5] + 1.0) for row in rows], SINCE, SINCE + DAY)
    path = "klines" if venue == "binance" else "candles"
    await exchange.forget_log()
    await exchange.fault(path, "delay", seconds=600, count=1)
    audit = FetchRequest(**key._asdict(), since=SINCE, until=SINCE + DAY, audit=True, background=True, id="audit")
    async with hearing(bus, "md.job.*", Job) as heard:
        await bus.request("fetcher.fetch", audit, FetchAccepted)
        async with asyncio.timeout(60):
            # The exchange does not answer it; nothing announces a request.
            while not await exchange.log(path):
                await asyncio.sleep(0.05)
        theirs = await ran(bus, key, SINCE + DAY, SINCE + DAY + HOUR)
        assert theirs.complete
        assert not any(job.id == "audit" and job.ended for job in heard.said)
        job = await heard.first(lambda job: job.id == "audit" and job.ended, timeout_s=100)
    assert (job.complete, job.crashes, job.rows_compared, job.difference_count) == (True, 0, 1440, 1440)
    assert (await coverage(bus, key)).provenance == Provenance(
        exchange=[Range(SINCE + DAY, SINCE + DAY + HOUR)], audited=[Range(SINCE, SINCE + DAY)]
    )
