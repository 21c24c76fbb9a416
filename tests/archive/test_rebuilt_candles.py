"""Candles of the cache against those rebuilt from archived trades, on unlike venues, by services on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fetch.audited import coverage, lines, planted, ran, truth
from support.hearing import hearing
from support.processes import SimulatorProcess, running_simulator
from support.serving import serving
from support.web import exchange_at
from tickwire.archive import service as archive_service
from tickwire.bus.connection import Bus
from tickwire.cache import archive_audit
from tickwire.cache import service as cache_service
from tickwire.cli.arguments import KeyNames
from tickwire.cli.candles import audit as command
from tickwire.fetcher import service as fetcher_service
from tickwire.model import messages
from tickwire.model.feeds import Feed, Trade, Trades
from tickwire.model.feeds.layout import TapeLayout
from tickwire.model.messages import (
    Certificate,
    Comparison,
    Job,
    KeyRequest,
    Provenance,
    Row,
    Verification,
)
from tickwire.model.ranges import Range
from tickwire.model.subjects import Key
from tickwire.observe.metrics import Metrics
from tickwire.settings import ArchiveSettings, CacheSettings, FetcherSettings, NatsSettings, Settings

pytestmark = pytest.mark.faults

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
FIRST = 1_717_200_000_000 - 1_717_200_000_000 % DAY  # 2024-06-01
NOW = FIRST + 2 * DAY + HOUR // 2
SPOT = "BTC/USDT"
LINEAR = "BTC/USDT:USDT"
DIFFERENCES = "tickwire_cache_archived_differences_total"
FEEDS = [("binance", SPOT), ("okx", SPOT), ("kraken", SPOT), ("okx", LINEAR)]


@dataclass
class Pipeline:
    """A simulated exchange of several venues, an archive, a cache and a fetcher."""

    bus: Bus
    exchange: SimulatorProcess
    settings: Settings
    counted: Metrics = field(default_factory=Metrics)
    last: dict[tuple[str, str], int] = field(default_factory=dict)
    """The last message of each feed."""

    async def sold(self, feed: tuple[str, str]) -> list[Trade]:
        """The exchange's own trades of both days and around them."""
        found = await self.exchange.truth(
            "trades", exchange=feed[0], symbol=feed[1], since=FIRST - HOUR, until=FIRST + 2 * DAY + 1
        )
        return [Trade(id=str(t["id"]), timestamp=t["timestamp"], side=t["side"], price=float(t["price"]),
                      amount=float(t["amount"])) for t in found]  # fmt: skip

    async def taped(self, feed: tuple[str, str], sold: list[Trade]) -> None:
        """Put trades on the tape as a streamer does, which declares them complete until the end of the second day."""
        market = await self.exchange.truth("market", exchange=feed[0], symbol=feed[1])
        unit = {"multiplier": market["unit"], "inverse": market["inverse"]} if ":" in feed[1] else {}
        parts = [[], *(sold[at : at + 500] for at in range(0, len(sold), 500)), []]
        untils = [FIRST - HOUR, *(part[-1].timestamp for part in parts[1:-1]), FIRST + 2 * DAY]
        for part, until in zip(parts, untils, strict=True):
            await self.publish(feed, part, until, unit)

    async def publish(self, feed: tuple[str, str], trades: list[Trade], until: int, unit: dict[str, Any]) -> None:
        """Put one message on the tape."""
        said = Trades(exchange=feed[0], symbol=feed[1], trades=trades, received=until, until=until, **unit)
        headers = {"Nats-Expected-Last-Subject-Sequence": str(self.last.get(feed, 0))}
        subject = TapeLayout(self.settings.tape.partitions).place_of(Feed("trade", *feed)).subject
        self.last[feed] = (await self.bus.jetstream.publish(subject, messages.encode(said), headers=headers)).seq

    async def certified(self, feed: tuple[str, str], heard: Any) -> None:
        """Wait until both days of a feed are certified as complete."""
        wanted = {(*feed, date, "complete") for date in ("2024-06-01", "2024-06-02")}
        await heard.until_said(lambda said: wanted <= {(c.exchange, c.symbol, c.date, c.condition) for c in said})

    async def until_compared(self, key: Key, span: Range) -> Provenance:
        """Wait until a range is compared; looked at again, because a comparison changes no rows to announce."""
        async with asyncio.timeout(100):
            while span not in (found := (await coverage(self.bus, key)).provenance).archived:
                await asyncio.sleep(0.1)
        return found


