"""History and files for an archive that keeps less, as users of a secured broker, and of a market of contracts."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from archive.test_imported_files import DATE, publish, run, sign
from archive.test_trade_history import SINCE, TODAY, UNTIL, venue
from fetch.fetched import DAY, HOUR, NOW, fetch
from security.secured_pipeline import declared
from support.brokers import as_user, variables_of
from support.processes import SimulatorProcess, running_simulator
from support.web import exchange_at
from tickwire.archive import service as archive_service
from tickwire.archive_files import days
from tickwire.archive_files.layout import ArchivedFeed
from tickwire.archive_files.root import FolderRoot
from tickwire.bus.connection import connect
from tickwire.cli.archive.import_files import ImportOptions, import_files
from tickwire.client import connect as connect_client
from tickwire.fetcher import service as fetcher_service
from tickwire.model.feeds import Trade
from tickwire.observe.metrics import Metrics
from tickwire.settings import ArchiveSettings, FetcherSettings, NatsSettings, Settings

pytestmark = pytest.mark.faults

COIN = "binancecoinm"
CONTRACTS = ArchivedFeed("trade", COIN, "BTC/USD:BTC")


async def test_days_that_the_archive_would_remove_again_are_refused(
    broker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with venue(broker, tmp_path, "binance", keep_days={"trade": 30}) as binance:
        job = await binance.fetch()
        assert (job.state, job.complete, job.rows_fetched, job.missing) == ("failed", False, 0, [(SINCE, UNTIL)])
        assert job.error is not None
        assert (job.error.code, job.error.remedy) == ("bad_request", "raise archive.keep_days")
        assert "is older than the archive keeps" in job.error.message
        publish(tmp_path / "downloads", await binance.live(TODAY - DAY, TODAY))
        assert await run(binance, tmp_path, tmp_path / "downloads") == 1
        said = " ".join(capsys.readouterr().err.split())
        assert "is older than the archive keeps" in said
        assert "0 files imported with 0 trades; 0 archived already, 1 failed" in said
        assert list(binance.root.rglob("*.parquet")) == []


async def test_users_of_a_secured_broker_fetch_history_and_import_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--now", str(NOW), "--symbol", "BTC/USDT", "--history-rate", "1", "--listed", str(TODAY - 3 * DAY))
    root, stop = tmp_path / "archive", asyncio.Event()
    async with declared(tmp_path / "nats") as server, running_simulator(*arguments) as simulator:
        settings = Settings(
            nats=NatsSettings(url=server.url),
            archive=ArchiveSettings(root=str(root), certify_after_s=0),
            fetcher=FetcherSettings(attempts=3, backoff_s=0.02, max_backoff_s=0.1),
            exchange={"binance": exchange_at(simulator.url, 5_000)},
        )

        async def service(user: str) -> None:
            """A service as its own user of deploy/nats/accounts.conf."""
            serve = archive_service.serve_archive if user == "archive" else fetcher_service.serve_fetcher
            async with connect(as_user(server.url, user), name=user) as own:
                await serve(own, settings, f"{user}-one", stop, Metrics())

        async with asyncio.TaskGroup() as group:
            for user in ("archive", "fetcher"):
                group.create_task(service(user))
            async with connect(as_user(server.url, "desk"), name="desk") as bus:
                async with asyncio.timeout(100):
                    for user in ("archive", "fetcher"):
                        while not await bus.request_all(f"$SRV.PING.{user}", wait_s=0.2, most=1):
                            pass
                # A program's request, worked by the fetcher's user.
                job = await fetch(bus, exchange="binance", symbol="BTC/USDT", timeframe="", kind="trade",
                                  since=TODAY - 2 * DAY, until=TODAY - 2 * DAY + HOUR)  # fmt: skip
                assert (job.state, job.complete, job.error) == ("done", True, None)
            trade = Trade(id="7", timestamp=TODAY - DAY + HOUR, side="buy", price=1.5, amount=2.0)
            publish(tmp_path / "downloads", [trade])
            for name, value in variables_of(server.url, "operator").items():
                monkeypatch.setenv(name, value)
            assert await imported(simulator, tmp_path, tmp_path / "downloads", "binance", "spot") == 0
            stop.set()
        found = days.days(FolderRoot(root), ArchivedFeed("trade", "binance", "BTC/USDT"), TODAY - DAY, TODAY)
        assert [(each.condition, each.imported) for each in found] == [("complete", 1)]
    assert "iolation" not in server.log


async def imported(simulator: SimulatorProcess, folder: Path, path: Path, exchange: str, market: str) -> int:
    """The exit code of `tickwire archive import`, on the broker that the environment names."""
    config = folder / "tickwire.toml"
    config.write_text(
        f'[exchange.{exchange}]\ngateway = "{simulator.url}"\n[exchange.{exchange}.ccxt]\nenableRateLimit = false\n'
    )
    return await import_files(asyncio.Event(), config, ImportOptions((path,), exchange, market), json=False)


def published(folder: Path, trades: Sequence[Trade]) -> Path:
    """A daily file of contracts as Binance publishes it: it begins with the names of its columns, times are in ms."""
    name = f"BTCUSD_PERP-aggTrades-{DATE}"
    lines = ["agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"]
    lines += [f"{t.id},{t.price},{t.amount:.0f},1,2,{t.timestamp},{str(t.side == 'sell').lower()}" for t in trades]
    folder.mkdir()
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        archive.writestr(f"{name}.csv", "\n".join(lines) + "\n")
    sign(folder / f"{name}.zip")
    return folder


async def test_a_file_of_contracts_is_archived_in_contracts_and_says_what_one_is(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = TODAY - DAY
    trades = [
        Trade(id="100", timestamp=begin + 5, side="buy", price=50_000.0, amount=3.0),
        Trade(id="101", timestamp=begin + 7, side="sell", price=40_000.0, amount=12.0),
        Trade(id="102", timestamp=begin + HOUR, side="buy", price=60_000.0, amount=1.0),
    ]
    monkeypatch.setenv("TICKWIRE_NATS_URL", broker)
    async with venue(broker, tmp_path, COIN) as coin, connect_client(broker) as client:
        folder = published(tmp_path / "downloads", trades)
        assert await imported(coin.simulator, tmp_path, folder, COIN, "inverse") == 0
        (made,) = days.days(FolderRoot(coin.root), CONTRACTS, begin, TODAY)
        assert (made.condition, made.rows, made.imported) == ("complete", 3, 3)
        # One contract of Binance's BTCUSD_PERP is 100 USD.
        assert [(hour.amount, hour.quote_amount) for hour in made.hours[:3]] == [(15.0, 1500.0), (1.0, 100.0), (0, 0)]
        file = pq.ParquetFile(next(coin.root.rglob("data.parquet")))
        assert file.read().column("amount").to_pylist() == [3.0, 12.0, 1.0]
        unit = json.loads(file.schema_arrow.metadata[b"tickwire"])["unit"]
        assert unit == {"multiplier": 100.0, "inverse": True}
        frame = await client.trades_frame(COIN, CONTRACTS.symbol, begin, TODAY)
        assert (frame.attrs["multiplier"], frame.attrs["inverse"], frame.attrs["complete"]) == (100.0, True, True)
        bars = await client.bars(COIN, CONTRACTS.symbol, "1h", begin, begin + HOUR)
        assert bars["volume"].tolist() == [pytest.approx(300 / 50_000 + 1200 / 40_000)]
