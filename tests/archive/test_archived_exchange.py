"""The whole way: socket, tape and files under `tickwire up`; the truth is the exchange's own trades and candles."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import defaultdict
from math import isclose
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from archive.written_tape import rows_of
from support.commands import Command, up
from support.hearing import hearing
from support.processes import SimulatorProcess, running_simulator
from tickwire.bus.connection import Bus, connect
from tickwire.model.feeds import Feed, Trades
from tickwire.settings import NatsSettings

pytestmark = pytest.mark.system

BTC = Feed("trade", "binance", "BTC/USDT")
CANDLE = ("open", "high", "low", "close", "volume")
SETTINGS = {
    "TICKWIRE_STREAMER_FEEDS": json.dumps([str(BTC), "candle binance BTC/USDT 1s", "ticker binance BTC/USDT"]),
    "TICKWIRE_ARCHIVE_KINDS": json.dumps(["trade", "candle", "ticker"]),
    "TICKWIRE_ARCHIVE_PART_MINUTES": "0.01",
}


def archive_of(running: Command) -> psutil.Process:
    """The archive's process."""
    lines = {each: each.cmdline() for each in running.descendants()}
    # The shell that watches over it has the same words.
    (found,) = (each for each, line in lines.items() if line[:1] == [sys.executable] and line[-1] == "archive")
    return found


async def trades_come(bus: Bus, source: str = "live", count: int = 3) -> None:
    """Wait until so many messages of a source come."""
    async with hearing(bus, BTC.public, Trades) as heard:
        await heard.until_said(lambda said: sum(each.source == source for each in said if each.trades) >= count)


async def truth(simulator: SimulatorProcess, since: int) -> dict[int, tuple[float, float]]:
    """Price and amount of the exchange's aggregate trades from a time (ms) on, by id."""
    found: dict[int, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for each in await simulator.truth("trades", symbol="BTC/USDT", since=since):
        found[each["agg"]] = (each["price"], found[each["agg"]][1] + each["amount"])
    return found


def rows_of_kind(root: Path, kind: str) -> list[dict[str, Any]]:
    """The rows of all parts, times in ms; parts are in the order of the tape."""
    rows = list[dict[str, Any]]()
    for path in sorted(root.glob(f"{kind}/exchange=binance/symbol=BTC-USDT/date=*/part-*.parquet")):
        rows += pq.ParquetFile(path).read().to_pylist()
    return [row | {"timestamp": round(row["timestamp"].timestamp() * 1000)} for row in rows]


async def test_trades_candles_and_tickers_are_archived_once_though_the_archive_is_killed(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    async with running_simulator("--live-rate", "200") as simulator:
        async with up(tmp_path, simulator, env=SETTINGS | {"TICKWIRE_ARCHIVE_ROOT": str(root)}) as running:
            url = await running.url()
            async with connect(NatsSettings(url=url), name="hears") as bus:
                await trades_come(bus)
                at = 0
                for _ in range(3):
                    archive_of(running).send_signal(signal.SIGKILL)
                    at = await running.says("archive ended (SIGKILL)", after=at)
                    at = await running.says('"event": "serving"', after=at)
                    await trades_come(bus)
                await simulator.fault("stream.binance.com", "ws_cut", seconds=1)
                await trades_come(bus, "rest", 1)
                await trades_come(bus)
            async with asyncio.timeout(100):
                # Folders announce nothing.
                while not (
                    any(row[6] == "rest" for row in rows_of(root, "BTC/USDT"))
                    and len(rows_of_kind(root, "candle")) > 3
                    and len(rows_of_kind(root, "ticker")) > 3
                ):
                    await asyncio.sleep(0.1)
            days = await running.run("archive", "days", "binance", "BTC/USDT", "--json")
            assert days.code == 0, (days.err, running.lines[-30:])
            assert json.loads(days.out)["days"][0]["condition"] == "open"
        # What it stops with is written, too.
        rows = rows_of(root, "BTC/USDT")
        known = await truth(simulator, rows[0][1] - 1000)
        candles, tickers = (rows_of_kind(root, kind) for kind in ("candle", "ticker"))
        since = min(each["timestamp"] for each in candles)
        exact = await simulator.truth("candles", symbol="BTC/USDT", timeframe="1s", since=since)
    ids = [int(row[0]) for row in rows]
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert {row[6] for row in rows} == {"live", "rest"}
    assert all(row[4] == known[int(row[0])][0] and isclose(row[5], known[int(row[0])][1]) for row in rows)
    archived = {row["timestamp"]: [row[name] for name in CANDLE] for row in candles}
    assert {each[0]: each[1:] for each in exact if each[0] in archived} == archived
    # Whoever took over reads on: no state is there twice.
    sequences = [each["sequence"] for each in tickers]
    assert sequences == sorted(set(sequences))
    prices = {each[0] for each in known.values()}
    assert {each["last"] for each in tickers if each["timestamp"] > rows[0][1]} - {None} <= prices
