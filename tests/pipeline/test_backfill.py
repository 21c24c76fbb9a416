"""Candles from the exchange to the files, through every process."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from support.pipeline import Pipeline, pipeline
from support.processes import running_simulator
from tickwire.model.messages import Coverage, KeyRequest, Row, Verification
from tickwire.model.subjects import Key, file_stem

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("declared")]

MINUTE = 60_000


def source_rows(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        lines = csv.reader(file)
        next(lines)
        return [(int(r[0]), float(r[1]), float(r[2]), float(r[3]), float(r[4]), float(r[5])) for r in lines]


def ask(key: Key) -> KeyRequest:
    return KeyRequest(**key._asdict())


def kline_requests(log: list[dict[str, Any]], symbol: str) -> list[tuple[int, int | None]]:
    """(startTime, endTime) of the kline requests for a symbol without its slash."""
    asked = []
    for entry in log:
        query = dict(parse_qsl(entry.get("query") or ""))
        if query.get("symbol") == symbol and "startTime" in query:
            end = query.get("endTime")
            asked.append((int(query["startTime"]), int(end) if end else None))
    return asked


async def verified_clean(line: Pipeline, key: Key) -> Coverage:
    found = await line.bus.request("cache.verify", ask(key), Verification, timeout_s=30)
    assert (found.problems, found.problem_count) == ([], 0)
    return await line.bus.request("cache.coverage", ask(key), Coverage)


@pytest.mark.parametrize(
    ("file", "symbol", "timeframe", "absent"),
    [
        ("binance_ETH-BTC_5m_2018-01.csv", "ETH/BTC", "5m", 0),
        ("binance_XMR-BTC_5m_2018-01.csv", "XMR/BTC", "5m", 2),
        ("binance_XRP-ETH_1m_2019-10.csv", "XRP/ETH", "1m", 1091),  # in 676 holes
        ("BTC-PERP_1m_2022-01.csv", "BTC/USDT", "1m", 0),
    ],
)
async def test_recorded_candles_arrive_value_for_value_and_holes_are_not_asked_for_again(
    broker: str, tmp_path: Path, recorded: Path, file: str, symbol: str, timeframe: str, absent: int
) -> None:
    source = recorded / "ohlcv" / file
    expected = source_rows(source)
    key = Key("binance", symbol, timeframe)
    step = expected[1][0] - expected[0][0]
    async with (
        running_simulator("--play", f"{symbol}:{timeframe}={source}") as simulator,
        pipeline(broker, simulator, tmp_path) as line,
    ):
        job = await line.fetch(key, expected[0][0], expected[-1][0] + step)
        assert (job.complete, job.missing, job.error) == (True, [], None)
        assert job.rows_fetched == len(expected)
        assert line.rows(key) == expected
        coverage = await verified_clean(line, key)
        assert (coverage.rows, coverage.holes) == (len(expected), absent)
        assert [tuple(known) for known in coverage.verified] == [(expected[0][0], expected[-1][0] + step)]
        meta = json.loads((line.cache_dir / f"{file_stem(key)}.meta.json").read_text())
        assert meta["verified"] == [[expected[0][0], expected[-1][0] + step]]
        assert Key(meta["exchange"], meta["symbol"], meta["timeframe"]) == key

        await simulator.forget_log()
        again = await line.fetch(key, expected[0][0], expected[-1][0] + step)
        assert (again.complete, again.rows_fetched, again.rows_from_cache) == (True, 0, len(expected))
        assert await simulator.log("klines") == []


async def test_of_a_range_whose_middle_is_known_only_the_ends_are_requested(broker: str, tmp_path: Path) -> None:
    key = Key("binance", "ETH/USDT", "1m")
    async with running_simulator() as simulator, pipeline(broker, simulator, tmp_path) as line:
        now = int((await simulator._json("GET", "clock"))["now"])
        end = now // MINUTE * MINUTE - 10 * MINUTE
        since, first, second = end - 9000 * MINUTE, end - 6000 * MINUTE, end - 3000 * MINUTE
        middle = await line.fetch(key, first, second)
        assert (middle.complete, middle.rows_fetched) == (True, 3000)
        await simulator.forget_log()
        whole = await line.fetch(key, since, end)
        assert (whole.complete, whole.rows_fetched, whole.rows_from_cache) == (True, 6000, 3000)
        for start, _ in kline_requests(await simulator.log("klines"), "ETHUSDT"):
            assert not first <= start < second, "a known candle was asked for again"
        truth = await simulator.truth("candles", symbol="ETH/USDT", timeframe="1m", since=since, until=end)
        assert [list(row) for row in line.rows(key)] == [[float(value) for value in row[:6]] for row in truth]
        await verified_clean(line, key)


async def test_fetching_again_asks_only_for_the_newest_closed_candles(broker: str, tmp_path: Path) -> None:
    key = Key("binance", "BTC/USDT", "1m")
    async with running_simulator() as simulator, pipeline(broker, simulator, tmp_path) as line:
        now = int((await simulator._json("GET", "clock"))["now"])
        since = now // MINUTE * MINUTE - 500 * MINUTE
        frozen = now // MINUTE * MINUTE + 30_000
        await simulator.clock(now=frozen)
        first = await line.fetch(key, since)
        assert first.complete
        newest = line.rows(key)[-1][0]
        assert newest == frozen // MINUTE * MINUTE - MINUTE, "the open candle is never stored, the last closed one is"
        await simulator.forget_log()
        assert (await line.fetch(key, since)).rows_fetched == 0
        assert kline_requests(await simulator.log("klines"), "BTCUSDT") == []


async def test_several_keys_at_once_arrive_whole(broker: str, tmp_path: Path) -> None:
    keys = [Key("binance", symbol, tf) for symbol in ("BTC/USDT", "ETH/USDT", "SOL/USDT") for tf in ("1m", "1h")]
    async with running_simulator() as simulator, pipeline(broker, simulator, tmp_path) as line:
        now = int((await simulator._json("GET", "clock"))["now"])
        end = now // (60 * MINUTE) * 60 * MINUTE - 60 * MINUTE
        since = end - 72 * 60 * MINUTE
        random.Random(7).shuffle(keys)
        watches = [await line.submit(key, since, end) for key in keys]
        for watch in watches:
            job = await watch.result()
            assert job.complete, job
        for key in keys:
            truth = await simulator.truth("candles", symbol=key.symbol, timeframe=key.timeframe, since=since, until=end)
            assert [list(row) for row in line.rows(key)] == [[float(value) for value in row[:6]] for row in truth]
        listed = json.loads((await line.bus.client.request("cache.list", b"{}", timeout=60)).data)
        assert {(k["exchange"], k["symbol"], k["timeframe"]) for k in listed["keys"]} == set(keys)
