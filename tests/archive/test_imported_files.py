"""Daily files of trades that a venue publishes, imported from a folder; the truth is the exchange's own list."""

from __future__ import annotations

import asyncio
import hashlib
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from archive.test_trade_history import TODAY, Venue, venue
from fetch.fetched import DAY, HOUR
from support.processes import running_simulator
from tickwire.archive_requests import writer as archive_writer
from tickwire.bus.connection import connect
from tickwire.cli.archive.import_files import ImportOptions, import_files
from tickwire.errors import NoSuchService
from tickwire.model.feeds import Feed, Trade
from tickwire.observe.metrics import Metrics
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.faults

DATE = "2024-05-31"
NAME = f"BTCUSDT-aggTrades-{DATE}.zip"


def publish(folder: Path, trades: Iterable[Trade], name: str = NAME, scale: int = 1000) -> Path:
    """A daily file of aggregate trades as Binance publishes it, with times in microseconds (`scale` 1: ms)."""
    lines = [
        f"{each.id},{each.price:.8f},{each.amount:.8f},1,2,{each.timestamp * scale},{each.side == 'sell'},True"
        for each in trades
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name.replace(".zip", ".csv"), "\n".join(lines) + "\n")
    sign(path)
    return path


def sign(path: Path) -> None:
    """Write the checksum of a file beside it."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.CHECKSUM").write_text(f"{digest}  {path.name}\n")


async def run(
    binance: Venue, folder: Path, *paths: Path, market: str = "spot", stop: asyncio.Event | None = None
) -> int:
    """The exit code of `tickwire archive import`."""
    config = folder / "tickwire.toml"
    config.write_text(
        f'[nats]\nurl = "{binance.bus.url}"\n[exchange.binance]\ngateway = "{binance.simulator.url}"\n'
        "[exchange.binance.ccxt]\nenableRateLimit = false\n"
    )
    return await import_files(stop or asyncio.Event(), config, ImportOptions(paths, None, market), json=False)


async def test_a_file_fills_the_day_once_and_what_is_damaged_is_named(
    broker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "downloads"
    async with venue(broker, tmp_path, "binance") as binance:
        await binance.tape()
        await binance.until_certified("gaps")
        truth = await binance.live(TODAY - DAY, TODAY)
        publish(folder / "a", truth)
        # Those before 2025 are in milliseconds; this one lacks its last trades, which nothing shows.
        yesterday = await binance.live(TODAY - 2 * DAY, TODAY - DAY)
        publish(folder, yesterday, "BTCUSDT-aggTrades-2024-05-30.zip", scale=1)
        assert await run(binance, tmp_path, folder) == 0
        assert "2 files imported" in capsys.readouterr().err
        first, second = binance.certificates()
        assert (first.condition, first.rows, first.imported) == ("complete", len(yesterday), len(yesterday))
        assert (second.condition, second.gaps, second.rows) == ("complete", [], len(truth))
        assert second.live + second.imported == second.rows
        rows = [row for row in binance.rows() if row["timestamp"] >= TODAY - DAY]
        assert [(row["id"], row["timestamp"], row["price"], row["side"]) for row in rows] == [
            (each.id, each.timestamp, each.price, each.side) for each in truth
        ]
        assert {row["source"] for row in rows} == {"live", "file"}
        # Twice adds nothing.
        assert await run(binance, tmp_path, folder) == 0
        assert "0 files imported with 0 trades; 2 archived already, 0 failed" in capsys.readouterr().err
        assert binance.certificates() == [first, second]


async def test_files_that_cannot_be_imported_are_named_and_the_others_go_on(
    broker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "downloads"
    async with venue(broker, tmp_path, "binance") as binance:
        truth = await binance.live(TODAY - DAY, TODAY)
        # What is archived already is not looked into: this one comes last.
        publish(folder / "z", truth)
        one = truth[:9]
        publish(folder, one, f"XXXYYY-aggTrades-{DATE}.zip")
        publish(folder, one, f"BTCUSDT-trades-{DATE}.zip")
        publish(folder, one, "BTCUSDT-aggTrades-2024-02-30.zip")
        (folder / "notes.txt").write_text("mine")
        places = {
            name: publish(folder / name, one)
            for name in ("other", "unsigned", "cut", "torn", "locked", "foreign", "empty", "late", "bad")
        }
        places["other"].with_name(f"{NAME}.CHECKSUM").write_text(f"{'0' * 64}  {NAME}\n")
        places["unsigned"].with_name(f"{NAME}.CHECKSUM").unlink()
        whole = places["cut"].read_bytes()
        places["cut"].write_bytes(whole[: len(whole) // 2])
        sign(places["cut"])
        data = 30 + len(NAME)  # Behind the header and the name in the file, which is as long.
        places["torn"].write_bytes(whole[:data] + b"\xff" * 9 + whole[data + 9 :])
        sign(places["torn"])
        flags = whole.rindex(b"PK\x01\x02") + 8
        places["locked"].write_bytes(whole[:flags] + bytes([whole[flags] | 1]) + whole[flags + 1 :])
        sign(places["locked"])
        publish(folder / "empty", [])
        publish(folder / "late", [truth[0], Trade(id="9", timestamp=TODAY + HOUR, side="buy", price=1.0, amount=1.0)])
        with zipfile.ZipFile(places["foreign"], "w") as archive:
            archive.writestr("readme.csv", "1,2,3\n")
        sign(places["foreign"])
        with zipfile.ZipFile(places["bad"], "w") as archive:
            archive.writestr(NAME.replace(".zip", ".csv"), "7,1.0,1.0,1,2,1717113600000000,maybe,True\n")
        sign(places["bad"])
        assert await run(binance, tmp_path, folder) == 1
        said = capsys.readouterr().err
        for words in (
            "there is no market XXXYYY",
            "it has single trades, and the feed BTC/USDT has the others",
            "2024-02-30 is not a day",
            "notes.txt: it is no daily file of trades",
            "other/" + NAME + ": it does not have the checksum",
            "unsigned/" + NAME + f": it has no {NAME}.CHECKSUM beside it",
            "cut/" + NAME + ": it is damaged",
            "torn/" + NAME + ": it is damaged",
            "locked/" + NAME + ": it is damaged",
            "foreign/" + NAME + ": it has no BTCUSDT-aggTrades-2024-05-31.csv",
            "bad/" + NAME + ": line 1",
            "1 file imported",
        ):
            assert words in " ".join(said.split()), (words, said)
        assert [each.condition for each in binance.certificates()] == ["missing", "complete"]
        assert binance.certificates()[1].imported == len(truth)
        assert json.loads((next(binance.root.rglob("day.json"))).read_text())["rows"] == len(truth)
        # A file in which ids are missing proves only what lies around them.
        holed = [each for each in await binance.live(TODAY - 2 * DAY, TODAY - DAY) if each.timestamp % DAY > 12 * HOUR]
        hole = publish(tmp_path / "holed", [*holed[:50], *holed[60:]], "BTCUSDT-aggTrades-2024-05-30.zip")
        assert await run(binance, tmp_path, hole) == 3
        assert (
            f"trades {int(holed[49].id or 0) + 1} to {int(holed[59].id or 0)} are not in it" in capsys.readouterr().err
        )
        [made, _] = binance.certificates()
        assert (made.condition, made.rows) == ("partial", len(holed) - 10)


async def test_an_import_without_an_archive_ends_as_does_one_that_is_interrupted(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_writer, "PATIENCE_S", 0.2)
    monkeypatch.setattr(archive_writer, "ANSWER_S", 1e6)
    trade = Trade(id="1", timestamp=TODAY - DAY, side="buy", price=1.0, amount=1.0)
    folder = publish(tmp_path / "downloads", [trade]).parent
    stop = asyncio.Event()

    async def interrupt(_: Msg) -> None:
        stop.set()

    async with running_simulator() as simulator, connect(NatsSettings(url=broker), name="test") as bus:
        binance = Venue(bus, simulator, tmp_path, Feed("trade", "binance", "BTC/USDT"), Metrics())
        with pytest.raises(NoSuchService, match="no archive takes trades"):
            await run(binance, tmp_path, folder)
        # One that does not answer.
        async with asyncio.timeout(100), bus.subscribed("archive.days", interrupt):
            assert await run(binance, tmp_path, folder, stop=stop) == 130