@pytest.fixture
async def pipeline(bus: Bus, broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pipeline]:
    monkeypatch.setattr(archive_audit, "SCAN_S", 0.2)
    monkeypatch.setattr(archive_audit, "PACE_S", 0.0)
    market = ["--now", str(NOW), "--listed", str(FIRST - DAY), "--symbol", SPOT, "--history-rate", "3"]
    async with running_simulator(*market) as exchange:
        settings = Settings(
            nats=NatsSettings(url=broker),
            cache=CacheSettings(dir=tmp_path / "cache"),
            # Days are closed at once, and again with each later round.
            archive=ArchiveSettings(root=str(tmp_path / "archive"), part_minutes=0.002, certify_after_s=0),
            fetcher=FetcherSettings(attempts=2, backoff_s=0.02, max_backoff_s=0.1),
            exchange={
                "binance": exchange_at(exchange.url, 60_000, options={"fetchMarkets": {"types": ["spot"]}}),
                "okx": exchange_at(exchange.url, 60_000),
                "kraken": exchange_at(exchange.url, 60_000),
            },
        )
        found = Pipeline(bus, exchange, settings)
        async with (
            serving(bus, archive_service.serve_archive, settings, "archive-one"),
            serving(bus, fetcher_service.serve_fetcher, settings, "fetcher-one"),
            serving(bus, cache_service.serve_cache, settings, "cache-one", found.counted),
        ):
            yield found


def span_of(key: Key) -> Range:
    """What is fetched of a key: kraken has the newest 720 candles."""
    if key.exchange == "kraken" and key.timeframe == "1m":
        return Range(FIRST + DAY + 13 * HOUR, FIRST + 2 * DAY)
    return Range(FIRST, FIRST + 2 * DAY)


async def test_candles_rebuilt_from_certified_days_are_the_exchanges_own(pipeline: Pipeline, tmp_path: Path) -> None:
    keys = [Key(*feed, timeframe) for feed in FEEDS for timeframe in ("1m", "1h", "1d")]
    async with hearing(pipeline.bus, "md.archived.trade.*.*", Certificate) as heard:
        for key in keys:
            assert (await ran(pipeline.bus, key, *span_of(key))).complete
        for feed in FEEDS:
            await pipeline.taped(feed, await pipeline.sold(feed))
        for feed in FEEDS:
            await pipeline.certified(feed, heard)
    for key in keys:
        span = span_of(key)
        found = await pipeline.until_compared(key, span)
        assert found == Provenance(exchange=[span], archived=[span])
        verified = await pipeline.bus.request("cache.verify", KeyRequest(**key._asdict()), Verification)
        assert verified.provenance is not None
        assert (verified.provenance.archived, verified.provenance.disputed) == (verified.rows, 0)
    for known in ("yes", "unknown"):
        assert pipeline.counted.registry.get_sample_value(DIFFERENCES, {"comparable": known}) == 0
    # Of each feed two days, or the newest half of one.
    assert (
        pipeline.counted.registry.get_sample_value("tickwire_cache_archived_rows_compared_total") or 0
    ) >= 3 * 2880 + 660

    # A trade that comes late opens its day again, which is compared once more.
    late = Trade(id="late", timestamp=FIRST + 5 * HOUR, side="buy", price=1e6, amount=1.0)
    await pipeline.publish(FEEDS[0], [late], FIRST + 2 * DAY, {})
    for timeframe, length in (("1m", MINUTE), ("1h", HOUR), ("1d", DAY)):
        key, opened = Key(*FEEDS[0], timeframe), late.timestamp - late.timestamp % length
        file = tmp_path / "cache" / f"binance_BTC-USDT_{timeframe}.csv"
        before = file.read_bytes()
        async with asyncio.timeout(100):
            while ((await coverage(pipeline.bus, key)).provenance).disputed != [Range(opened, opened + length)]:
                await asyncio.sleep(0.1)
        assert file.read_bytes() == before


