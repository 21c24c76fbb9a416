"""Audits: what differs from the exchange's own candles is named and replaced, and nothing else changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fetch import candle_venues
from fetch.audited import built, coverage, lines, planted, ran, truth
from fetch.candle_venues import with_a_clock
from fetch.fetched import NOW
from fetch.model_market import Market
from support.hearing import hearing
from support.loopback import loopback, market
from support.processes import SimulatorProcess
from support.serving import serving
from support.web import exchange_at
from tickwire.bus.connection import Bus
from tickwire.cache import service as cache_service
from tickwire.cache import standing_audit
from tickwire.cli.arguments import KeyNames
from tickwire.cli.candles import audit as command
from tickwire.fetcher import service as fetcher_service
from tickwire.model.messages import (
    Difference,
    DifferentField,
    Job,
    Provenance,
)
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.observe.metrics import Metrics
from tickwire.settings import CacheSettings, FetcherSettings, NatsSettings, Settings

pytestmark = pytest.mark.actors

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SYMBOL = "ETH/USDT"
SINCE = NOW - 2 * DAY
FIELDS: tuple[DifferentField, ...] = ("open", "high", "low", "close", "volume")
VENUES = ["binance", "kucoin", "coinbase"]


@pytest.fixture
def settings(broker: str, exchange: SimulatorProcess, tmp_path: Path) -> Settings:
    spot = {"fetchMarkets": {"types": ["spot"]}}
    return Settings(
        nats=NatsSettings(url=broker),
        cache=CacheSettings(dir=tmp_path / "cache"),
        fetcher=FetcherSettings(attempts=2, backoff_s=0.02, max_backoff_s=0.1),
        exchange={each: exchange_at(exchange.url, options=spot) for each in VENUES},
    )


@pytest.fixture
async def fetcher(bus: Bus, settings: Settings) -> AsyncIterator[Metrics]:
    """A cache and a fetcher; the metrics of the fetcher."""
    metrics = Metrics()
    async with (
        serving(bus, cache_service.serve_cache, settings, "cache-one"),
        serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one", metrics),
    ):
        yield metrics


def ended(key: Key, job: Job) -> bool:
    return job.ended and job.key == key


def file_of(settings: Settings, key: Key) -> Path:
    return settings.cache_dir / f"{key.exchange}_ETH-USDT_1m.csv"


@pytest.mark.parametrize("venue", VENUES)
async def test_wrong_rows_are_named_and_replaced_and_nothing_else_changes(
    bus: Bus, exchange: SimulatorProcess, settings: Settings, fetcher: Metrics, venue: str
) -> None:
    key = Key(venue, SYMBOL, "1m")
    assert (await ran(bus, key, SINCE, SINCE + 2 * HOUR)).complete
    right = await truth(exchange, Key("binance", SYMBOL, "1m"), SINCE + 2 * HOUR, SINCE + 4 * HOUR)
    rows = list(right)
    rows[7] = (rows[7][0], rows[7][1], rows[7][2] + 1.0, *rows[7][3:])
    del rows[20]
    await built(bus, key, rows, SINCE + 2 * HOUR, SINCE + 4 * HOUR)
    first, second = Range(SINCE, SINCE + 2 * HOUR), Range(SINCE + 2 * HOUR, SINCE + 4 * HOUR)
    assert (await coverage(bus, key)).provenance == Provenance(exchange=[first], tape=[second])
    fetched = await truth(exchange, Key("binance", SYMBOL, "1m"), SINCE, SINCE + 2 * HOUR)
    wrong = planted(file_of(settings, key), fetched[30])

    job = await ran(bus, key, SINCE - HOUR, SINCE + 6 * HOUR, audit=True)
    assert (job.state, job.complete, job.missing) == ("done", True, [])
    left_out = [
        Difference(timestamp=right[20][0], field=name, cached=None, exchange=value)
        for name, value in zip(FIELDS, right[20][1:], strict=True)
    ]
    assert job.differences == [
        Difference(timestamp=fetched[30][0], field="close", cached=wrong, exchange=fetched[30][4]),
        Difference(timestamp=right[7][0], field="high", cached=right[7][2] + 1.0, exchange=right[7][2]),
        *left_out,
    ]
    assert (job.difference_count, job.rows_compared) == (7, 240)
    header, rest = file_of(settings, key).read_text().split("\n", 1)
    assert header == "dates,opens,highs,lows,closes,volumes"
    assert rest == lines([*fetched, *right])
    found = await coverage(bus, key)
    assert found.provenance == Provenance(audited=[Range(SINCE, SINCE + 4 * HOUR)])
    assert found.verified == [Range(SINCE, SINCE + 4 * HOUR)]
    labels = {"exchange": venue}
    assert fetcher.registry.get_sample_value("tickwire_fetcher_audit_differences_total", labels) == 7
    assert fetcher.registry.get_sample_value("tickwire_fetcher_audited_rows_total", labels) == 240

    again = await ran(bus, key, SINCE, SINCE + 4 * HOUR, audit=True)
    assert (again.complete, again.difference_count, again.rows_compared) == (True, 0, 240)


async def test_a_row_that_the_exchange_does_not_have_is_named_and_removed(
    bus: Bus, broker: str, tmp_path: Path
) -> None:
    """Bitstamp has no row for a minute without a trade."""
    model = Market(tuple(range(SINCE, SINCE + HOUR, 2 * MINUTE)), NOW)
    async with venue_of(bus, broker, tmp_path, "bitstamp", with_a_clock(candle_venues.bitstamp, lambda: model)) as key:
        right = model.truth(SINCE, SINCE + HOUR)
        phantom = (right[3][0] + MINUTE, *right[3][1:])
        await built(bus, key, sorted([*right, phantom]), SINCE, SINCE + HOUR)
        job = await ran(bus, key, SINCE, SINCE + HOUR - MINUTE, audit=True)
        assert {(each.timestamp, each.exchange) for each in job.differences} == {(phantom[0], None)}
        assert job.difference_count == 5
        assert (tmp_path / "cache" / "bitstamp_BTC-USD_1m.csv").read_text().split("\n", 1)[1] == lines(right)


@asynccontextmanager
async def venue_of(
    bus: Bus, broker: str, folder: Path, exchange: str, answer: Callable[..., Any]
) -> AsyncIterator[Key]:
    """A cache and a fetcher, and a venue that answers so; its key."""
    symbol = candle_venues.SYMBOL
    async with loopback() as served:
        served.answer = answer
        own = exchange_at(served.url, markets={symbol: market(symbol, "BTC_USD")})
        found = Settings(
            nats=NatsSettings(url=broker),
            cache=CacheSettings(dir=folder / "cache"),
            fetcher=FetcherSettings(attempts=2, backoff_s=0.02, max_backoff_s=0.1),
            exchange={exchange: own},
        )
        async with (
            serving(bus, cache_service.serve_cache, found, "cache-one"),
            serving(bus, fetcher_service.serve_fetcher, found, "fetcher-one"),
        ):
            yield Key(exchange, symbol, "1m")


@pytest.mark.parametrize(
    ("exchange", "answer"), [("kucoin", candle_venues.kucoin), ("gate", candle_venues.gate)], ids=["kucoin", "gate"]
)
async def test_a_row_is_audited_only_once_it_has_settled(
    bus: Bus, broker: str, tmp_path: Path, exchange: str, answer: Callable[..., Any]
) -> None:
    """The last minute gets another trade a minute after its end."""
    trading = tuple(range(NOW - 2 * HOUR, NOW, MINUTE))
    clock = [NOW + 30_000]

    def model() -> Market:
        late = (NOW - MINUTE + 7,) if clock[0] >= NOW + 60_000 else ()
        return Market(tuple(sorted((*trading, *late, *range(NOW, clock[0], MINUTE)))), clock[0])

    async with venue_of(bus, broker, tmp_path, exchange, with_a_clock(answer, model)) as key:
        early = model().truth(NOW - HOUR, NOW)
        await built(bus, key, early, NOW - HOUR, NOW)
        job = await ran(bus, key, NOW - HOUR, NOW, audit=True)
        assert (job.complete, job.difference_count) == (True, 0)
        found = (await coverage(bus, key)).provenance
        assert found.audited == [Range(NOW - HOUR, NOW - 2 * MINUTE)]
        assert found.tape == [Range(NOW - 2 * MINUTE, NOW)]
        clock[0] = NOW + 5 * MINUTE
        # The exchange's clock is trusted for a second.
        async with asyncio.timeout(60):
            while not (job := await ran(bus, key, NOW - HOUR, NOW, audit=True)).difference_count:
                pass
        assert {each.timestamp for each in job.differences} == {NOW - MINUTE}
        assert (await coverage(bus, key)).provenance == Provenance(audited=[Range(NOW - HOUR, NOW)])


async def test_a_venue_that_does_not_answer_leaves_its_rows_unaudited(
    bus: Bus, exchange: SimulatorProcess, settings: Settings, fetcher: Metrics
) -> None:
    key = Key("binance", SYMBOL, "1m")
    assert (await ran(bus, key, SINCE, SINCE + HOUR)).complete
    await built(
        bus,
        key,
        await truth(exchange, Key("binance", SYMBOL, "1m"), SINCE + HOUR, SINCE + 2 * HOUR),
        SINCE + HOUR,
        SINCE + 2 * HOUR,
    )
    before = await coverage(bus, key)
    text = file_of(settings, key).read_bytes()
    await exchange.fault("klines", "status", code=503, count=None)
    job = await ran(bus, key, SINCE, SINCE + 2 * HOUR, audit=True)
    assert (job.state, job.complete, job.rows_compared) == ("failed", False, 0)
    assert job.missing == [Range(SINCE, SINCE + 2 * HOUR)]
    assert await coverage(bus, key) == before
    assert file_of(settings, key).read_bytes() == text


async def test_what_was_built_from_the_tape_is_audited_by_itself_unless_that_is_off(
    bus: Bus, exchange: SimulatorProcess, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing_audit, "SCAN_S", 0.1)
    monkeypatch.setattr(standing_audit, "PACE_S", 0.0)
    off = settings.model_copy(update={"cache": settings.cache.model_copy(update={"audit": False})})
    day = SINCE - SINCE % DAY
    rows = await truth(exchange, Key("binance", SYMBOL, "1m"), day, day + HOUR)
    wrong = [(rows[0][0], rows[0][1] + 1.0, rows[0][2] + 1.0, *rows[0][3:]), *rows[1:]]
    keys = [Key(venue, SYMBOL, "1m") for venue in VENUES]
    async with serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one"):
        async with serving(bus, cache_service.serve_cache, off, "cache-one"):
            for key in keys:
                await built(bus, key, wrong, day, day + HOUR)
                assert (await coverage(bus, key)).provenance == Provenance(tape=[Range(day, day + HOUR)])
        # As after a kill: nothing of the audits is kept but the ranges.
        counts = Metrics()
        async with (
            hearing(bus, "md.job.*", Job) as heard,
            serving(bus, cache_service.serve_cache, settings, "cache-two", counts),
        ):
            for key in keys:
                job = await heard.first(partial(ended, key), timeout_s=100)
                assert job.id.startswith("audit-")
                assert (job.complete, job.difference_count, job.rows_compared) == (True, 2, 60)
                found = await coverage(bus, key)
                assert found.provenance == Provenance(audited=[Range(day, day + HOUR)])
                assert file_of(settings, key).read_text().split("\n", 1)[1] == lines(rows)
            assert counts.registry.get_sample_value("tickwire_cache_audits_requested_total") == len(keys)


async def test_the_command_prints_differences_and_its_exit_code_says_so(
    bus: Bus,
    exchange: SimulatorProcess,
    settings: Settings,
    fetcher: Metrics,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "tickwire.toml"
    config.write_text(f'[nats]\nurl = "{bus.url}"\n')
    key = Key("kucoin", SYMBOL, "1m")
    rows = await truth(exchange, Key("binance", SYMBOL, "1m"), SINCE, SINCE + HOUR)
    await built(bus, key, [(*rows[0][:5], rows[0][5] + 1.0), *rows[1:]], SINCE, SINCE + HOUR)
    options = command.AuditOptions(KeyNames(*key))
    assert await command.audit(asyncio.Event(), config, options, json=False) == 1
    said = capsys.readouterr().out
    assert "volume" in said
    assert "60 rows compared, 1 difference" in said
    assert await command.audit(asyncio.Event(), config, options, json=False) == 0
    again = capsys.readouterr()
    assert "60 rows compared, no difference" in again.out
    assert "not compared with archived trades: no archive runs" in again.err
    stopped = asyncio.Event()
    stopped.set()
    assert await command.audit(stopped, config, options, json=False) == 130