async def test_a_wrong_candle_and_a_missing_trade_are_each_found(
    pipeline: Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [Key(*feed, "1m") for feed in FEEDS[:3]]
    lost_at, wrong_at = FIRST + DAY + 15 * HOUR, FIRST + DAY + 20 * HOUR
    lost: dict[Key, Trade] = {}
    right: dict[Key, list[Row]] = {}
    async with (
        hearing(pipeline.bus, "md.archived.trade.*.*", Certificate) as heard,
        hearing(pipeline.bus, "md.job.*", Job) as jobs,
    ):
        for key in keys:
            span = span_of(key)
            assert (await ran(pipeline.bus, key, *span)).complete
            right[key] = await truth(pipeline.exchange, key, *span)
            row = next(row for row in right[key] if row[0] >= wrong_at and row[5] > 0)
            planted(tmp_path / "cache" / f"{key.exchange}_BTC-USDT_1m.csv", row)
            sold = await pipeline.sold((key.exchange, key.symbol))
            lost[key] = next(each for each in sold if each.timestamp >= lost_at)
            sold.remove(lost[key])
            await pipeline.taped((key.exchange, key.symbol), sold)
        for key in keys:
            await pipeline.certified((key.exchange, key.symbol), heard)
            job = await jobs.first(
                lambda job, key=key: job.ended and job.key == key and job.id.startswith("archived-"),  # type: ignore[misc]
                timeout_s=100,
            )
            # The wrong candle is the only one that the exchange has otherwise.
            assert [(each.field, each.exchange) for each in job.differences] == [
                ("close", next(row[4] for row in right[key] if row[0] == job.differences[0].timestamp))
            ]
    for key in keys:
        span = span_of(key)
        minute = lost[key].timestamp // MINUTE * MINUTE
        found = await pipeline.until_compared(key, span)
        # The exchange's own row of that minute stays.
        assert found.disputed == [Range(minute, minute + MINUTE)]
        file = tmp_path / "cache" / f"{key.exchange}_BTC-USDT_1m.csv"
        assert file.read_text().split("\n", 1)[1] == lines(right[key])
    for known in ("yes", "unknown"):
        assert (pipeline.counted.registry.get_sample_value(DIFFERENCES, {"comparable": known}) or 0) >= 2
    config = tmp_path / "tickwire.toml"
    config.write_text(f'[nats]\nurl = "{pipeline.bus.url}"\n')
    for key in lost:
        code = await command.audit(asyncio.Event(), config, command.AuditOptions(KeyNames(*key)), json=False)
        said = capsys.readouterr()
        assert "compared with archived trades, " in said.out
        if key.exchange == "okx":
            assert (code, "not comparable, as far as is known" in said.err) == (0, True)
        else:
            assert (code, "the exchange's own rows are kept" in said.err) == (1, True)
        code = await command.audit(asyncio.Event(), config, command.AuditOptions(KeyNames(*key)), json=True)
        archived = msgspec.json.decode(capsys.readouterr().out)["archived"]
        told = msgspec.convert(archived, Comparison)
        assert {each.timestamp for each in told.differences} == {lost[key].timestamp // MINUTE * MINUTE}
        assert (told.compared, told.volumes, told.remarks) == ([span_of(key)], True, [])
